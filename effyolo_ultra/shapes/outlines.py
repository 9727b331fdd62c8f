"""The eight shapes as closed outlines, each in its own frame: x to the right, y downwards, any size."""

from __future__ import annotations

import numpy as np

CURVE_POINTS = 64  # a multiple of 4, so that an unturned circle has its four extreme points among its vertices


def _polar(radius: float | np.ndarray, angle: np.ndarray) -> np.ndarray:
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


def _regular(corners: int) -> np.ndarray:
    return _polar(1.0, np.arange(corners) * 2 * np.pi / corners - np.pi / 2)


def _square() -> np.ndarray:
    return np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)], dtype=float)


def _star() -> np.ndarray:
    radius = np.where(np.arange(10) % 2 == 0, 1.0, 0.42)
    return _polar(radius, np.arange(10) * np.pi / 5 - np.pi / 2)


def _cross() -> np.ndarray:
    a, b = 1.0, 0.36
    corners = [
        (-b, -a),
        (b, -a),
        (b, -b),
        (a, -b),
        (a, b),
        (b, b),
        (b, a),
        (-b, a),
        (-b, b),
        (-a, b),
        (-a, -b),
        (-b, -b),
    ]
    return np.array(corners, dtype=float)


def _heart() -> np.ndarray:
    t = np.arange(CURVE_POINTS) * 2 * np.pi / CURVE_POINTS
    x = 16 * np.sin(t) ** 3
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return np.stack([x, -y], axis=1)


def _arrow() -> np.ndarray:
    return np.array(
        [(1, 0), (0.1, 0.75), (0.1, 0.28), (-1, 0.28), (-1, -0.28), (0.1, -0.28), (0.1, -0.75)], dtype=float
    )


def _crescent() -> np.ndarray:
    # A unit disc with a bite: thick enough that its centre of mass lies within it, where a keypoint can be seen.
    bite_x, bite_radius = 0.6, 0.8
    tip_x = (bite_x**2 + 1 - bite_radius**2) / (2 * bite_x)
    tip_y = np.sqrt(1 - tip_x**2)
    outer, inner = np.arctan2(tip_y, tip_x), np.arctan2(tip_y, tip_x - bite_x)
    back = _polar(1.0, np.linspace(outer, 2 * np.pi - outer, CURVE_POINTS // 2))
    front = _polar(bite_radius, np.linspace(2 * np.pi - inner, inner, CURVE_POINTS // 2)) + np.array([bite_x, 0])
    return np.concatenate([back, front[1:-1]])


_OUTLINES = {
    "circle": _regular(CURVE_POINTS),
    "triangle": _regular(3),
    "square": _square(),
    "star": _star(),
    "cross": _cross(),
    "heart": _heart(),
    "arrow": _arrow(),
    "crescent": _crescent(),
}

CLASSES = tuple(_OUTLINES)
"""Class names in the order of their ids, as in the dataset YAMLs."""


SYMMETRY = {"triangle": 3, "square": 4, "star": 5, "cross": 4}
"""How many turns of a shape look the same, where it is more than one. A circle is never turned."""


def box_angle(name: str, angle: float) -> float:
    """The angle, in radians, of the oriented box of a shape that is turned by `angle`.

    The box has its sides along the axis of the shape. Of the boxes that fit a symmetric shape equally well the one
    nearest to upright is taken, so that what looks the same has the same box.
    """
    if name == "circle":
        return 0.0
    turns = SYMMETRY.get(name, 1)
    quarter = np.pi / 2
    angles = (angle + np.arange(turns) * 2 * np.pi / turns + quarter / 2) % quarter - quarter / 2
    return float(angles[np.abs(angles).argmin()])


def outline(name: str, angle: float) -> np.ndarray:
    """Turn the outline of a class by an angle in radians and scale its upright box to a longer side of 1.

    Returns:
        The points (N, 2) as xy, with the middle of their upright box at (0, 0). A circle is not turned.
    """
    points = _OUTLINES[name]
    if name != "circle":
        cos, sin = np.cos(angle), np.sin(angle)
        points = points @ np.array([[cos, sin], [-sin, cos]])
    low, high = points.min(axis=0), points.max(axis=0)
    return (points - (low + high) / 2) / (high - low).max()
