"""Trying a composed model YAML, and writing it."""

from __future__ import annotations

import copy
import os
import re
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

from effyolo_ultra._dry_run import SIZE, drop_batch_norms
from effyolo_ultra._output import check_free, replacing
from effyolo_ultra._values import listed
from effyolo_ultra.errors import ModelYAMLError
from effyolo_ultra.zoo import split_scale

# Words in a file's name by which Ultralytics takes another class than YOLO for it (`YOLO`, `yolo`).
OTHER_CLASSES = ("yoloe", "-world", "fastsam", "sam_", "sam2_", "sam2.1_", "sam3", "yolo_nas")


def write_model(text: str, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
    """Write a model YAML, after Ultralytics has built it once.

    Args:
        text: The YAML, as `compose` returns it.
        path: The file to write, .yaml or .yml.
        overwrite: Whether to replace a file that is there.

    Returns:
        The path.

    Raises:
        ValueError: If Ultralytics would misread a file of this name.
        FileExistsError: If the file is there and `overwrite` is not set.
        FileNotFoundError: If there is no such folder.
        ModelYAMLError: If the YAML describes no network.
    """
    path = check_output(path, overwrite)
    check_name(text, path)
    try_model(text, path.name)
    with replacing(path, overwrite) as beside:
        beside.write_text(text, encoding="utf-8")
    return path


def check_output(path: str | os.PathLike[str], overwrite: bool) -> Path:
    """Refuse a path that is no model YAML's, or that cannot be written."""
    path = Path(path)
    if path.suffix not in (".yaml", ".yml"):
        raise ValueError(f"the name of a model YAML ends in .yaml, not '{path.name}'")
    check_free(path, overwrite)
    return path


def check_name(text: str, path: Path) -> None:
    """Raise a ValueError for a file name that Ultralytics would misread."""
    name = path.name
    is_rtdetr = "RTDETRDecoder" in text
    if is_rtdetr != ("rtdetr" in name.lower()):
        raise ValueError(
            f"Ultralytics takes a file for RT-DETR by 'rtdetr' in its name, so '{name}' is no name for a file"
            f" {'with' if is_rtdetr else 'without'} the head of RT-DETR"
        )
    if words := [word for word in OTHER_CLASSES if word in name.lower()]:
        raise ValueError(f"Ultralytics takes a file with '{words[0]}' in its name for another kind of model: '{name}'")
    if re.search(r"yolov[35].*u\.yaml", name):
        raise ValueError(f"Ultralytics looks for '{name}' without the u at its end: choose another name")
    base, letter = split_scale(name)
    if letter:
        raise ValueError(f"name the file without the scale letter, '{base}'; with it, that file is used at that scale")
    if re.search(r"^scales:", text, re.MULTILINE) and not re.match(r"yolov?\d+[-_.]", name):
        raise ValueError(
            f"a file that grows with the scale letter begins with yolov5, yolov8, yolo11 or the like, such as"
            f" 'yolov8-mine.yaml', which is named 'yolov8s-mine.yaml' at scale s; not '{name}'"
        )


def try_model(text: str, name: str, scale: str = "") -> list[int]:
    """Build the network of a model YAML once, and run it up to its head, without memory where that can be done.

    Args:
        text: The YAML.
        name: The name of the file, for messages.
        scale: The scale to build; by default the first one of the file.

    Returns:
        The strides of the feature maps that the head takes.

    Raises:
        ModelYAMLError: If it describes no network.
    """
    from effyolo_ultra._ultralytics import register

    register()
    d = yaml.safe_load(text)
    d.update(yaml_file=name, scale=scale or next(iter(d.get("scales") or {}), ""))
    try:
        return build_and_run(d, "meta")
    except Exception:  # of a network that is none, or of an operation that the meta device does not have
        return build_and_run(d, "cpu")


def build_and_run(d: dict[str, Any], device: str) -> list[int]:
    """Build a network and run it up to its head; see `try_model`."""
    from ultralytics.nn import tasks

    with torch.device(device), torch.random.fork_rng(devices=[]), torch.no_grad():
        layers, _ = tasks.parse_model(copy.deepcopy(d), 3, verbose=False)
        try:
            return head_strides(layers)
        except RuntimeError as error:
            raise ModelYAMLError(f"{d['yaml_file']}: the network cannot be run: {error}") from error


def head_strides(layers: nn.Sequential) -> list[int]:
    """Run the layers before the head, and return the strides of the feature maps that the head takes.

    The layers are left without their BatchNorms, which change no size and take most of the time on the meta device.
    """
    drop_batch_norms(layers.eval())
    outputs: list[Any] = []
    for layer in layers[:-1]:
        inputs = [outputs[source] if outputs else torch.zeros(1, 3, SIZE, SIZE) for source in listed(layer.f)]
        outputs.append(layer(inputs if isinstance(layer.f, list) else inputs[0]))
    return [SIZE // outputs[source].shape[-1] for source in listed(layers[-1].f)]
