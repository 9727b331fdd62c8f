"""A small data set for real trainings."""

import json

from effyolo_ultra.shapes import CLASSES, make_shapes


def write_small_data(folder, *, train=8, val=4, imgsz=64):
    """Draw pictures into `folder`/small, write small.yaml beside them, and return what is in it."""
    make_shapes(folder / "small", train=train, val=val, imgsz=imgsz)
    data = {"path": str(folder / "small"), "train": "images/train", "val": "images/val"}
    data["names"] = dict(enumerate(CLASSES))
    (folder / "small.yaml").write_text(json.dumps(data), encoding="utf-8")  # JSON is YAML
    return data
