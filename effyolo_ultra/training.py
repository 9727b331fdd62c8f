"""What our modules ask of Ultralytics' trainer: weights to start from, frozen layers, learning rates."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from effyolo_ultra.errors import WeightsError
from effyolo_ultra.nn.backbone import TimmBackbone
from effyolo_ultra.nn.pretrained import Pretrained
from effyolo_ultra.weights.load import Report


def prepare_network(trainer: Any) -> None:
    """Give the modules of a trainer's new network their weights, and freeze what the backbones ask for.

    Args:
        trainer: An Ultralytics trainer whose `setup_model` has just run.
    """
    network = getattr(trainer.model, "student_model", trainer.model)
    for module in network.modules():
        if isinstance(module, Pretrained):
            start(module, network, trainer)
    for backbone in backbones(network):
        freeze(backbone, trainer)
        if backbone.sync_bn and trainer.device.type == "cuda" and is_distributed():
            backbone.use_sync_batch_norm()


def backbones(network: nn.Module) -> list[TimmBackbone]:
    """Return the backbones of a network."""
    return [module for module in network.modules() if isinstance(module, TimmBackbone)]


def start(module: Pretrained, network: nn.Module, trainer: Any) -> None:
    """Load the weights that a module asks for, unless a checkpoint has given them, and say where they are from."""
    from ultralytics.utils import LOGGER, RANK

    # Kept in the network's YAML too, from which Ultralytics builds the network anew when a checkpoint is trained on.
    record = network.yaml.setdefault("weights_from", {})
    known = record.get(module.i)
    if not module.loaded and trainer.args.pretrained is False:
        report = Report("random weights (pretrained=False)")
    elif not module.loaded:
        report, state = on_first_rank(lambda: load(module, network), trainer.device)
        module.load_state_dict(state)
    elif trainer.resume and known:
        report = Report(known)
    else:
        given = trainer.args.pretrained if isinstance(trainer.args.pretrained, (str, Path)) else trainer.args.model
        report = Report(f"{given}, which started from {known}" if known else str(given))
    module.loaded.fill_(True)
    module.weights_from = record[module.i] = report.source
    if RANK in (-1, 0):
        log = LOGGER.info if report.is_complete else LOGGER.warning
        log(f"effyolo_ultra: the {module.title} (layer {module.i}) starts from {report}")


def load(module: Pretrained, network: nn.Module) -> tuple[Report, dict[str, torch.Tensor]]:
    """Load the weights that a module asks for and return its state; an error says which row asks for them."""
    file = str(network.yaml.get("yaml_file", ""))
    try:
        return module.load_pretrained(str(Path(file).parent)), module.state_dict()
    except WeightsError as error:
        where = f"{file or 'model dictionary'}, row {module.i} ({module.title})"
        raise type(error)(f"{where}: {error}") from error


def on_first_rank(function: Callable[[], Any], device: torch.device) -> Any:
    """Return what `function` gives in the first process of a group, in all of them; what it raises, they all raise."""
    if not is_distributed():
        return function()
    box: list[Any] = [None]
    if dist.get_rank() == 0:
        try:
            box[0] = function()
        except Exception as error:
            box[0] = error
    dist.broadcast_object_list(box, src=0, device=device)
    if isinstance(box[0], Exception):
        raise box[0]
    return box[0]


def is_distributed() -> bool:
    """Whether this process is one of a group."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def freeze(backbone: TimmBackbone, trainer: Any) -> None:
    """Add the frozen stages to the trainer's `freeze`: what is frozen in another way, it would thaw with a warning."""
    names = [f"{backbone.i}.{name}" for name in backbone.frozen]
    given = trainer.args.freeze
    given = list(range(given)) if isinstance(given, int) else given if isinstance(given, list) else []
    if names:
        trainer.args.freeze = [*given, *(name for name in names if name not in given)]


def apply_lr_mult(optimizer: torch.optim.Optimizer, network: nn.Module) -> None:
    """Move the parameters of each backbone with an `lr_mult` into parameter groups with its learning rate."""
    for backbone in backbones(network):
        if backbone.lr_mult == 1:
            continue
        parameters = {id(parameter) for parameter in backbone.parameters()}
        for group in list(optimizer.param_groups):
            ours = [p for p in group["params"] if id(p) in parameters]
            if not ours:
                continue
            group["params"] = [p for p in group["params"] if id(p) not in parameters]
            split = {**group, "params": ours, "lr": group["lr"] * backbone.lr_mult}
            if split.get("param_group") == "bias":
                split["param_group"] = "bn"  # the warm-up of biases starts high, at warmup_bias_lr, whatever their rate
            optimizer.add_param_group(split)
