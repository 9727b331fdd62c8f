"""Labels: a scene as the lines of an Ultralytics label file, for each of the four tasks.

All labels of a shape describe its whole outline within the frame, also where another shape covers it. So the box of the
detect label is the box of the segment polygon and of the pose label, and covers every keypoint. Ultralytics gives the
overlap of two polygons to the smaller one, which is the upper one here: the masks it trains on are the visible parts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from effyolo_ultra.shapes.geometry import centroid, clip_to_frame, contains, oriented_box
from effyolo_ultra.shapes.outlines import CLASSES, box_angle
from effyolo_ultra.shapes.scenes import Shape

TASKS = ("detect", "segment", "pose", "obb")

KEYPOINTS = ("centre", "top", "right", "bottom", "left")
"""Centre of mass and the four extreme points of the whole outline, in the order of `kpt_shape` and `flip_idx`.

They follow the axes of the picture and not the shape, so that they mean the same for all classes and at any rotation.
Mirrored left to right, `left` and `right` change places: `flip_idx: [0, 1, 4, 3, 2]`.
"""


def _polygon(points: np.ndarray) -> np.ndarray:
    """The outline within the frame, without points that six decimals cannot tell apart."""
    points = np.clip(clip_to_frame(points), 0, 1).round(6)
    return points[(points != np.roll(points, 1, axis=0)).any(axis=1)]


def _box_xywhn(points: np.ndarray) -> np.ndarray:
    low, high = points.min(axis=0), points.max(axis=0)
    return np.concatenate([(low + high) / 2, high - low])


def _keypoints(outline: np.ndarray, above: Sequence[np.ndarray]) -> np.ndarray:
    """Keypoints (5, 3) as x, y and visibility: 2 seen, 1 covered by another shape, 0 (at 0, 0) out of the frame."""
    x, y = outline.T
    points = np.array([centroid(outline), *(outline[i] for i in (y.argmin(), x.argmax(), y.argmax(), x.argmin()))])
    rows = np.zeros((len(KEYPOINTS), 3))
    for row, point in zip(rows, points):
        if ((point >= 0) & (point <= 1)).all():
            row[:2] = point
            row[2] = 1 if any(contains(upper, point) for upper in above) else 2
    return rows


def label_lines(scene: Sequence[Shape], task: str) -> list[str]:
    """Write a scene as label lines, one per shape, in the order of the scene.

    * detect: `class cx cy w h`
    * segment: `class x1 y1 x2 y2 ...`
    * pose: `class cx cy w h` and `x y visibility` of each of `KEYPOINTS`
    * obb: `class x1 y1 x2 y2 x3 y3 x4 y4`, a rectangle along the axis of the shape around its outline within the frame.
      A corner that is out of the frame itself is moved to its side, as Ultralytics does when it crops.

    Args:
        scene: Shapes, lowest first.
        task: One of `TASKS`.

    Returns:
        One line per shape; coordinates are fractions of the image side within 0..1, with six decimals.
    """
    lines = []
    for i, shape in enumerate(scene):
        polygon = _polygon(shape.outline)
        numbers: list[str] = []
        if task == "segment":
            numbers += _decimals(polygon)
        elif task == "obb":
            angle = box_angle(CLASSES[shape.class_id], shape.angle)
            numbers += _decimals(np.clip(oriented_box(polygon, angle), 0, 1))
        else:
            numbers += _decimals(_box_xywhn(polygon))
        if task == "pose":
            for x, y, visibility in _keypoints(shape.outline, [upper.outline for upper in scene[i + 1 :]]):
                numbers += [*_decimals(np.array([x, y])), str(int(visibility))]
        lines.append(" ".join([str(shape.class_id), *numbers]))
    return lines


def _decimals(values: np.ndarray) -> list[str]:
    return [f"{value:.6f}" for value in values.ravel()]
