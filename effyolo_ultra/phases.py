"""What a training asks for by values of Ultralytics' own arguments: two phases by `freeze`, step decay by `optimizer`.

Both stand in the arguments that Ultralytics keeps, hands to the workers of a multi-GPU training, and resumes with.
"""

from __future__ import annotations

import re
from typing import Any

import yaml
from torch import nn

from effyolo_ultra._open import of_class, student
from effyolo_ultra.errors import TrainingError
from effyolo_ultra.nn._checks import check_int, check_number
from effyolo_ultra.nn.backbone import TimmBackbone

STEP_FACTOR = 0.1
FORM = (
    "It takes `epochs`, as long as the backbone is frozen, and if wished `lr_mult`, its learning rate as a multiple of"
    " the network's: freeze={'epochs': 10, 'lr_mult': 0.1}."
)


def prepare_phases(trainer: Any, network: nn.Module) -> None:
    """Take down what a training asks for: `freeze={epochs: 10, lr_mult: 0.1}`, `optimizer=SGD-step30`.

    Args:
        trainer: An Ultralytics trainer whose network is there.
        network: That network.

    Raises:
        TrainingError: If it asks for something else, or the network has no backbone of ours.
    """
    trainer.args.freeze = typed(trainer.args.freeze)
    epochs, lr_mult = first_phase(trainer.args.freeze)
    backbones = of_class(network, TimmBackbone)
    if epochs and not backbones:
        raise TrainingError(
            f"freeze={trainer.args.freeze} freezes a backbone of effyolo_ultra, but {trainer.args.model} has none:"
            " freeze layers by their numbers, such as freeze=10."
        )
    for backbone in backbones:
        backbone.lr_mult = backbone.lr_mult if backbone.lr_mult != 1 else lr_mult  # what its row says goes first
    asked = epochs or split_optimizer(trainer.args.optimizer)[1]
    if asked and begin_epoch not in trainer.callbacks["on_train_epoch_start"]:
        trainer.add_callback("on_train_epoch_start", begin_epoch)


def typed(freeze: Any) -> Any:
    """Return a `freeze` whose text is a mapping or a list as that: what is typed in a command stays text.

    Raises:
        TrainingError: If it begins like one and is none.
    """
    if not isinstance(freeze, str) or not freeze.startswith(("{", "[")):
        return freeze
    try:
        return yaml.safe_load(freeze)
    except yaml.YAMLError as error:
        raise TrainingError(f"freeze={freeze}: {' '.join(str(error).split())}. {FORM}") from None


def first_phase(freeze: Any) -> tuple[int, float]:
    """Return for how many epochs the `freeze` of a training freezes the backbone, and its learning rate after that.

    Raises:
        TrainingError: If it holds a mapping of another kind.
    """
    mappings = [item for item in (freeze if isinstance(freeze, list) else [freeze]) if isinstance(item, dict)]
    try:
        if len(mappings) > 1:
            raise ValueError("it has several mappings")
        asked = mappings[0] if mappings else {}
        if asked and not {"epochs"} <= {*asked} <= {"epochs", "lr_mult"}:
            raise ValueError(f"it has {', '.join(map(str, asked))}")
        epochs = check_int("epochs", asked.get("epochs", 0), least=0)
        return epochs, check_number("lr_mult", asked.get("lr_mult", 1), above=0, below=1000)
    except (TypeError, ValueError) as error:
        raise TrainingError(f"freeze={freeze}: {error}. {FORM}") from None


def split_optimizer(name: str) -> tuple[str, int]:
    """Split the `optimizer` of a training, such as SGD-step30, into its name and the epochs of a step, 0 for none.

    Raises:
        TrainingError: If it is `auto`, which Ultralytics replaces by what it finds best, or no number of epochs.
    """
    base, step, epochs = re.fullmatch(r"(.*?)(?:(-step)(.*))?", str(name), re.IGNORECASE).groups()
    if not step:
        return name, 0
    if base.lower() == "auto":
        raise TrainingError(f"optimizer={name}: step decay needs an optimizer by its name, such as SGD-step30.")
    if not re.fullmatch(r"[1-9]\d{0,5}", epochs):
        raise TrainingError(f"optimizer={name}: behind -step stands a whole number of epochs, as in SGD-step30.")
    return base, int(epochs)


def begin_epoch(trainer: Any) -> None:
    """Do what is due in the epoch that begins."""
    epochs, _ = first_phase(trainer.args.freeze)
    if epochs:
        hold(trainer, epochs)
    _, step = split_optimizer(trainer.args.optimizer)
    if step:
        # In each epoch, because with a limit of time Ultralytics builds its schedule again after each.
        trainer.lf = lambda epoch: STEP_FACTOR ** (epoch // step)
        trainer.scheduler.lr_lambdas = [trainer.lf] * len(trainer.optimizer.param_groups)


def hold(trainer: Any, epochs: int) -> None:
    """Freeze the backbones in the first epochs, and let them learn after these.

    Not before the first one begins: the optimizer, and the exchange of gradients between GPUs, must know all
    parameters from the start.
    """
    from ultralytics.utils import LOGGER, RANK

    held, is_random = trainer.epoch < epochs, False
    for prefix, backbone in student(trainer.model).named_modules():
        if isinstance(backbone, TimmBackbone):
            backbone.held = held  # of this network alone: its moving average is what is saved
            is_random |= backbone.weights_from.startswith("random weights")
            for name, parameter in backbone.named_parameters(prefix):
                always = any(frozen in name for frozen in trainer.freeze_layer_names)
                parameter.requires_grad_(not (held or always))
    if RANK in (-1, 0) and trainer.epoch in (trainer.start_epoch, epochs):
        text, warnings = f"learns from epoch {trainer.epoch + 1} on", []
        if held:
            text = f"is frozen up to epoch {epochs}"
            warnings += ["with random weights; freeze=None lets it learn from the start"] * is_random
            warnings += [f"and this training ends with epoch {trainer.epochs}"] * (epochs >= trainer.epochs)
        log = LOGGER.warning if warnings else LOGGER.info
        log(", ".join([f"effyolo_ultra: the backbone {text}", *warnings]))
