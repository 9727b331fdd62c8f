"""A folder to train in: few pictures, a model YAML with a module of a user, and weights for its backbone."""

import json
from pathlib import Path

from effyolo_ultra.shapes import CLASSES

DATA = {"path": "small", "train": "images/train", "val": "images/val", "names": dict(enumerate(CLASSES))}
DRAW = "from effyolo_ultra.shapes import make_shapes; make_shapes(yaml['path'], train=16, val=4, imgsz=64)"
MODULE = """\
from torch import nn
from effyolo_ultra import register_module


@register_module
class Scale(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x):
        return self.norm(x)
"""
MODEL = """\
nc: 8
backbone:
  - [-1, 1, EfficientNetBackbone, [b0, {levels: [3, 4], pretrained: b0.pth}]]
head:
  - [0, 1, BiFPN, [16]]
  - [1, 1, PyramidLevel, [3]]
  - [1, 1, PyramidLevel, [4]]
  - [-1, 1, Scale, []]
  - [[2, 4], 1, Detect, [nc]]
"""


def write_folder(folder: Path) -> None:
    """Write small.yaml, whose pictures are drawn when they are first needed, mine.py, own.yaml and b0.pth."""
    import timm
    import torch

    data = {**DATA, "path": str(folder / "small"), "download": DRAW}
    (folder / "small.yaml").write_text(json.dumps(data), encoding="utf-8")  # JSON is YAML
    (folder / "mine.py").write_text(MODULE, encoding="utf-8")
    (folder / "own.yaml").write_text(MODEL, encoding="utf-8")
    torch.save(timm.create_model("tf_efficientnet_b0").state_dict(), folder / "b0.pth")
