"""A network with the weights that it has or would start from: what `effyolo info` shows."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from effyolo_ultra._open import open_file, open_model
from effyolo_ultra.checking.passes import coarsest_stride
from effyolo_ultra.network import PARTS, Network, describe
from effyolo_ultra.nn._checks import check_int
from effyolo_ultra.origin import Checkpoint, Weights, checkpoint_of, weights_of


@dataclass(frozen=True)
class Share:
    """What a part of a network has of the whole.

    Attributes:
        part: 'backbone', 'neck' or 'head'.
        layers: Number of its layers.
        parameters: Number of its parameters.
        gflops: Billions of its floating-point operations.
        of_parameters: Share of the network's parameters, 0 to 1.
        of_gflops: Share of the network's operations, 0 to 1.
    """

    part: str
    layers: int
    parameters: int
    gflops: float
    of_parameters: float
    of_gflops: float


@dataclass(frozen=True)
class Info:
    """A network, and where its weights are from.

    Attributes:
        network: Its layers and sizes.
        parts: What backbone, neck and head have of the whole.
        weights: Where the weights of each backbone, each BiFPN and the rest are from.
        checkpoint: What a .pt file says of its training; None for a model YAML.
    """

    network: Network
    parts: tuple[Share, ...]
    weights: tuple[Weights, ...]
    checkpoint: Checkpoint | None


def model_info(file: str | os.PathLike[str], imgsz: int = 640) -> Info:
    """Return what a network is and where its weights are from.

    Args:
        file: Name or path of a model YAML, or path of a .pt file.
        imgsz: Height and width of the image to compute sizes for; rounded up as `yolo train` does, with a warning.

    Raises:
        EffYoloError: If the file is missing or holds no network.
        ValueError: If the network does not take images of this size.
    """
    path = Path(file)
    opened = open_file(path)
    model = open_model(opened)
    network = dataclasses.replace(describe(opened, trained_imgsz([model], imgsz)), name=path.name)
    trained = path.suffix == ".pt"
    weights = weights_of(model, trained)
    return Info(network, shares(network), tuple(weights), checkpoint_of(opened.ckpt) if trained else None)


def trained_imgsz(models: Sequence[nn.Module], imgsz: int) -> int:
    """Return the size of images that Ultralytics' trainer makes of `imgsz` for all these networks, as it warns."""
    from ultralytics.utils.checks import check_imgsz

    check_int("imgsz", imgsz)
    grid = max(map(coarsest_stride, models))
    return check_imgsz(imgsz, stride=grid, floor=grid, max_dim=1)


def shares(network: Network) -> tuple[Share, ...]:
    """Return what each part of a network has of the whole."""
    parts = []
    for part in PARTS:
        layers = network.of(part)
        parameters, gflops = sum(layer.parameters for layer in layers), sum(layer.gflops for layer in layers)
        share = (parameters / (network.parameters or 1), gflops / (network.gflops or 1))
        parts.append(Share(part, len(layers), parameters, gflops, *share))
    return tuple(parts)
