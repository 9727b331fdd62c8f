"""What the pictures of modules are drawn with: boxes and arrows on a sheet, and an SVG that is the same each time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

# Okabe and Ito's colours, told apart by colour-blind readers; the fills are the same colours, paler.
BLUE, RED, GREEN, PURPLE, GRAY, BLACK = "#0072B2", "#D55E00", "#009E73", "#AA4499", "#999999", "#222222"
PALE = {BLUE: "#d6e8f4", RED: "#fae3d4", GREEN: "#d4efe7", PURPLE: "#f2e0ef", GRAY: "#eeeeee"}
INCH = 0.5  # of one unit on the sheet

Point = tuple[float, float]


class Sheet:
    """A drawing in units of half an inch, from (0, 0) at the lower left.

    Args:
        width: Width in units.
        height: Height in units.
    """

    def __init__(self, width: float, height: float):
        self.figure = Figure(figsize=(width * INCH, height * INCH), facecolor="white")
        self.axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set(xlim=(0, width), ylim=(0, height))
        self.axes.axis("off")

    def box(self, center: Point, size: Point, text: str, color: str = GRAY, *, font: float = 8, dashed: bool = False):
        """Draw a box with text in it."""
        (x, y), (w, h) = center, size
        patch = FancyBboxPatch(
            (x - w / 2, y - h / 2),
            w,
            h,
            boxstyle="round,pad=0,rounding_size=0.12",
            facecolor="white" if dashed else PALE[color],
            edgecolor=color,
            linestyle="--" if dashed else "-",
        )
        self.axes.add_patch(patch)
        self.text(center, text, font=font)

    def text(self, at: Point, text: str, color: str = BLACK, *, font: float = 8, align: str = "center", **more: Any):
        """Write text, by default around a point."""
        self.axes.text(*at, text, color=color, fontsize=font, ha=align, va="center", linespacing=1.35, **more)

    def arrow(
        self, start: Point, end: Point, color: str = BLACK, *, bend: float = 0, dashed: bool = False, head: bool = True
    ):
        """Draw an arrow, bent to one side or straight."""
        patch = FancyArrowPatch(
            start,
            end,
            arrowstyle="-|>" if head else "-",
            mutation_scale=9,
            connectionstyle=f"arc3,rad={bend}",
            color=color,
            linewidth=1.2,
            linestyle="--" if dashed else "-",
            shrinkA=0,
            shrinkB=0,
        )
        self.axes.add_patch(patch)

    def chain(self, start: Point, boxes: Sequence[tuple[str, str]], size: Point, gap: float = 0.5) -> Point:
        """Draw boxes from left to right, with arrows between; return where the last arrow could begin."""
        x, y = start
        for i, (text, color) in enumerate(boxes):
            if i:
                self.arrow((x, y), (x + gap, y))
                x += gap
            self.box((x + size[0] / 2, y), size, text, color)
            x += size[0]
        return x, y

    def save(self, path: Path) -> None:
        """Write the picture; the same sheet gives the same bytes, whenever it is drawn."""
        # hashsalt: the identifiers in the file are otherwise random. path: the same letters on every machine.
        with matplotlib.rc_context({"svg.hashsalt": path.stem, "svg.fonttype": "path"}):
            self.figure.savefig(path, metadata={"Date": None, "Creator": None})
