"""The text of a model YAML."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from effyolo_ultra.composing.backbones import Backbone, find_backbone
from effyolo_ultra.composing.blocks import FAMILIES, level_channels
from effyolo_ultra.composing.heads import KEYPOINTS, TASKS, head_row, head_title
from effyolo_ultra.composing.necks import NECKS, Rows, add_bifpn, add_levels, add_pan
from effyolo_ultra.composing.sizes import (
    BACKBONE_OF_SCALE,
    CAP,
    EFFICIENTDET,
    LARGE,
    LAST_LEVEL,
    NAMES,
    UNWEIGHTED,
    Size,
    bifpn_size,
    pan_size,
)
from effyolo_ultra.nn._checks import check_choice, check_int, check_levels
from effyolo_ultra.nn.bifpn import MOST_REPEATS

COARSEST = 8  # Ultralytics measures the strides on an image of 256 x 256


def compose(
    *,
    backbone: str | None = None,
    neck: str | None = None,
    head: str | None = None,
    task: str = "detect",
    levels: str | Sequence[int] | None = None,
    scale: str | None = None,
    channels: int | None = None,
    repeats: int | None = None,
    light: bool | None = None,
) -> str:
    """Return the text of a model YAML.

    Args:
        backbone: A variant of EfficientNet, such as 'b3', 'lite0' or 'v2-s', or the name of any timm model with feature
            maps, for a file of one size; by default an EfficientNet that grows with the scale letter, n (b0) to x (b4).
        neck: 'wpan' (the default), the family's PAN with weighted fusion, row by row; 'pan', the same with plain
            concatenation; 'bifpn', stacked BiFPN cells.
        head: The family of head and blocks, 'yolov5' (the default), 'yolov8', 'yolo11', 'yolo26' or 'rtdetr'.
        task: 'detect', 'segment', 'pose', 'obb', or 'classify', for which the backbone has a Classify head alone.
        levels: The levels of neck and head, '3-5' or [3, 4, 5] by default. Those that the backbone does not give are
            made from its last one, by a convolution with stride 2, or by BiFPN with max-pooling.
        scale: The scale, n, s, m, l or x, whose neck a file of one size gets. By default it is that of the EfficientNet
            that is nearest to the backbone in parameters.
        channels: Channels of BiFPN, by default those of EfficientDet.
        repeats: Cells of BiFPN, by default as many as in EfficientDet.
        light: Whether the head's convolutions are separable, by default behind BiFPN only.

    Raises:
        ValueError: If there is no such part, or the parts do not go together.
    """
    check_choice("task", task, TASKS)
    if scale is not None:
        check_choice("scale", scale, tuple(BACKBONE_OF_SCALE))
    if task == "classify":
        given = {"neck": neck, "head": head, "levels": levels, "channels": channels, "repeats": repeats, "light": light}
        if refused := [name for name, value in given.items() if value is not None]:
            raise ValueError(
                f"task classify takes a backbone and a scale only, no {', '.join(refused)}: its head, Classify, stands"
                " on the backbone's last level"
            )
        return classifier(find_backbone(backbone, scale))
    neck = check_choice("neck", "wpan" if neck is None else neck, NECKS)
    head = check_choice("head", "yolov5" if head is None else head, tuple(FAMILIES))
    if task not in FAMILIES[head].heads:
        raise ValueError(f"head {head} has no task {task}, only {', '.join(FAMILIES[head].heads)}")
    if neck != "bifpn" and (channels, repeats) != (None, None):
        raise ValueError(f"channels and repeats are those of neck bifpn; {neck} has those of its scale")
    if channels is not None and check_int("channels", channels, 8) % 8:
        raise ValueError(f"channels must be a multiple of 8, not {channels}")
    if repeats is not None:
        check_int("repeats", repeats, 1, MOST_REPEATS)
    found = find_backbone(backbone, scale)
    if head == "rtdetr" and found.size is None:
        raise ValueError(
            "head rtdetr needs a backbone or a scale: Ultralytics reads no scale letter in the names of RT-DETR"
        )
    is_light = neck == "bifpn" and head != "rtdetr" if light is None else light
    if is_light and head == "rtdetr":
        raise ValueError("head rtdetr has no light form: leave light out")
    if not is_light and neck == "bifpn" and head in ("yolo11", "yolo26"):
        raise ValueError(
            f"behind neck bifpn, head {head} is light: leave out --no-light (light=False), or take neck wpan or pan."
            f" Ultralytics builds the full head of {head} only where its blocks, C3k2, are; head yolov8 has a full one"
            " behind bifpn too"
        )
    return Composition(found, neck, head, task, check_range(levels), channels, repeats, is_light).text()


def check_range(levels: str | Sequence[int] | None) -> tuple[int, ...]:
    """Return levels as numbers, finest first."""
    if levels is None:
        return (3, 4, 5)
    if isinstance(levels, str):
        match = re.fullmatch(r"(\d+)-(\d+)", levels)
        if not match:
            raise ValueError(f"levels must be the finest and the coarsest one, such as 3-5, not {levels!r}")
        first, last = int(match[1]), int(match[2])
        if first > last:
            raise ValueError(f"levels go from the finest to the coarsest: write {last}-{first}, not {levels!r}")
        levels = range(first, last + 1)
    numbers = check_levels("levels", list(levels), consecutive=True) if levels else ()
    if len(numbers) < 2 or numbers[-1] > COARSEST:
        raise ValueError(
            f"levels must be two or more, from fine to coarse, up to {COARSEST}, such as 3-5, not {list(numbers)}"
        )
    return numbers


@dataclass(frozen=True)
class Composition:
    """The checked parts of a file; see `compose`."""

    backbone: Backbone
    neck: str
    head: str
    task: str
    levels: tuple[int, ...]
    channels: int | None
    repeats: int | None
    is_light: bool

    def text(self) -> str:
        """Return the YAML."""
        rows = Rows()
        given = self.backbone.given(self.levels)
        family = FAMILIES[self.head]
        if self.neck == "bifpn":
            options = ["fusion: sum"] if self.backbone.size in UNWEIGHTED else []
            prototypes = self.channels or 64
            outputs = add_bifpn(rows, self.levels, given, prototypes, self.repeats or 3, options)
        else:
            prototypes = 256
            cap = self.size(self.backbone.size).max_channels if self.backbone.size else CAP
            channels = {level: min(level_channels(level, self.levels[-1]), cap) for level in self.levels}
            is_large = self.backbone.size in LARGE
            inputs = add_levels(rows, given)
            outputs = add_pan(rows, self.levels, inputs, family, channels, is_large, self.neck == "wpan")
        range_ = f"P{self.levels[0]} to P{self.levels[-1]}"
        hint = ""
        if self.is_efficientdet:
            sizes = self.efficientdet
            hint = f"# Weights:  a line `pretrained: <checkpoint>` starts backbone and neck from EfficientDet {sizes}\n"
        return f"""\
# Backbone: {self.backbone.title}
# Neck:     {self.neck_title()}
# Head:     {head_title(self.head, self.task, self.is_light)}, on {range_}
{hint}# Needs the package effyolo_ultra. Licence: AGPL-3.0

nc: 80 # number of classes; the data set's own number replaces it
{family.lines}{KEYPOINTS if self.task == "pose" else ""}{self.size_lines()}
backbone: # [from, repeats, module, args]
{self.backbone.row(given)}
head:
{rows.text}
{head_row(self.head, self.task, self.is_light, outputs, prototypes)}"""

    def size(self, variant: str) -> Size:
        """Return depth, width and max_channels for the neck of an EfficientNet."""
        if self.neck == "bifpn":
            size = bifpn_size(variant)
            return Size(
                1.0 if self.repeats else size.depth,
                1.0 if self.channels else size.width,
                max(CAP, self.channels) if self.channels else size.max_channels,
            )
        return FAMILIES[self.head].fit(pan_size(variant), level_channels(self.levels[-1], self.levels[-1]))

    def size_lines(self) -> str:
        """Return the lines that say the size."""
        if self.backbone.size:
            size = self.size(self.backbone.size)
            return f"depth_multiple: {size.depth} # repeats\nwidth_multiple: {size.width} # channels\n"
        return scale_lines({letter: self.size(variant) for letter, variant in BACKBONE_OF_SCALE.items()})

    @property
    def is_efficientdet(self) -> bool:
        """Whether backbone and neck are those of EfficientDet, so that its weights fit."""
        size = self.backbone.size or "b0"
        return (
            self.neck == "bifpn"
            and self.backbone.model in (size if self.backbone.size else "backbones",)
            and self.levels == tuple(range(3, LAST_LEVEL[size] + 1))
            and not self.channels
            and not self.repeats
        )

    @property
    def efficientdet(self) -> str:
        """The names of the EfficientDets whose neck it has."""
        return NAMES[self.backbone.size] if self.backbone.size else "D0 (n) to D4 (x)"

    def neck_title(self) -> str:
        """Return what the neck is, for the comment."""
        range_ = f"P{self.levels[0]} to P{self.levels[-1]}"
        if self.is_efficientdet:
            return f"the BiFPN of EfficientDet {self.efficientdet}, on {range_}"
        if self.neck == "bifpn":
            cells, width = (EFFICIENTDET[self.backbone.size or "b0"][i] for i in (1, 0))
            if not self.channels and not self.repeats:
                return f"BiFPN cells on {range_}, as many and as wide as in EfficientDet {self.efficientdet}"
            if self.backbone.size:
                return f"{self.repeats or cells} BiFPN cells of {self.channels or width} channels, on {range_}"
            return f"BiFPN cells on {range_}, as {'many' if self.channels else 'wide'} as in EfficientDet"
        title = f"{FAMILIES[self.head].title}'s PAN"
        if self.neck == "pan":
            return f"{title} neck"
        edges = " and ".join(f"P{level}" for level in self.levels[1:-1])
        skip = f" and BiFPN's skip edge at {edges}" if edges else ""
        return f"{title} with weighted fusion{skip} (EfficientDet, section 3.2)"


def scale_lines(sizes: dict[str, Size]) -> str:
    """Return the lines of a file that grows with the scale letter."""
    lines = "scales: # [depth, width, max_channels]\n"
    lines += "".join(f"  {x}: [{size.depth}, {size.width}, {size.max_channels}]\n" for x, size in sizes.items())
    return f"{lines}backbones: {{{', '.join(f'{x}: {v}' for x, v in BACKBONE_OF_SCALE.items())}}}\n"


def classifier(backbone: Backbone) -> str:
    """Return the YAML of a backbone with Ultralytics' head for classification."""
    last = max(level for level in backbone.available if level <= 5)
    size = "" if backbone.size else scale_lines(dict.fromkeys(BACKBONE_OF_SCALE, Size(1.0, 1.0, CAP)))
    return f"""\
# Backbone: {backbone.title}
# Head:     the classification head of Ultralytics, on P{last}
# Needs the package effyolo_ultra. Licence: AGPL-3.0

nc: 1000 # number of classes; the data set's own number replaces it
{size}
backbone: # [from, repeats, module, args]
{backbone.row([last])}
head:
  - [0, 1, PyramidLevel, [{last}]]
  - [-1, 1, Classify, [nc]]
"""
