"""Scenes: which shapes stand where. A scene knows no pixels, so that it is the same at every image size."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from effyolo_ultra.shapes.geometry import area, clip_to_frame, visible_fraction
from effyolo_ultra.shapes.outlines import CLASSES, outline

MIN_VISIBLE = 0.5
"""A shape stays in its scene if at least this share of its whole area is in the frame and uncovered."""

MIN_SHAPES, MAX_SHAPES = 2, 7
MIN_SIZE, MAX_SIZE = 0.04, 0.60  # longer side of the upright box, as a fraction of the image side
MAX_LEAN = np.pi / 4  # enough for every angle of an oriented box, and a model need not learn a class upside down


class Shape(NamedTuple):
    """One shape of a scene: its whole outline (N, 2), also where covered or out of the frame, and how it is turned."""

    class_id: int
    outline: np.ndarray
    angle: float  # radians, clockwise as seen


def _random_shape(rng: np.random.Generator) -> Shape:
    class_id = int(rng.integers(len(CLASSES)))
    size = MIN_SIZE + (MAX_SIZE - MIN_SIZE) * rng.beta(2.2, 2.4)  # a third of the side is common, the ends are rare
    angle = rng.uniform(-MAX_LEAN, MAX_LEAN)
    points = outline(CLASSES[class_id], angle) * size
    margin = 0.35 * size  # a shape is cut by the frame now and then, but never by half
    return Shape(class_id, points + rng.uniform(margin, 1 - margin, size=2), angle)


def random_scene(rng: np.random.Generator) -> list[Shape]:
    """Draw a scene of 2 to 7 shapes.

    Shapes stand in order of their area within the frame, the largest lowest, so that none vanishes under a much larger
    one and the area order in which Ultralytics overlaps segmentation masks is the order in which they are painted. A
    shape of which less than `MIN_VISIBLE` can be seen is taken out of the scene, not only out of its labels: whatever
    can be seen is labelled.

    Returns:
        The shapes, lowest first; each one covers those before it.
    """
    while True:
        drawn = [_random_shape(rng) for _ in range(int(rng.integers(MIN_SHAPES, MAX_SHAPES + 1)))]
        drawn.sort(key=lambda shape: area(clip_to_frame(shape.outline)))
        kept: list[Shape] = []  # uppermost first: what is taken out covers nothing below it
        for shape in drawn:
            if visible_fraction(shape.outline, [upper.outline for upper in kept]) >= MIN_VISIBLE:
                kept.append(shape)
        if len(kept) >= MIN_SHAPES:
            return kept[::-1]
