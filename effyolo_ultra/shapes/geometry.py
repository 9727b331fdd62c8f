"""Polygons in the unit square, the frame of a picture: (N, 2) xy in fractions of the image side, y downwards."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

FRAME = np.array([(0, 0), (1, 0), (1, 1), (0, 1)], dtype=float)


def area(points: np.ndarray) -> float:
    """Area of a simple polygon."""
    x, y = points.T
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2


def centroid(points: np.ndarray) -> np.ndarray:
    """Centre of mass of a simple polygon."""
    following = np.roll(points, -1, axis=0)
    cross = points[:, 0] * following[:, 1] - points[:, 1] * following[:, 0]
    return ((points + following) * cross[:, None]).sum(axis=0) / (3 * cross.sum())


def contains(points: np.ndarray, xy: np.ndarray) -> bool:
    """Whether a point lies in a polygon or on its edge."""
    x, y = float(xy[0]), float(xy[1])
    return cv2.pointPolygonTest(points.astype(np.float32), (x, y), False) >= 0


def clip_to_frame(points: np.ndarray) -> np.ndarray:
    """Cut a polygon at the four sides of the frame (Sutherland-Hodgman).

    A polygon that falls apart into several stays one, whose parts are joined along the side of the frame.
    """
    for axis, side in ((0, 0.0), (0, 1.0), (1, 0.0), (1, 1.0)):
        depth = (points[:, axis] - side) * (1 if side == 0 else -1)  # > 0 within
        if (depth >= 0).all():
            continue
        kept = []
        for i in range(len(points)):
            previous, current = points[i - 1], points[i]
            if depth[i - 1] * depth[i] < 0:
                crossing = previous + (current - previous) * (depth[i - 1] / (depth[i - 1] - depth[i]))
                crossing[axis] = side
                kept.append(crossing)
            if depth[i] >= 0:
                kept.append(current)
        points = np.array(kept).reshape(-1, 2)
    return points


def visible_fraction(points: np.ndarray, above: Sequence[np.ndarray], resolution: int = 96) -> float:
    """The share of a polygon's whole area that is within the frame and under none of the polygons above it.

    It is counted on a grid that fits the polygon, so that a small one is measured as finely as a large one.
    """
    low = points.min(axis=0)
    scale = resolution / (points.max(axis=0) - low).max()

    def raster(polygon: np.ndarray) -> np.ndarray:
        mask = np.zeros((resolution, resolution), dtype=np.uint8)
        fixed_point = np.round(((polygon - low) * scale - 0.5) * 256).astype(np.int32)
        return cv2.fillPoly(mask, [fixed_point], 1, shift=8)

    whole = raster(points)
    visible = whole & raster(FRAME)
    for polygon in above:
        visible &= 1 - raster(polygon)
    return float(visible.sum() / whole.sum())


def oriented_box(points: np.ndarray, angle: float) -> np.ndarray:
    """The rectangle turned by `angle` (radians, clockwise as seen) that fits tightly around a polygon.

    Returns:
        The corners (4, 2), clockwise as seen.
    """
    axes = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    turned = points @ axes.T
    (left, top), (right, bottom) = turned.min(axis=0), turned.max(axis=0)
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)]) @ axes
