"""A network layer by layer: what each gives, how large it is, how much it computes.

Everything that shows a network reads it from here: `effyolo list`, `info`, `diff`, `draw`.
"""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from effyolo_ultra._open import Source, is_for_int8, open_model
from effyolo_ultra._values import as_written
from effyolo_ultra.document import image_channels
from effyolo_ultra.nn._checks import check_int
from effyolo_ultra.nn.backbone import TimmBackbone
from effyolo_ultra.nn.bifpn import BiFPN
from effyolo_ultra.nn.fusion import BiFPN_Add, BiFPN_Concat

PARTS = ("backbone", "neck", "head")


class Shape(NamedTuple):
    """The size of one feature map."""

    channels: int
    height: int
    width: int


@dataclass(frozen=True)
class Layer:
    """One row of a model YAML, as it was built.

    Attributes:
        index: Number of the row.
        sources: Index of each layer that it takes; -1 is the image.
        repeats: Repeats as written.
        module: Name of the module as written.
        args: Args as written.
        part: 'backbone', 'neck' or 'head'; the head is the last row.
        parameters: Number of parameters.
        gflops: Billions of floating-point operations of convolutions and matrix products, two for a multiply-add.
        outputs: Size of each feature map that it gives: one, or several for a pyramid, finest first; none for a head.
        strides: Pixels of the image for one cell of each output.
        written: The whole row as written, one line of YAML.
        written_from: Its `from` as written, negative where that counts back from the row.
    """

    index: int
    sources: tuple[int, ...]
    repeats: int
    module: str
    args: tuple[Any, ...]
    part: str
    parameters: int
    gflops: float
    outputs: tuple[Shape, ...]
    strides: tuple[int, ...]
    written: str = ""
    written_from: tuple[int, ...] = ()


@dataclass(frozen=True)
class Network:
    """A network and its layers.

    Attributes:
        name: File name of the YAML or checkpoint.
        task: 'detect', 'segment', 'pose', 'obb', 'classify', ...
        classes: Number of classes.
        backbone: The timm model, else the module with most of the backbone's parameters.
        neck: 'BiFPN 64 x 3', 'weighted PAN', 'PAN', or '' for none.
        head: Name of the last module.
        strides: Strides of the feature maps that the head takes.
        imgsz: Height and width of the image that outputs and gflops are for.
        layers: The layers in order.
    """

    name: str
    task: str
    classes: int
    backbone: str
    neck: str
    head: str
    strides: tuple[int, ...]
    imgsz: int
    layers: tuple[Layer, ...]

    @property
    def parameters(self) -> int:
        """Number of parameters."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def gflops(self) -> float:
        """Billions of floating-point operations for one image."""
        return sum(layer.gflops for layer in self.layers)

    def of(self, part: str) -> list[Layer]:
        """Return the layers of 'backbone', 'neck' or 'head'."""
        return [layer for layer in self.layers if layer.part == part]


def describe(source: Source, imgsz: int = 640) -> Network:
    """Describe a network layer by layer.

    Args:
        source: As for `open_model`.
        imgsz: Height and width of the image to compute sizes for.

    Raises:
        ValueError: If the network does not take images of this size.
        EffYoloError: As `open_model`.
    """
    from ultralytics.nn.tasks import guess_model_task

    check_int("imgsz", imgsz)
    model = open_model(source)
    # Without data: a pass on the meta device computes shapes only, in a moment for the largest network too.
    model = copy.deepcopy(model).float().eval()
    if is_for_int8(model):
        from ultralytics.utils.torch_utils import strip_qat

        strip_qat(model)  # quantizers ask for numbers
    strides = getattr(model.model[-1], "stride", None)
    model.to("meta")
    if strides is not None:
        model.model[-1].stride = strides  # numbers that the head computes with, not a feature map
    measured: dict[int, tuple[float, list[torch.Tensor]]] = {}
    channels = image_channels(model.yaml)
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter, measuring(model, counter, measured):
            model(torch.empty(1, channels, imgsz, imgsz, device="meta"))
    except RuntimeError as error:
        raise ValueError(f"the network does not take images of {imgsz} x {imgsz}: {error}") from error
    d = model.yaml
    rows = [*d["backbone"], *d["head"]]
    layers = tuple(
        layer_of(layer, rows[layer.i], len(d["backbone"]), len(rows), *measured[layer.i], imgsz)
        for layer in model.model
    )
    name = Path(str(getattr(model, "yaml_file", None) or d.get("yaml_file") or "")).name
    if isinstance(source, (str, os.PathLike)):
        name = Path(source).name
    given = {-1: ()} | {layer.index: layer.strides for layer in layers}
    strides = tuple(stride for index in layers[-1].sources for stride in given[index])
    return Network(
        name,
        getattr(model, "task", None) or guess_model_task(model),
        d.get("nc", 80),
        backbone_name(layer for layer in model.model if layers[layer.i].part == "backbone"),
        neck_name([layer for layer in model.model if layers[layer.i].part == "neck"]),
        layers[-1].module,
        strides,
        imgsz,
        layers,
    )


@contextmanager
def measuring(
    model: nn.Module, counter: FlopCounterMode, measured: dict[int, tuple[float, list[torch.Tensor]]]
) -> Iterator[None]:
    """While in this context, note for each layer of the model its operations and what it gives."""
    before: dict[int, int] = {}

    def start(layer: nn.Module, _: Any) -> None:
        before[layer.i] = counter.get_total_flops()

    def end(layer: nn.Module, _: Any, output: Any) -> None:
        measured[layer.i] = (counter.get_total_flops() - before[layer.i]) / 1e9, list(feature_maps(output))

    hooks = [
        hook
        for layer in model.model
        for hook in (layer.register_forward_pre_hook(start), layer.register_forward_hook(end))
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def feature_maps(output: Any) -> Iterator[torch.Tensor]:
    """Yield the feature maps in what a layer gives."""
    if isinstance(output, torch.Tensor) and output.ndim == 4:
        yield output
    elif isinstance(output, (list, tuple)):
        for item in output:
            yield from feature_maps(item)


def layer_of(
    layer: nn.Module,
    row: Sequence[Any],
    of_backbone: int,
    rows: int,
    gflops: float,
    maps: list[torch.Tensor],
    imgsz: int,
) -> Layer:
    """Return the description of one layer."""
    sources = layer.f if isinstance(layer.f, list) else [layer.f]
    part = "head" if layer.i == rows - 1 else "backbone" if layer.i < of_backbone else "neck"
    maps = [] if part == "head" else maps
    return Layer(
        layer.i,
        tuple(source if source >= 0 or layer.i == 0 else layer.i + source for source in sources),
        row[1],
        row[2],
        tuple(row[3]),
        part,
        sum(p.numel() for p in layer.parameters()),
        gflops,
        tuple(Shape(*m.shape[1:]) for m in maps),
        tuple(stride_of(m, imgsz) for m in maps),
        as_written(row),
        tuple(sources),
    )


def stride_of(feature_map: torch.Tensor, imgsz: int) -> int:
    """Return the stride of a feature map, where a size that is no multiple of it was rounded up too."""
    ratio = imgsz / feature_map.shape[2]
    return int(ratio) if ratio.is_integer() else 2 ** round(math.log2(ratio))


def backbone_name(layers: Iterable[nn.Module]) -> str:
    """Return the timm model of a backbone, else the module with most of its parameters."""
    size: dict[str, int] = {}
    for layer in layers:
        if isinstance(layer, TimmBackbone):
            return layer.model_name
        name = type(layer).__name__
        size[name] = size.get(name, 0) + sum(p.numel() for p in layer.parameters())
    return max(size, key=size.__getitem__, default="")


def neck_name(layers: Sequence[nn.Module]) -> str:
    """Return the kind of a neck."""
    bifpns = [f"BiFPN {layer.channels} x {len(layer.cells)}" for layer in layers if isinstance(layer, BiFPN)]
    if bifpns:
        return ", ".join(bifpns)
    if any(isinstance(layer, (BiFPN_Add, BiFPN_Concat)) for layer in layers):
        return "weighted PAN"
    return "PAN" if any(type(layer).__name__ == "Concat" for layer in layers) else ""
