"""What our modules ask of Ultralytics' trainer: weights to start from, frozen layers, learning rates."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from effyolo_ultra._open import of_class, student
from effyolo_ultra._output import WholeFile
from effyolo_ultra.errors import WeightsError
from effyolo_ultra.nn.backbone import TimmBackbone
from effyolo_ultra.nn.bifpn import BiFPN
from effyolo_ultra.nn.pretrained import STARTED_FROM, Pretrained
from effyolo_ultra.nn.timm_body import batch_norms
from effyolo_ultra.phases import prepare_phases
from effyolo_ultra.weights.files import of_module
from effyolo_ultra.weights.load import Report, put


def prepare_network(trainer: Any) -> None:
    """Give the modules of a trainer's new network their weights, and freeze what the backbones ask for.

    Args:
        trainer: An Ultralytics trainer whose `setup_model` has just run.
    """
    network = student(trainer.model)
    prepare_phases(trainer, network)
    for module in of_class(network, Pretrained):
        start(module, network, trainer)
    for backbone in of_class(network, TimmBackbone):
        freeze(backbone, trainer)
        if backbone.sync_bn and trainer.device.type == "cuda" and is_distributed():
            backbone.use_sync_batch_norm()


def save_whole(trainer: Any) -> None:
    """Let a trainer replace the checkpoints of a network of ours in one step.

    Ultralytics empties the old file and writes into it: a kill or a full disk in between would take the training.
    """
    if any(type(module).__module__.startswith("effyolo_ultra.") for module in trainer.model.modules()):
        trainer.wdir, trainer.last, trainer.best = map(WholeFile, (trainer.wdir, trainer.last, trainer.best))


def start(module: Pretrained, network: nn.Module, trainer: Any) -> None:
    """Load the weights that a module asks for, unless a checkpoint has given them, and say where they are from."""
    from ultralytics.utils import LOGGER, RANK

    if module.weights_from and trainer.resume:
        report = Report(module.weights_from, f"the training goes on from {trainer.args.model}")
    elif module.weights_from:
        report = Report(STARTED_FROM.join(filter(None, (module.given_by, module.weights_from))))
    elif trainer.args.pretrained is False:
        report = Report("random weights (pretrained=False)")
    else:
        report, state = on_first_rank(lambda: load(module, network), trainer.device)
        module.load_state_dict(state)
    module.weights_from, module.given_by = report.source, ""
    if RANK in (-1, 0):
        log = LOGGER.info if report.is_complete else LOGGER.warning
        where = f"the {module.title} (layer {getattr(module, 'i', '?')})"
        log(f"effyolo_ultra: {where} {'had started' if trainer.resume else 'starts'} from {report}")
        if report.source.startswith("random weights") and getattr(module, "is_fixed", False):
            LOGGER.warning(
                f"effyolo_ultra: {where} has frozen stages or statistics of random weights: they stay random"
            )


def load(module: Pretrained, network: nn.Module) -> tuple[Report, dict[str, torch.Tensor]]:
    """Load the weights that a module asks for and return its state; an error says which row asks for them."""
    file = str(getattr(network, "yaml", {}).get("yaml_file", ""))
    try:
        return module.load_pretrained(str(Path(file).parent)), module.state_dict()
    except WeightsError as error:
        where = f"{file or 'model dictionary'}, row {getattr(module, 'i', '?')} ({module.title})"
        raise type(error)(f"{where}: {error}") from error


def load_network(network: nn.Module, weights: Any, load: Callable[[], None]) -> None:
    """Load a checkpoint into a network, and its backbone and necks by what they are instead of by chance.

    Ultralytics takes whatever has the same name and shape, which part of another backbone has.

    Args:
        network: The network.
        weights: The network of the checkpoint, or a checkpoint with it.
        load: Ultralytics' own loading.
    """
    from ultralytics.utils import LOGGER

    source = weights["model"] if isinstance(weights, dict) else weights
    check_pruned(network, source)
    ours = of_class(network, Pretrained)
    before = [copy.deepcopy(module.state_dict()) for module in ours]
    load()
    for module, state in zip(ours, before):
        module.load_state_dict(state)
    for cls in (TimmBackbone, BiFPN):
        for module, other in zip(of_class(network, cls), of_class(source, cls)):
            try:
                report = put(module, of_module(other), "")
            except WeightsError as error:
                LOGGER.warning(
                    f"effyolo_ultra: the {module.title} does not take the weights of the checkpoint: {error}"
                )
                continue
            if not report.is_complete:
                LOGGER.warning(f"effyolo_ultra: the {module.title} takes a part of the checkpoint: {report.details}")
            module.weights_from = other.weights_from or ("unknown weights" if is_trained(other) else "")
            module.given_by = str(getattr(source, "pt_path", None) or other.given_by)


def is_trained(module: nn.Module) -> bool:
    """Whether a loop of a user has trained a module: its BatchNorms have counted more than a build can count."""
    counts = [norm.num_batches_tracked for norm in batch_norms(module)]
    return any(count is not None and count > 1 for count in counts)


def check_pruned(network: nn.Module, source: nn.Module) -> None:
    """Refuse the weights of a network with other channels: hardly a tensor would fit, and training would go on."""
    of_network, of_source = ((getattr(net, "yaml", None) or {}).get("pruned") for net in (network, source))
    if of_network != of_source:
        file = getattr(source, "pt_path", None) or "the checkpoint"
        kinds = ["pruned" if pruned else "not pruned" for pruned in (of_source, of_network)]
        kinds = ["pruned in another way", "pruned"] if of_network and of_source else kinds
        raise WeightsError(
            f"{file} is {kinds[0]}, but the network to train is {kinds[1]}, so the weights do not fit. Train a pruned"
            " network from its own checkpoint: model=pruned.pt, without pretrained=."
        )


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
    if isinstance(given, int):
        given = list(range(given))
    elif not isinstance(given, list):
        given = [given] if isinstance(given, dict) else []  # a mapping is ours, see phases.py
    if names:
        trainer.args.freeze = [*given, *(name for name in names if name not in given)]


def apply_lr_mult(optimizer: torch.optim.Optimizer, network: nn.Module) -> None:
    """Move the parameters of each backbone with an `lr_mult` into parameter groups with its learning rate."""
    from ultralytics.utils import LOGGER

    for backbone in of_class(student(network), TimmBackbone):
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
        LOGGER.info(
            f"effyolo_ultra: the backbone (layer {getattr(backbone, 'i', '?')}) learns at {backbone.lr_mult:g} x the"
            f" learning rate, in parameter groups of its own"
        )
