"""The networks of a study of necks: one backbone, one head, and a neck of 64 channels between them.

python -m benchmarks.neck_study    writes benchmarks/neck_study_models/*.yaml

benchmarks.convergence trains them. Backbone and head have the same rows and the same channels in all of them, so what
differs is the neck: YOLOv5's PAN, the same with weighted concatenation and BiFPN's skip edge, and BiFPN with each of
its fusions, once and three times over.
"""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

from effyolo_ultra.composing.blocks import FAMILIES
from effyolo_ultra.composing.necks import Rows, add_bifpn, add_levels, add_pan
from effyolo_ultra.nn.fusion import FUSIONS

FOLDER = Path(__file__).parent / "neck_study_models"
LEVELS, CHANNELS, REPEATS = (3, 4, 5), 64, (1, 3)
KINDS = ("pan", "wpan", *(f"bifpn-{fusion}" for fusion in FUSIONS))
FAMILY = dataclasses.replace(FAMILIES["yolov5"], repeats=1)  # blocks as deep as in YOLOv5n
TEXT = """\
# {name}: written by benchmarks/neck_study.py

nc: 80
backbone:
  - [-1, 1, EfficientNetBackbone, [b0]] # 0
head:
{neck}
  - [{outputs}, 1, LightDetect, [nc]]
"""


def networks() -> dict[str, str]:
    """Return the text of each network by its name, such as `neck-bifpn-fast-3`."""
    return {f"neck-{kind}-{repeats}": network(kind, repeats) for kind, repeats in itertools.product(KINDS, REPEATS)}


def network(kind: str, repeats: int) -> str:
    """Return the text of the network with a neck, `repeats` times over."""
    rows, (neck, _, fusion) = Rows(), kind.partition("-")
    if neck == "bifpn":
        outputs = add_bifpn(rows, LEVELS, LEVELS, CHANNELS, repeats, [f"fusion: {fusion}"])
    else:
        outputs = list(add_levels(rows, LEVELS).values())
        for _ in range(repeats):
            given = dict(zip(LEVELS, outputs))
            outputs = add_pan(rows, LEVELS, given, FAMILY, dict.fromkeys(LEVELS, CHANNELS), False, neck == "wpan")
    return TEXT.format(name=f"{kind} x {repeats}", neck=rows.text, outputs=outputs)


def kind(name: str) -> str:
    """Return the kind of neck of a network."""
    return name.removeprefix("neck-").rpartition("-")[0]


def title(name: str) -> str:
    """Return what the neck of a network is, in words."""
    neck, _, fusion = kind(name).partition("-")
    words = {"pan": "PAN", "wpan": "weighted PAN", "bifpn": f"BiFPN, {fusion}"}[neck]
    return f"{words}, x {name.rpartition('-')[2]}"


def main() -> None:
    """Write the files."""
    FOLDER.mkdir(exist_ok=True)
    for name, text in networks().items():
        (FOLDER / f"{name}.yaml").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
