"""Painting: a scene as pixels, with a textured background, shapes that stand out from what is behind, and a sensor."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from effyolo_ultra.shapes.scenes import Shape

MIN_CONTRAST = 50.0  # distance in CIE Lab between a shape and what lies along its outline, where colours allow it


def _lab(bgr: np.ndarray) -> np.ndarray:
    """Colours (N, 3) in 0..255 as CIE Lab, where distances are about as large as they look."""
    return cv2.cvtColor((bgr[None] / 255).astype(np.float32), cv2.COLOR_BGR2LAB)[0]


def _colours(rng: np.random.Generator, count: int, saturation: tuple[float, float], value: tuple[float, float]):
    """Random colours (count, 3) as BGR in 0..255; saturation and value are ranges within 0..1."""
    hsv = np.stack([rng.uniform(0, 360, count), rng.uniform(*saturation, count), rng.uniform(*value, count)], axis=1)
    return cv2.cvtColor(hsv[None].astype(np.float32), cv2.COLOR_HSV2BGR)[0] * 255


def _ramp(rng: np.random.Generator, imgsz: int) -> np.ndarray:
    """Position (H, W) along a random direction, from 0 to 1 over the picture."""
    angle = rng.uniform(0, 2 * np.pi)
    axis = np.arange(imgsz, dtype=np.float32) / imgsz - 0.5
    ramp = axis[None] * np.float32(np.cos(angle)) + axis[:, None] * np.float32(np.sin(angle))
    return ramp / np.float32(abs(np.cos(angle)) + abs(np.sin(angle))) + np.float32(0.5)


def _gradient(rng: np.random.Generator, imgsz: int) -> np.ndarray:
    return _ramp(rng, imgsz)


def _clouds(rng: np.random.Generator, imgsz: int) -> np.ndarray:
    field = np.zeros((imgsz, imgsz), dtype=np.float32)
    for cells, weight in ((3, 0.5), (7, 0.3), (19, 0.2)):
        grid = rng.random((cells, cells), dtype=np.float32)
        field += weight * cv2.resize(grid, (imgsz, imgsz), interpolation=cv2.INTER_CUBIC)
    return field


def _stripes(rng: np.random.Generator, imgsz: int) -> np.ndarray:
    return 0.5 + 0.5 * np.sin(_ramp(rng, imgsz) * np.float32(2 * np.pi * rng.uniform(3, 16)))


def _tiles(rng: np.random.Generator, imgsz: int) -> np.ndarray:
    count = rng.uniform(3, 9)
    columns, rows = (np.floor(_ramp(rng, imgsz) * count) for _ in range(2))
    return ((columns + rows) % 2).astype(np.float32)


def _grain(rng: np.random.Generator, imgsz: int) -> np.ndarray:
    cells = int(rng.integers(30, 80))
    return cv2.resize(rng.random((cells, cells), dtype=np.float32), (imgsz, imgsz), interpolation=cv2.INTER_LINEAR)


_TEXTURES = (_gradient, _clouds, _stripes, _tiles, _grain)


def _background(rng: np.random.Generator, imgsz: int) -> np.ndarray:
    """A mix of two textures between two colours that are not far from one another."""
    first = _colours(rng, 1, (0.0, 0.6), (0.2, 0.95))[0]
    second = np.clip(first + rng.uniform(-45, 45, 3), 0, 255).astype(np.float32)
    one, other = (_TEXTURES[i](rng, imgsz) for i in rng.integers(len(_TEXTURES), size=2))
    mix = one + np.float32(rng.uniform(0, 0.6)) * (other - one)
    return first + mix[..., None] * (second - first)


def _fill_colour(rng: np.random.Generator, behind: np.ndarray) -> np.ndarray:
    """The first of some random colours that stands out from the colours behind, or the best of them."""
    candidates = _colours(rng, 16, (0.3, 1.0), (0.2, 1.0))
    distance = np.linalg.norm(_lab(candidates)[:, None] - _lab(behind)[None], axis=-1)
    contrast = np.quantile(distance, 0.15, axis=1)  # of most of the outline: a single speck may be like the shape
    enough = contrast >= MIN_CONTRAST
    return candidates[enough.argmax() if enough.any() else contrast.argmax()]


def _coverage(points: np.ndarray, shape_hw: tuple[int, int]) -> np.ndarray:
    """How much of each pixel (H, W) a polygon covers, 0 to 1. OpenCV's own smooth edges lie one pixel too far out."""
    fine = 4
    fixed_point = [np.round(((points + 0.5) * fine - 0.5) * 256).astype(np.int32)]
    mask = cv2.fillPoly(np.zeros((shape_hw[0] * fine, shape_hw[1] * fine), np.uint8), fixed_point, 255, shift=8)
    return cv2.resize(mask, shape_hw[::-1], interpolation=cv2.INTER_AREA) * np.float32(1 / 255)


def _paint_shape(image: np.ndarray, outline: np.ndarray, rng: np.random.Generator) -> None:
    imgsz = len(image)
    points = outline * imgsz - 0.5  # OpenCV has the middle of the first pixel at 0
    low = np.clip(np.floor(points.min(axis=0)).astype(int) - 2, 0, imgsz)
    high = np.clip(np.ceil(points.max(axis=0)).astype(int) + 3, 0, imgsz)
    patch = image[low[1] : high[1], low[0] : high[0]]

    edge = (points + np.roll(points, 1, axis=0)) / 2
    edge = np.clip(np.round(np.concatenate([points, edge])).astype(int), 0, imgsz - 1)
    colour = _fill_colour(rng, image[edge[:, 1], edge[:, 0]])
    shade = colour * np.float32(rng.uniform(0.6, 0.85))
    fill, border = rng.choice(["flat", "gradient", "stripes"], p=[0.6, 0.25, 0.15]), rng.random() < 0.3
    texture = {"flat": np.float32(0), "gradient": _ramp(rng, imgsz), "stripes": _stripes(rng, imgsz)}[str(fill)]
    if texture.ndim:
        texture = texture[low[1] : high[1], low[0] : high[0], None]
    paint = colour + texture * (shade - colour)

    alpha = _coverage(points - low, patch.shape[:2])[..., None]
    if border:  # a darker rim, within the shape: the outline stays where the labels have it
        thickness = max(1, round(imgsz / 80))
        fixed_point = [np.round((points - low) * 256).astype(np.int32)]
        rim = cv2.polylines(
            np.zeros(patch.shape[:2], np.uint8), fixed_point, True, 255, thickness, cv2.LINE_AA, shift=8
        )
        paint = paint + rim[..., None] * np.float32(1 / 255) * (0.5 * colour - paint)
    patch += alpha * (paint - patch)


def paint_scene(scene: Sequence[Shape], rng: np.random.Generator, imgsz: int) -> np.ndarray:
    """Paint a scene with random colours and textures.

    Args:
        scene: Shapes, lowest first.
        rng: Source of everything that is random in the picture.
        imgsz: Side of the square picture in pixels.

    Returns:
        The picture (imgsz, imgsz, 3), BGR, uint8.
    """
    image = np.ascontiguousarray(_background(rng, imgsz), dtype=np.float32)
    for shape in scene:
        _paint_shape(image, shape.outline, rng)
    if rng.random() < 0.5:  # out of focus
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 1.2) * imgsz / 320)
    image *= np.float32(rng.uniform(0.85, 1.1))  # exposure
    image += rng.standard_normal(image.shape, dtype=np.float32) * np.float32(rng.uniform(2, 9))
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)
