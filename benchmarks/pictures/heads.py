"""The picture of a light head: the layers of its branches beside those of the stock head."""

from __future__ import annotations

import yaml
from torch import nn
from ultralytics.nn.tasks import DetectionModel

from benchmarks.pictures.sheet import BLUE, GRAY, GREEN, PURPLE, Sheet
from effyolo_ultra import model_path
from effyolo_ultra.nn.light_head import SeparableConv

BRANCHES = {"cv2": "boxes", "cv3": "classes"}


def light_head() -> Sheet:
    """Draw the branches at P3 of Detect and LightDetect behind one and the same neck."""
    sheet = Sheet(17.4, 9.9)
    sheet.text(
        (0.3, 9.5),
        "Heads behind yolov5n-effdet's neck: the branches at P3, with their parameters",
        align="left",
        font=10,
    )
    y = 8.1
    for name in ("Detect", "LightDetect"):
        head = built(name)
        total = sum(p.numel() for p in head.parameters())
        sheet.text((0.3, y + 0.75), f"{name}: {total:,} parameters at all levels", GREEN, align="left", font=9)
        for attribute, title in BRANCHES.items():
            y -= 0.35
            sheet.box((1.1, y), (1.6, 1.0), f"{title}\n64 ch", GRAY)
            sheet.arrow((1.9, y), (2.3, y))
            steps = [step for layer in getattr(head, attribute)[0] for step in described(layer)]
            sheet.chain((2.3, y), steps, (2.65, 1.3), 0.35)
            y -= 1.3
        y -= 1.2
    note = "green: BatchNorm and SiLU follow; each 3x3 convolution becomes a depthwise and a 1x1 one"
    sheet.text((0.3, 0.4), note, GRAY, align="left", font=7)
    return sheet


def built(name: str) -> nn.Module:
    """Return a head of yolov5n-effdet.yaml."""
    document = yaml.safe_load(model_path("yolov5n-effdet.yaml").read_text(encoding="utf-8"))
    document["head"][-1][2], document["scale"] = name, "n"
    return DetectionModel(document, verbose=False).model[-1]


def described(layer: nn.Module) -> list[tuple[str, str]]:
    """Return the convolutions of a layer as (text, colour)."""
    if isinstance(layer, nn.Sequential):
        return [step for child in layer for step in described(child)]
    if isinstance(layer, SeparableConv):
        return [(text(layer.depthwise), BLUE), (text(layer.pointwise.conv), GREEN)]
    if hasattr(layer, "conv"):
        return [(text(layer.conv), GREEN)]
    return [(text(layer), PURPLE)]


def text(conv: nn.Conv2d) -> str:
    """Return kernel, channels and number of parameters of a convolution."""
    k = conv.kernel_size[0]
    kind = " depthwise" if conv.groups > 1 else ""
    parameters = sum(p.numel() for p in conv.parameters())
    return f"{k}x{k}{kind}\n{conv.in_channels} to {conv.out_channels} ch\n{parameters:,}"
