"""The head's row of a composed file."""

from __future__ import annotations

from collections.abc import Sequence

from effyolo_ultra.composing.blocks import FAMILIES

TASKS = ("detect", "segment", "pose", "obb", "classify")
PURPOSES = {"segment": "instance segmentation", "pose": "keypoints", "obb": "oriented boxes"}
KEYPOINTS = "kpt_shape: [17, 3] # keypoints, and numbers of each (x, y, visible); the data set's own replace them\n"


def head_row(head: str, task: str, is_light: bool, outputs: Sequence[int], prototypes: int) -> str:
    """Return the row of a head.

    Args:
        head: A family.
        task: Its task.
        is_light: Whether its convolutions are separable.
        outputs: The rows that it takes.
        prototypes: Channels of the mask prototypes before width.
    """
    args = {"segment": f"[nc, 32, {prototypes}]", "pose": "[nc, kpt_shape]", "obb": "[nc, 1]"}.get(task, "[nc]")
    return f"  - [{list(outputs)}, 1, {'Light' if is_light else ''}{FAMILIES[head].heads[task]}, {args}]\n"


def head_title(head: str, task: str, is_light: bool) -> str:
    """Return what a head is, for the comment."""
    if head == "rtdetr":
        return "RT-DETR's decoder"
    if head == "yolov5":
        anchor_free = "anchor-free (the one of Ultralytics' yolov5*u models)"
        title = f"YOLOv5's, {anchor_free}" if task == "detect" else f"YOLOv8's for {PURPOSES[task]} (YOLOv5 has none)"
    else:
        name = f"YOLO{head[4:]}"
        title = f"{name}'s" if task == "detect" else f"{name}'s for {PURPOSES[task]}"
        title += ", without non-maximum suppression" if head == "yolo26" else ""
    if is_light:
        title += ", with separable convolutions"
        title += " (the same as YOLOv8's with them)" if head == "yolo11" else ""
    return title
