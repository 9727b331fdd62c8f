"""The model YAMLs of the zoo, as they are composed."""

from __future__ import annotations

from effyolo_ultra.composing.sizes import EFFICIENTDET
from effyolo_ultra.composing.text import compose

SUFFIXES = {"detect": "", "segment": "-seg", "pose": "-pose", "obb": "-obb"}


def zoo_files() -> dict[str, str]:
    """Return every model YAML of the zoo, {file name: text}."""
    files = {}
    for variant in EFFICIENTDET:
        files[f"yolov5-eff{variant}-bifpn"] = compose(backbone=variant, neck="wpan")
        files[f"yolov5-eff{variant}-pan"] = compose(backbone=variant, neck="pan")
    for head in ("yolov5", "yolov8", "yolo11", "yolo26"):
        files[f"{head}-effnet-pan"] = compose(head=head, neck="pan")
        for task, suffix in SUFFIXES.items():
            files[f"{head}-effnet-bifpn{suffix}"] = compose(head=head, neck="wpan", task=task)
    files["yolov5-effnet-bifpn-p2"] = compose(neck="wpan", levels="2-5")
    files["yolov5-effnet-bifpn-p6"] = compose(neck="wpan", levels="3-6")
    files["rtdetr-effb0-bifpn"] = compose(backbone="b0", head="rtdetr", neck="wpan")
    files["yolov5-effnet-cls"] = compose(task="classify")
    for task, suffix in SUFFIXES.items():
        files[f"yolov5-effdet{suffix}"] = compose(neck="bifpn", task=task)
    files["yolov5-effdet-p2"] = compose(neck="bifpn", levels="2-5")
    files["yolov5-effdet-p7"] = compose(neck="bifpn", levels="3-7")
    for variant, last in (("b5", 7), ("b6", 7), ("b7", 8)):
        levels = f"3-{last}"
        files[f"yolov5-eff{variant}-effdet-p{last}"] = compose(backbone=variant, neck="bifpn", levels=levels)
    return {f"{name}.yaml": text for name, text in files.items()}
