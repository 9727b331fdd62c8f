"""How wide and deep a neck is: as EfficientDet pairs it with the backbone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

# The sizes of EfficientDet (https://arxiv.org/abs/1911.09070, table 1): BiFPN channels and cells of D0 to D7.
EFFICIENTDET = {
    "b0": (64, 3),
    "b1": (88, 4),
    "b2": (112, 5),
    "b3": (160, 6),
    "b4": (224, 7),
    "b5": (288, 7),
    "b6": (384, 8),
    "b7": (384, 8),
}
# With eight cells it sums without weights, "for training stability" (efficientdet-pytorch, model_config.py).
UNWEIGHTED = ("b6", "b7")
# The coarsest level of each, with the name. Its D7 is a D6 for larger images, D7x has P8.
LAST_LEVEL = {**dict.fromkeys(EFFICIENTDET, 7), "b7": 8}
NAMES = {**{f"b{i}": f"D{i}" for i in range(6)}, "b6": "D6 and D7", "b7": "D7x"}
BACKBONE_OF_SCALE = {"n": "b0", "s": "b1", "m": "b2", "l": "b3", "x": "b4"}
LARGE = ("b2", "b3", "b4", "b5", "b6", "b7")  # those of the scales m, l and x, and above
# As in YOLOv8, wide necks stop doubling their channels early: the cap on channels, before width, at P5.
MAX_CHANNELS = {"b4": 768, "b5": 512, "b6": 512, "b7": 512}
CAP = 1024  # of the others
# Millions of parameters of each EfficientNet (https://arxiv.org/abs/1905.11946, table 2).
PARAMETERS = {"b0": 5.3, "b1": 7.8, "b2": 9.2, "b3": 12, "b4": 19, "b5": 30, "b6": 43, "b7": 66}


@dataclass(frozen=True)
class Size:
    """Depth, width and max_channels of a model YAML."""

    depth: float
    width: float
    max_channels: int


def pan_size(variant: str) -> Size:
    """Return the size of a PAN neck for an EfficientNet.

    It makes its P3 as wide as the BiFPN that EfficientDet pairs with this backbone (256 channels at width 1), and its
    depth grows as EfficientDet's cells do; b0 gives depth 0.33 and width 0.25, those of YOLOv5n.
    """
    channels, cells = EFFICIENTDET[variant]
    return Size(round(cells / 9, 4), channels / 256, MAX_CHANNELS.get(variant, CAP))


def bifpn_size(variant: str) -> Size:
    """Return the size that turns `[0, 3, BiFPN, [64]]` into the BiFPN of EfficientDet for a backbone."""
    channels, cells = EFFICIENTDET[variant]
    return Size(round(cells / 3, 4), channels / 64, MAX_CHANNELS.get(variant, CAP))


@cache
def nearest_efficientnet(model_name: str) -> str:
    """Return the EfficientNet, b0 to b7, whose number of parameters is nearest to that of a timm model."""
    import timm
    import torch

    for device in ("meta", "cpu"):  # without memory, where timm can build the model so
        try:
            with torch.device(device), torch.random.fork_rng(devices=[]):
                millions = sum(p.numel() for p in timm.create_model(model_name).parameters()) / 1e6
            break
        except RuntimeError:
            if device == "cpu":
                raise
    return min(PARAMETERS, key=lambda variant: abs(math.log(millions / PARAMETERS[variant])))
