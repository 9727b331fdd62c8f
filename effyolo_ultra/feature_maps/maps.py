"""The feature maps of a network for one picture, from Ultralytics' own prediction."""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from effyolo_ultra._open import open_file
from effyolo_ultra.errors import UnknownNameError, WeightsError
from effyolo_ultra.network import feature_maps
from effyolo_ultra.nn.pyramid import PyramidLevel


@dataclass(frozen=True)
class FeatureMaps:
    """What one row gives.

    Attributes:
        layer: Number of the row.
        module: Name of its module.
        maps: Its feature maps (C, H, W), finest first.
        levels: The pyramid level of each, such as 'P3'.
    """

    layer: int
    module: str
    maps: tuple[torch.Tensor, ...]
    levels: tuple[str, ...]


@dataclass(frozen=True)
class Seen:
    """A picture as a network takes it (1, C, H, W), and what the rows give for it."""

    image: torch.Tensor
    rows: tuple[FeatureMaps, ...]


def open_yolo(model: str | os.PathLike[str] | Any) -> Any:
    """Return the YOLO of a file, or a copy of the one given, which prediction would fold otherwise."""
    if isinstance(model, (str, os.PathLike)):
        return open_file(Path(model))
    if not hasattr(model, "predict") or not isinstance(
        getattr(getattr(model, "model", None), "model", None), nn.Module
    ):
        raise TypeError(f"expected a .pt file, a model YAML or an ultralytics.YOLO, not {model!r}")
    model = copy.deepcopy(model)
    model.predictor = None
    return model


def look(yolo: Any, image: str | os.PathLike[str], layers: Sequence[int] | None, **options: Any) -> Seen:
    """Predict a picture, and keep the feature maps of some rows.

    Args:
        yolo: An `ultralytics.YOLO`.
        image: A picture; it is made the size of the network's input as in every prediction of Ultralytics.
        layers: Numbers of the rows, by default all with feature maps of their own.
        options: Arguments of `predict`, such as `imgsz`.
    """
    path = Path(image)
    if not path.is_file():
        raise UnknownNameError(f"there is no picture '{path}'")
    chosen = check_layers(yolo.model.model, layers)
    images: list[torch.Tensor] = []
    maps: dict[int, tuple[torch.Tensor, ...]] = {}

    def watch(predictor: Any) -> None:
        network = predictor.model.model
        network.register_forward_pre_hook(lambda _, inputs: images.append(inputs[0]))
        for i in chosen:
            network.model[i].register_forward_hook(keep)

    def keep(layer: nn.Module, _: Any, output: Any) -> None:
        maps[layer.i] = tuple(x[0].detach().float().cpu().clone() for x in feature_maps(output))

    yolo.add_callback("on_predict_start", watch)
    try:
        yolo.predict(str(path), verbose=False, save=False, **options)
    except AttributeError as error:  # of a layer that is not what it was
        raise WeightsError(f"'{yolo.ckpt_path or yolo.model_name}' holds no network that predicts: {error}") from error
    # Outside inference mode, so that it can be the start of a gradient.
    seen = images[-1].clone()
    rows = [row_of(yolo.model.model[i], maps[i], seen.shape[-2]) for i in sorted(maps) if maps[i]]
    if layers is not None and len(rows) < len(chosen):
        without = [i for i in chosen if not maps.get(i)]
        raise ValueError(f"layer {without[0]} gives no feature map for this picture")
    return Seen(seen, tuple(rows))


def check_layers(rows: nn.Sequential, layers: Sequence[int] | None) -> list[int]:
    """Return the numbers of the rows to look at."""
    last = len(rows) - 1
    if layers is None:
        # A PyramidLevel, or an Index, is a feature map of another row.
        return [i for i in range(last) if not isinstance(rows[i], PyramidLevel) and type(rows[i]).__name__ != "Index"]
    for layer in layers:
        if isinstance(layer, bool) or not isinstance(layer, int) or not 0 <= layer < last:
            raise ValueError(f"layers must be numbers of rows from 0 to {last - 1} ({last} is the head), not {layer!r}")
    return list(dict.fromkeys(layers))


def row_of(layer: nn.Module, maps: tuple[torch.Tensor, ...], height: int) -> FeatureMaps:
    """Return what a row gives, with the level of each feature map."""
    levels = tuple(level_name(height, x.shape[-2]) for x in maps)
    return FeatureMaps(layer.i, layer.type.rpartition(".")[2], maps, levels)


def level_name(height: int, of_map: int) -> str:
    """Return the pyramid level of a feature map: P3 for 1 / 8 of the picture."""
    return f"P{(height // max(of_map, 1)).bit_length() - 1}"
