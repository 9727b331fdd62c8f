"""Cost of necks under an EfficientNet-B0, for docs/necks.md.

python -m benchmarks.necks            prints the table
python -m benchmarks.necks --write    writes it into docs/necks.md and draws docs/necks.png

Each neck is cut out of a network as Ultralytics uses it at inference: fused, in eval mode. The necks take turns, so
that what else the machine does hits all of them alike; compare the ratios.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Sequence

import torch
import yaml
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from ultralytics.nn.tasks import DetectionModel

from benchmarks.page import ROOT, write_between
from effyolo_ultra import model_path

CHANNELS, STRIDES, IMAGE = (40, 112, 320), (8, 16, 32), 640
REPEATS, WARM_UP = 40, 5
BIFPN = {"BiFPN 64 x 1": (64, 1), "BiFPN 64 x 3": (64, 3), "BiFPN 88 x 4": (88, 4), "BiFPN 112 x 5": (112, 5)}
BIFPN["BiFPN 160 x 6"] = (160, 6)
PAN = {"PAN": "yolov5-effb0-pan.yaml", "weighted PAN": "yolov5-effb0-bifpn.yaml"}


class Neck(nn.Module):
    """The layers of a network between its backbone and its head."""

    def __init__(self, document: dict):
        super().__init__()
        network = DetectionModel(copy.deepcopy(document), verbose=False).fuse(verbose=False)
        _, *layers, head = network.model
        self.layers, self.outputs = nn.ModuleList(layers), head.f

    def forward(self, pyramid: list[torch.Tensor]) -> list[torch.Tensor]:
        """Run the layers as Ultralytics does."""
        given = [pyramid]
        for layer in self.layers:
            sources = [layer.f] if isinstance(layer.f, int) else layer.f
            inputs = [given[source] for source in sources]
            given.append(layer(inputs[0] if isinstance(layer.f, int) else inputs))
        return [given[i] for i in self.outputs]


def necks() -> dict[str, Neck]:
    """Build all necks."""
    documents = {}
    for size, width in (("n", 0.25), ("s", 0.5)):
        for name, file in PAN.items():
            document = yaml.safe_load(model_path(file).read_text(encoding="utf-8"))
            documents[f"{name}, YOLOv5{size}"] = {**document, "width_multiple": width}
    rows = [[1, 1, "PyramidLevel", [level]] for level in (3, 4, 5)]
    for name, (channels, cells) in BIFPN.items():
        head = [[0, cells, "BiFPN", [channels]], *rows, [[2, 3, 4], 1, "Detect", ["nc"]]]
        backbone = [[-1, 1, "EfficientNetBackbone", ["b0"]]]
        documents[name] = {"nc": 80, "backbone": backbone, "head": head}
    torch.manual_seed(0)
    return {name: Neck(document).eval().to(memory_format=torch.channels_last) for name, document in documents.items()}


def pyramid() -> list[torch.Tensor]:
    """Return feature maps of an EfficientNet-B0."""
    maps = (torch.randn(1, c, IMAGE // s, IMAGE // s) for c, s in zip(CHANNELS, STRIDES))
    return [x.to(memory_format=torch.channels_last) for x in maps]


def milliseconds(nets: dict[str, Neck]) -> dict[str, float]:
    """Return the median time of a forward pass of each."""
    inputs = pyramid()
    times: dict[str, list[float]] = {name: [] for name in nets}
    with torch.inference_mode():
        for repeat in range(REPEATS + WARM_UP):
            for name, net in nets.items():
                start = time.perf_counter()
                net(inputs)
                if repeat >= WARM_UP:
                    times[name].append(1000 * (time.perf_counter() - start))
    return {name: statistics.median(values) for name, values in times.items()}


def gflops(net: Neck) -> float:
    """Return GFLOPs as Ultralytics counts them: two for each multiply-add of a convolution."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(pyramid())
    return counter.get_total_flops() / 1e9
