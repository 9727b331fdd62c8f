"""The picture of a network: `draw(model, "network.svg")`, or the command `effyolo draw`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from effyolo_ultra._figures import INK, check_target, no_formula, save_picture
from effyolo_ultra._open import Source, open_model
from effyolo_ultra.drawing.graph import Box, Graph, graph_of
from effyolo_ultra.drawing.layout import FONT, Layout, Place, lay_out, text_width
from effyolo_ultra.drawing.routes import rounded, ways_of
from effyolo_ultra.network import Network, describe

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

IMGSZ = 1024  # a multiple of every stride up to that of P10
MARGIN, LEFT = 0.12, 0.62
CELL_PAD = 0.1
# As far from each other in lightness as in hue: told apart in grey, and by colour-blind readers.
COLOURS = {
    "image": ("#ffffff", INK),
    "backbone": ("#2f4b7c", "#ffffff"),
    "block": ("#9cc5e3", INK),
    "fusion": ("#fbe08a", INK),
    "resample": ("#f7f7f7", INK),
    "head": ("#b9653a", "#ffffff"),
}
NAMES = {"block": "other layer", "resample": "resampling"}
WEIGHTS = (0.1, 0.5, 1.0)  # in the legend
UNWEIGHTED = "#8c8c8c"  # the colour of an arrow without a weight, among arrows with one


def draw(model: Source, path: str | os.PathLike[str], *, title: str = "", overwrite: bool = False) -> Path:
    """Draw a network: a row for each pyramid level, from the image on the left to the head on the right.

    A box is a row of the model YAML; rows of the backbone that follow each other on one level share a box, and a BiFPN
    is drawn cell by cell, with the names of the EfficientDet paper (https://arxiv.org/abs/1911.09070, figure 2). Unless
    the network comes from a YAML, an arrow into a weighted fusion is as wide as its normalised weight.

    Args:
        model: Name or path of a model YAML, path of a .pt file, an `ultralytics.YOLO`, or its `model`.
        path: The picture to write; its suffix, .svg, .pdf or .png, says the format.
        title: What to write above the picture.
        overwrite: Whether to replace a file that is there.

    Returns:
        The path.

    Raises:
        ValueError: If the suffix is another one, or `model` holds no network.
        FileNotFoundError: If there is no such model.
        FileExistsError: If the picture is there and `overwrite` is not set.
    """
    path = Path(path)
    check_target(path, overwrite)
    is_yaml = isinstance(model, (str, os.PathLike)) and Path(model).suffix in (".yaml", ".yml")
    module = open_model(model)
    network = describe(module, IMGSZ)
    figure = figure_of(graph_of(network, module, is_weighted=not is_yaml), network, title)
    save_picture(figure, path, overwrite, dpi=200)
    return path


def figure_of(graph: Graph, network: Network, title: str = "") -> Figure:
    """Return the picture of a graph. Its axis counts in inches."""
    from matplotlib.figure import Figure

    title = no_formula(title)
    above = {"backbone": backbone_title(network), "neck": network.neck or "neck"}
    layout = lay_out(graph, {part: text_width(text, FONT + 1) for part, text in above.items()})
    _, rights, bottoms, tops = zip(*(place.edges for place in layout.places.values()))
    right, bottom, top = max(rights), min(bottoms), max(tops)
    x0, x1 = -LEFT, max(right, text_width(title, FONT + 3) - LEFT if title else 0, 3.2) + MARGIN
    above_rows = 0.36 if any(box.cell for box in graph.boxes) else 0.22  # the cells have names of their own
    y1 = top + above_rows + 0.16 + (0.28 if title else 0)
    y0 = bottom - MARGIN
    figure = Figure(figsize=(x1 - x0, y1 - y0))
    axis = figure.add_axes((0, 0, 1, 1))
    axis.axis("off")
    draw_levels(axis, layout, (x0 + 0.05, right + 0.05), (bottom - 0.06, top + 0.06))
    draw_cells(axis, layout)
    draw_arrows(axis, graph, layout)
    for box, place in layout.places.items():
        draw_box(axis, box, place)
    for part, kinds in (("backbone", ("image", "backbone")), ("neck", ("block", "fusion", "resample"))):
        columns = {layout.columns[box] for box in graph.boxes if box.kind in ("image", "backbone")}
        spans = [
            place.edges
            for box, place in layout.places.items()
            if box.kind in kinds and (layout.columns[box] in columns) == (part == "backbone")
        ]
        if spans:
            middle = (min(span[0] for span in spans) + max(span[1] for span in spans)) / 2
            write(axis, middle, top + above_rows, above[part], FONT + 1)
    if title:
        write(axis, (x0 + x1) / 2, top + above_rows + 0.28, title, FONT + 3)
    y0 -= draw_legend(axis, graph, (x0 + 0.1, x1), y0)
    axis.set(xlim=(x0, x1), ylim=(y0, y1))
    figure.set_size_inches(x1 - x0, y1 - y0)
    return figure


def backbone_title(network: Network) -> str:
    """Return what stands above the backbone: the model in timm, which is not one of the rows."""
    return network.backbone if "Backbone" in network.layers[0].module else "backbone"


def write(axis: Axes, x: float, y: float, text: str, size: float = FONT, **options: object) -> None:
    """Write a text, by default around a point."""
    options = {"ha": "center", "va": "center", "color": INK, "zorder": 5, **options}
    axis.text(x, y, text, fontsize=size, **options)


def draw_levels(axis: Axes, layout: Layout, x: tuple[float, float], y: tuple[float, float]) -> None:
    """Name the levels at the left, and lay a band under every second one."""
    levels = sorted(layout.heights)
    borders = [(layout.heights[a] + layout.heights[b]) / 2 for a, b in zip(levels, levels[1:])]
    for i, (level, low, high) in enumerate(zip(levels, [y[0], *borders], [*borders, y[1]])):
        if i % 2:
            axis.axhspan(low, high, color="#f1f1f1", linewidth=0, zorder=0)
        if level:
            name = f"$P_{{{level:g}}}$  /{2**level:g}"
            write(axis, x[0] + 0.04, layout.heights[level], name, FONT + 0.5, ha="left")


def draw_cells(axis: Axes, layout: Layout) -> None:
    """Draw a frame around the nodes of each cell of a BiFPN."""
    from matplotlib.patches import FancyBboxPatch

    for cell in dict.fromkeys(box.cell for box in layout.places if box.cell):
        lefts, rights, bottoms, tops = zip(*(place.edges for box, place in layout.places.items() if box.cell == cell))
        x, y = min(lefts) - CELL_PAD, min(bottoms) - CELL_PAD
        w, h = max(rights) + CELL_PAD - x, max(tops) + CELL_PAD - y
        style = {"facecolor": "none", "edgecolor": "#999999", "linewidth": 0.7, "linestyle": (0, (4, 2))}
        axis.add_patch(FancyBboxPatch((x, y), w, h, boxstyle="round,pad=0,rounding_size=0.08", zorder=1, **style))
        write(axis, x + w / 2, y + h + 0.08, f"cell {cell[1]}", FONT - 0.5)


def draw_arrows(axis: Axes, graph: Graph, layout: Layout) -> None:
    """Draw the arrows, as wide as their weights."""
    from matplotlib.patches import FancyArrowPatch

    for arrow, way in zip(graph.arrows, ways_of(graph, layout)):
        width = line_width(arrow.weight)
        style = {"arrowstyle": "-|>", "mutation_scale": 5 + 1.5 * width, "linewidth": width}
        style["color"] = UNWEIGHTED if graph.is_weighted and arrow.weight is None else INK
        axis.add_patch(FancyArrowPatch(path=rounded(way), capstyle="butt", joinstyle="miter", zorder=3, **style))


def line_width(weight: float | None) -> float:
    """Return the width of an arrow in points."""
    return 0.8 if weight is None else 0.3 + 2.9 * min(weight, 1.0)


def draw_box(axis: Axes, box: Box, place: Place) -> None:
    """Draw a box with its text."""
    from matplotlib.patches import FancyBboxPatch

    face, ink = COLOURS[box.kind]
    left, right, bottom, top = place.edges
    rounding = 0.03 if box.kind in ("image", "backbone", "head") else 0.06
    style = {"facecolor": face, "edgecolor": INK, "linewidth": 0.7, "zorder": 4}
    shape = f"round,pad=0,rounding_size={rounding}"
    axis.add_patch(FancyBboxPatch((left, bottom), right - left, top - bottom, boxstyle=shape, **style))
    text = "\n".join(box.text)
    write(axis, place.x, place.y, text, FONT + (1 if box.cell else 0), color=ink, linespacing=1.15)


def draw_legend(axis: Axes, graph: Graph, x: tuple[float, float], y: float) -> float:
    """Draw the legend in as many lines as it needs below a height, and return how high they are together."""
    from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

    kinds = [kind for kind in COLOURS if kind != "image" and any(box.kind == kind for box in graph.boxes)]
    lines: list[float | None] = []
    if graph.is_weighted:
        lines = [*WEIGHTS, *([None] if any(arrow.weight is None for arrow in graph.arrows) else [])]
    left, line = x[0], 0
    for i, item in enumerate([*kinds, *lines]):
        is_kind = i < len(kinds)
        text = NAMES.get(item, item) if is_kind else "no weight" if item is None else f"weight {item:g}"
        width = 0.56 + text_width(text)
        together = width * (len(lines) if i == len(kinds) else 1)
        if left + together > x[1] and left > x[0]:
            left, line = x[0], line + 1
        middle = y - 0.14 - 0.2 * line
        if is_kind:
            style = {"facecolor": COLOURS[item][0], "edgecolor": INK, "linewidth": 0.7}
            axis.add_patch(
                FancyBboxPatch((left, middle - 0.06), 0.26, 0.12, boxstyle="round,pad=0,rounding_size=0.03", **style)
            )
        else:
            style = {"arrowstyle": "-|>", "mutation_scale": 5 + 1.5 * line_width(item)}
            style["color"] = UNWEIGHTED if item is None else INK
            ends = (left, middle), (left + 0.28, middle)
            axis.add_patch(FancyArrowPatch(*ends, shrinkA=0, shrinkB=0, linewidth=line_width(item), **style))
        write(axis, left + 0.34, middle, text, ha="left")
        left += width
    return 0.2 * (line + 1) + 0.12
