"""A data set of drawn shapes, with the data YAML that a training takes."""

from __future__ import annotations

import json
from pathlib import Path

from effyolo_ultra.shapes import CLASSES, make_shapes
from effyolo_ultra.shapes.labels import KEYPOINTS


def write_shapes(folder: Path, name: str, task: str = "detect", **numbers: int) -> Path:
    """Draw pictures into `folder`/NAME, unless they are there, and return the YAML that describes them, NAME.yaml."""
    drawn = make_shapes(folder / name, task=task, **numbers)
    data = {"path": str(drawn), "train": "images/train", "val": "images/val", "names": dict(enumerate(CLASSES))}
    if task == "pose":
        data["kpt_shape"] = [len(KEYPOINTS), 3]
    described = folder / f"{name}.yaml"
    described.write_text(json.dumps(data), encoding="utf-8")  # JSON is YAML
    return described
