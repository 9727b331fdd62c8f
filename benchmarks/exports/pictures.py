"""A few real pictures with labels, for benchmarks.exports.zoo: views of the two that come with Ultralytics."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
from ultralytics.utils import ASSETS

from effyolo_ultra.shapes.geometry import clip_to_frame, oriented_box, visible_fraction
from effyolo_ultra.shapes.labels import KEYPOINTS, label_lines
from effyolo_ultra.shapes.scenes import MIN_VISIBLE, Shape

CLASSES = ("person", "bus", "tie")
# Outlines drawn by hand, x and y in pixels.
LABELS: dict[str, list[tuple[str, list[int]]]] = {
    "bus": [
        ("bus", [4, 400, 45, 300, 190, 235, 700, 262, 796, 330, 800, 600, 700, 680, 380, 700, 240, 722, 30, 700]),
        ("person", [105, 402, 158, 402, 198, 560, 190, 720, 245, 880, 180, 900, 130, 730, 105, 900, 52, 890, 62, 560]),
        ("person", [265, 407, 305, 410, 342, 560, 340, 715, 290, 858, 255, 855, 245, 700, 226, 690, 238, 520]),
        ("person", [790, 400, 810, 400, 810, 720, 742, 880, 670, 840, 752, 690, 722, 550, 775, 510]),
        ("person", [0, 555, 45, 690, 78, 790, 60, 815, 20, 870, 0, 870]),
    ],
    "zidane": [
        ("person", [905, 70, 1000, 42, 1070, 110, 1025, 290, 1085, 400, 1135, 700, 790, 720, 750, 600, 755, 400]),
        ("person", [120, 720, 200, 400, 290, 320, 480, 300, 530, 203, 640, 225, 1150, 405, 940, 515, 650, 720]),
        ("tie", [475, 437, 503, 440, 485, 530, 475, 720, 437, 720, 455, 560]),
    ],
}
# Squares of the pictures: left, top, side.
VIEWS = [("bus", 0, 135, 810), ("zidane", 0, -280, 1280), ("bus", 0, 380, 500), ("zidane", 330, 340, 380)]
SMALLEST = 1 / 16  # side of a box in a view: what is narrower has no cell of its own in a picture of 128 x 128
SIDE = 320  # of what is written, in pixels
LEAN = 0.3  # of an oriented box, in radians, so that it is another than the upright one


def view(picture: np.ndarray, left: int, top: int, side: int) -> np.ndarray:
    """Return a square of a picture, grey where it goes beyond."""
    height, width = picture.shape[:2]
    beyond = max(0, -top, -left, top + side - height, left + side - width)
    padded = cv2.copyMakeBorder(picture, *[beyond] * 4, cv2.BORDER_CONSTANT, value=(114, 114, 114))
    square = padded[top + beyond :, left + beyond :][:side, :side]
    return cv2.resize(square, (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def is_large(outline: np.ndarray) -> bool:
    """Return whether enough of an outline is in the picture for a label."""
    return np.ptp(outline, axis=0).min() >= SMALLEST and visible_fraction(outline, []) >= MIN_VISIBLE


def lines(scene: list[Shape], task: str) -> list[str]:
    """Return the lines of a label file."""
    if task != "obb":
        return label_lines(scene, task)
    boxes = [oriented_box(clip_to_frame(shape.outline), LEAN).clip(0, 1).ravel() for shape in scene]
    return [f"{shape.class_id} {' '.join(map(str, box))}" for shape, box in zip(scene, boxes)]


def write_pictures(folder: Path, task: str, number: int = 8) -> tuple[Path, list[Path]]:
    """Write pictures with their labels, or a folder of crops for each class.

    Args:
        folder: A new folder.
        task: The labels are for this task of Ultralytics.
        number: Of pictures, at most all views and their mirror pictures.

    Returns:
        What Ultralytics takes as `data`, and the pictures. Those of `val` are the same: they are learned by heart.
    """
    folder.mkdir(parents=True)
    if task == "classify":
        write_crops(folder)
        return folder, sorted((folder / "train").glob("*/*.png"))
    images, labels = folder / "images", folder / "labels"
    images.mkdir()
    labels.mkdir()
    for k, (picture, scene) in enumerate((views(False) + views(True))[:number]):
        cv2.imwrite(str(images / f"{k}.png"), picture)
        (labels / f"{k}.txt").write_text("\n".join(lines(scene, task)), encoding="utf-8")
    data = {"path": str(folder), "train": "images", "val": "images", "names": dict(enumerate(CLASSES))}
    if task == "pose":
        data["kpt_shape"] = [len(KEYPOINTS), 3]
    (folder / "data.yaml").write_text(json.dumps(data), encoding="utf-8")  # JSON is YAML
    return folder / "data.yaml", sorted(images.iterdir())


def views(mirrored: bool) -> list[tuple[np.ndarray, list[Shape]]]:
    """Return the views with what is to be found in them."""
    found = []
    for name, left, top, side in VIEWS:
        picture = view(cv2.imread(str(ASSETS / f"{name}.jpg")), left, top, side)
        outlines = [(kind, (np.reshape(xy, (-1, 2)) - (left, top)) / side) for kind, xy in LABELS[name]]
        if mirrored:
            picture, outlines = picture[:, ::-1], [(kind, outline * (-1, 1) + (1, 0)) for kind, outline in outlines]
        found.append((picture, [Shape(CLASSES.index(kind), xy, LEAN) for kind, xy in outlines if is_large(xy)]))
    return found


def write_crops(folder: Path) -> None:
    """Write what is labelled, and its mirror picture, into a folder for each class."""
    for name, labels in LABELS.items():
        picture = cv2.imread(str(ASSETS / f"{name}.jpg"))
        for number, (kind, xy) in enumerate(labels):
            points = np.reshape(xy, (-1, 2))
            side = int(np.ptp(points, axis=0).max())
            left, top = map(int, (points.min(0) + points.max(0) - side) // 2)
            crop = view(picture, left, top, side)
            for split in ("train", "val"):
                (folder / split / kind).mkdir(parents=True, exist_ok=True)
                for suffix, image in (("", crop), ("-mirrored", crop[:, ::-1])):
                    cv2.imwrite(str(folder / split / kind / f"{name}-{number}{suffix}.png"), image)
