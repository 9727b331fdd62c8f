"""Where the weights of a network are from: what a training would start from, or what a checkpoint says."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from effyolo_ultra.errors import WeightsError
from effyolo_ultra.nn.pretrained import Pretrained
from effyolo_ultra.weights.hub import cached
from effyolo_ultra.weights.load import find

# Of all the arguments of a training, those that say what it was.
OF_TRAINING = ("model", "data", "epochs", "batch", "imgsz", "optimizer", "pretrained")


class Weights(NamedTuple):
    """The weights of one module.

    Attributes:
        layer: Index of the layer, None for the layers that are not listed on their own.
        module: Name of the module.
        source: Where its weights are from, or will be when a training starts.
        here: Whether that is on this machine; None where nothing is needed.
    """

    layer: int | None
    module: str
    source: str
    here: bool | None = None


class Checkpoint(NamedTuple):
    """What a checkpoint says of its training, as far as it does; None or empty for what it does not.

    Attributes:
        date: When it was saved.
        ultralytics: Version that saved it.
        epoch: Last epoch that was trained, counted from 1.
        fitness: Fitness of its weights, as Ultralytics computes it from the metrics.
        metrics: The metrics of validation.
        training: Arguments of the training: model, data, epochs, ...
    """

    date: str | None
    ultralytics: str | None
    epoch: int | None
    fitness: float | None
    metrics: dict[str, float]
    training: dict[str, Any]


def weights_of(network: nn.Module, trained: bool) -> list[Weights]:
    """Return where the weights of a network's backbones, BiFPNs and the rest are from.

    Args:
        network: The network.
        trained: Whether it is from a checkpoint, else it is as a training would start with it.
    """
    folder = str(Path(str(getattr(network, "yaml", {}).get("yaml_file", ""))).parent)
    found, rest = [], False
    for layer in network.model:
        if isinstance(layer, Pretrained):
            source, here = (layer.weights_from or "not known", None) if trained else asked(layer, folder)
            found.append(Weights(layer.i, type(layer).__name__, source, here))
        else:
            rest = rest or any(True for _ in layer.parameters())
    if rest and not trained:
        found.append(Weights(None, "all other layers" if found else "all layers", "random weights"))
    return found


def asked(module: Pretrained, folder: str) -> tuple[str, bool | None]:
    """Return the weights that a module asks for, and whether they are on this machine."""
    from effyolo_ultra.nn.timm_models import with_tag

    if module.pretrained is False:
        return "random weights (pretrained: false)", None
    if isinstance(module.pretrained, str) and module.pretrained != "auto":
        try:
            return str(find(module.pretrained, folder)), True
        except WeightsError:
            return module.pretrained, False
    otherwise = ", else random weights" if module.pretrained == "auto" else ""
    try:
        return f"timm's {with_tag(module.model_name)}{otherwise}", cached(module.model_name) is not None
    except WeightsError:
        return "random weights: timm has no pretrained ones", None


def checkpoint_of(content: Any) -> Checkpoint | None:
    """Return what the content of a .pt file says of its training, None if it is no checkpoint."""
    if not isinstance(content, dict) or "train_args" not in content:
        return None
    given = content.get("train_args") or {}
    metrics = dict(content.get("train_metrics") or {})
    results = content.get("train_results") or {}
    epochs = results.get("epoch") or []
    epoch = content.get("epoch")
    last = int(epochs[-1]) if epochs else epoch + 1 if isinstance(epoch, int) and epoch >= 0 else None
    fitness = metrics.pop("fitness", None)
    best = content.get("best_fitness")
    return Checkpoint(
        date=content.get("date"),
        ultralytics=content.get("version"),
        epoch=last,
        fitness=number(best if fitness is None else fitness),
        metrics={name: value for name, value in ((n, number(v)) for n, v in metrics.items()) if value is not None},
        training={name: given[name] for name in OF_TRAINING if given.get(name) is not None},
    )


def number(value: Any) -> float | None:
    """Return a finite number as Python's own, whatever array type it is; None for anything else."""
    try:
        given = float(value)
    except (TypeError, ValueError):
        return None
    return given if math.isfinite(given) else None
