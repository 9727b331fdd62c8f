"""What each model of the zoo is, from an index that ships with it: building them all takes minutes.

The index, zoo.json, is written by `python -m benchmarks.zoo_table --write`.
"""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from effyolo_ultra.errors import UnknownNameError, nearest

INDEX = Path(__file__).with_name("zoo.json")
IMGSZ = 640  # height and width of the image that the gflops of the index are for


class ModelRecord(NamedTuple):
    """One model of the zoo.

    Attributes:
        name: Its name, as in `model=`, with the scale letter where the file has scales.
        task: 'detect', 'segment', 'pose', 'obb' or 'classify'.
        backbone: The timm model.
        neck: 'BiFPN 64 x 3', 'weighted PAN', 'PAN', or '' for none.
        head: Name of the last module.
        parameters: Number of parameters, with the classes that the file has.
        gflops: Billions of floating-point operations for an image of 640 x 640, two for a multiply-add.
        strides: Strides of the feature maps that the head takes.
    """

    name: str
    task: str
    backbone: str
    neck: str
    head: str
    parameters: int
    gflops: float
    strides: tuple[int, ...]


def model_records(pattern: str = "", task: str = "") -> list[ModelRecord]:
    """Return what each model of the zoo is, in the order of `list_models`, without building it.

    Args:
        pattern: A part of the names, or with `*`, `?` or `[` a pattern that the whole name matches, with or without
            its `.yaml`; all models by default.
        task: The task of the models, all by default.

    Raises:
        UnknownNameError: If there are no such models.
    """
    records = [ModelRecord(**{**item, "strides": tuple(item["strides"])}) for item in read_index()]
    tasks = list(dict.fromkeys(record.task for record in records))
    if task and task not in tasks:
        raise UnknownNameError(f"the zoo has no models for the task '{task}', only for {', '.join(tasks)}")
    of_task = [record for record in records if task in ("", record.task)]
    found = [record for record in of_task if matches(record.name, pattern)]
    if not found:
        of = f" for the task '{task}'" if task else ""
        near = nearest(pattern, [name for record in of_task for name in (record.name, record.name[: -len(".yaml")])])
        raise UnknownNameError(f"the zoo has no model '{pattern}'{of}.{near or ' Without a name, all are listed.'}")
    return found


def read_index() -> list[dict]:
    """Return the index as it is written."""
    return json.loads(INDEX.read_text(encoding="utf-8"))


def matches(name: str, pattern: str) -> bool:
    """Whether a name has a part, or matches a pattern."""
    if not set("*?[") & set(pattern):
        return pattern.lower() in name
    return any(fnmatchcase(spelling, pattern.lower()) for spelling in (name, name[: -len(".yaml")]))
