"""The place of each box: its column by its depth in the network, its height by its level. All lengths are inches."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

from effyolo_ultra.drawing.graph import Arrow, Box, Graph

FONT = 7.5  # points
LINE = 0.125  # height of a line of text
PAD = 0.11  # around the text of a box, on both sides together for its height
COLUMN_GAP = 0.34
LANE = 0.085  # between the arrows that pass along a row of boxes
LEAST_GAP = 0.4  # between two rows of boxes, with room for arrows along them


@dataclass
class Place:
    """Where a box stands: its middle, and half its width and height."""

    x: float
    y: float
    w: float
    h: float

    @property
    def edges(self) -> tuple[float, float, float, float]:
        """Left, right, bottom and top."""
        return self.x - self.w, self.x + self.w, self.y - self.h, self.y + self.h


@dataclass
class Layout:
    """The places of all boxes, the column of each, and the height of each level."""

    places: dict[Box, Place] = field(default_factory=dict)
    columns: dict[Box, int] = field(default_factory=dict)
    heights: dict[float, float] = field(default_factory=dict)


def lay_out(graph: Graph, least_width: dict[str, float]) -> Layout:
    """Give each box its place.

    Args:
        graph: The network.
        least_width: Width that the columns of 'backbone' and 'neck' have at least, for what is written above them.
    """
    layout = Layout(columns=columns_of(graph))
    half = {box: size_of(box) for box in graph.boxes}
    layout.heights = heights_of(graph, half)
    widths: dict[int, float] = {}
    for box, column in layout.columns.items():
        widths[column] = max(widths.get(column, 0), 2 * half[box][0])
    of_backbone = {layout.columns[box] for box in graph.boxes if box.kind in ("image", "backbone")}
    last = max(widths)
    for part, columns in (("backbone", sorted(of_backbone)), ("neck", sorted({*widths} - of_backbone - {last}))):
        have = sum(widths[column] for column in columns) + COLUMN_GAP * (len(columns) - 1)
        for column in columns:
            widths[column] += max(least_width[part] - have, 0) / len(columns)
    lefts, x = {}, 0.0
    for column in sorted(widths):
        lefts[column], x = x, x + widths[column] + COLUMN_GAP
    for box in graph.boxes:
        w, h = half[box]
        column = layout.columns[box]
        coarsest, finest = (height_of(level, layout.heights) for level in box.levels)
        layout.places[box] = Place(
            lefts[column] + widths[column] / 2, (coarsest + finest) / 2, w, h + abs(coarsest - finest) / 2
        )
    return layout


def columns_of(graph: Graph) -> dict[Box, int]:
    """Return the column of each box."""
    columns: dict[Box, int] = {}
    taken: set[tuple[int, float]] = set()
    backbone_levels = {box.level for box in graph.boxes if box.kind == "backbone"}

    def free(column: int, box: Box) -> bool:
        return not any(c == column and box.levels[1] <= level <= box.levels[0] for c, level in taken)

    def put(box: Box, column: int) -> None:
        while not free(column, box):
            column += 1
        columns[box] = column
        taken.add((column, box.level))

    first_of_cell: dict[tuple[int, int], int] = {}
    for box in graph.boxes:
        into = graph.into(box)
        if box.cell is not None:
            if box.cell not in first_of_cell:
                nodes = [b for b in graph.boxes if b.cell == box.cell]
                outside = [a.source.box for b in nodes for a in graph.into(b) if a.source.box.cell != box.cell]
                first_of_cell[box.cell] = max(columns[source] for source in outside) + 1
            put(box, first_of_cell[box.cell] + box.offset)
        elif box.kind == "head":
            put(box, max(columns.values()) + 1)
        else:
            put(box, max((columns[arrow.source.box] + step(arrow, backbone_levels) for arrow in into), default=0))
        for arrow in into:  # what only this box takes stands right above or below it
            source = arrow.source.box
            if source.between and len(graph.out_of(source)) == 1 and (columns[box], source.level) not in taken:
                taken.discard((columns[source], source.level))
                columns[source] = columns[box]
                taken.add((columns[source], source.level))
    return columns


def step(arrow: Arrow, backbone_levels: set[float]) -> int:
    """Return how many columns an arrow takes: none where it goes straight up or down to the next box."""
    source, target = arrow.source.box, arrow.target
    if target.kind == "backbone":
        return int(arrow.source.level >= target.level)
    if source.between or target.between:
        return int(source.kind == "backbone" or abs(source.level - target.level) > 0.5)
    is_extra_level = target.kind == "resample" and target.level > max(backbone_levels, default=0)
    return 0 if is_extra_level and target.level - source.level == 1 else 1


def heights_of(graph: Graph, half: dict[Box, tuple[float, float]]) -> dict[float, float]:
    """Return the height of each level, the finest at 0."""
    half_height: dict[float, float] = {}
    for box in graph.boxes:
        if not box.between:
            for level in box.levels:
                half_height[level] = max(half_height.get(level, 0), half[box][1] if box.kind != "head" else 0.14)
    levels = sorted(half_height)
    heights, y = {levels[0]: 0.0}, 0.0
    for below, level in zip(levels, levels[1:]):
        boxes = [box for box in graph.boxes if box.between and below < box.level < level]
        gap = LEAST_GAP + (2 * max(half[box][1] for box in boxes) + 0.14 if boxes else 0)
        is_plain = not boxes and not any(
            box.kind not in ("image", "backbone") and box.levels[1] <= below for box in graph.boxes
        )
        y += half_height[below] + half_height[level] + (0.2 if is_plain else gap)
        heights[level] = y
    return heights


def height_of(level: float, heights: dict[float, float]) -> float:
    """Return the height of a level, or of a place between two."""
    if level in heights:
        return heights[level]
    below = max(known for known in heights if known < level)
    above = min(known for known in heights if known > level)
    return (heights[below] + heights[above]) / 2


def size_of(box: Box) -> tuple[float, float]:
    """Return half the width and height of a box."""
    if box.cell is not None:
        return 0.19, 0.14
    return max(text_width(line) for line in box.text) / 2 + PAD / 2, (LINE * len(box.text) + PAD * 0.8) / 2


@cache
def text_width(text: str, size: float = FONT) -> float:
    """Return the width of a line of text."""
    from matplotlib.textpath import TextPath

    return TextPath((0, 0), text, size=size).get_extents().width / 72
