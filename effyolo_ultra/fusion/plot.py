"""A picture of the fusion weights of a network."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from effyolo_ultra._figures import INK, check_target, save_picture
from effyolo_ultra.fusion.edges import FusionEdge, Model, fusion_weights
from effyolo_ultra.fusion.table import cell_name, layer_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = {"in": 0.0, "td": 1.0, "out": 2.0}
PANELS_IN_A_ROW = 4
BEND = 0.36  # of the edge that skips the top-down node, in levels


def plot_fusion_weights(model: Model | Any, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
    """Draw the normalised fusion weights: a graph for each cell of a BiFPN, a bar for each row of a model YAML.

    Args:
        model: What `fusion_weights` takes.
        path: The picture to write; its suffix, .png, .svg or .pdf, says the format.
        overwrite: Whether to replace a file that is there.

    Returns:
        The path.

    Raises:
        ValueError: If the suffix is another one, or the network has no weighted fusion.
        FileExistsError: If the file is there and `overwrite` is not set.
    """
    path = Path(path)
    check_target(path, overwrite)
    edges = fusion_weights(model)
    if not edges:
        raise ValueError("the network has no weighted fusion (BiFPN, BiFPN_Add or BiFPN_Concat): nothing to draw")
    save_picture(draw_network(edges), path, overwrite, dpi=150)
    return path


def draw_network(edges: Sequence[FusionEdge]) -> Figure:
    """Draw all fusions of a network."""
    from matplotlib.figure import Figure

    cells = [list(group) for _, group in groupby((e for e in edges if e.cells), key=lambda e: (e.name, e.cells))]
    rows = [edge for edge in edges if not edge.cells]
    columns = min(len(cells), PANELS_IN_A_ROW)
    lines = -(-len(cells) // PANELS_IN_A_ROW)
    levels = max((len({e.stride for e in cell}) for cell in cells), default=0)
    heights = [levels * 0.95 + 0.1] * lines
    nodes = len({(edge.name, edge.node) for edge in rows})
    heights += [0.45 * nodes + 0.1] if rows else []
    width = max(2.75 * columns + 0.6, 6.5 if rows else 4.2)
    figure = Figure(figsize=(width, sum(heights) + 0.9), layout="constrained")
    grid = figure.add_gridspec(len(heights), max(columns, 1), height_ratios=heights)
    axes = [figure.add_subplot(grid[i // PANELS_IN_A_ROW, i % PANELS_IN_A_ROW]) for i in range(len(cells))]
    for axis, cell in zip(axes, cells):
        draw_cell(axis, cell)
    if rows:
        axes.append(figure.add_subplot(grid[-1, :]))
        draw_rows(axes[-1], rows)
    add_legend(figure, axes, edges)
    return figure


def colour(weight: float) -> Any:
    """Return the colour of a normalised weight."""
    from matplotlib import colormaps

    # Without the palest fifth, which is hard to see on white.
    return colormaps["cividis_r"](0.15 + 0.85 * min(weight, 1.0))


def draw_cell(axis: Axes, edges: Sequence[FusionEdge]) -> None:
    """Draw one cell as a graph: levels from fine (bottom) to coarse, input, top-down and output from left to right."""
    places = {name: place(name) for edge in edges for name in (edge.input, edge.node)}
    for edge in edges:
        passes_a_node = edge.input.replace("_in", "_td") in places and edge.node.endswith("_out")
        draw_edge(axis, places[edge.input], places[edge.node], edge.weight, passes_a_node and "_in" in edge.input)
    for name, (x, y) in places.items():
        level, kind = name.split("_")
        face = "#ffffff" if kind == "in" else "#e8e8e8"
        box = {"boxstyle": "round,pad=0.25", "facecolor": face, "edgecolor": INK, "linewidth": 0.8}
        text = f"${level[0]}_{{{level[1:]}}}^{{{kind}}}$"
        axis.text(x, y, text, ha="center", va="center", fontsize=9, color=INK, bbox=box, zorder=4)
    levels = [y for _, y in places.values()]
    axis.set(xlim=(-0.3, 2.3), ylim=(min(levels) - 0.3, max(levels) + 0.3))
    axis.set_title(layer_name(edges[0]) + cell_name(edges[0]), fontsize=9)
    axis.set_aspect("equal")
    axis.axis("off")


def place(name: str) -> tuple[float, float]:
    """Return where a feature map of a cell stands."""
    level, kind = name.split("_")
    return COLUMNS[kind], float(level[1:])


def draw_edge(axis: Axes, start: tuple[float, float], end: tuple[float, float], weight: float, is_bent: bool) -> None:
    """Draw one edge, as wide and dark as its weight, with the number beside its middle."""
    from matplotlib.patches import FancyArrowPatch

    arrow = FancyArrowPatch(
        start,
        end,
        arrowstyle="-|>",
        connectionstyle=f"arc3,rad={-BEND if is_bent else 0}",
        mutation_scale=9,
        shrinkA=13,
        shrinkB=13,
        color=colour(weight),
        linewidth=0.6 + 3.4 * min(weight, 1.0),
    )
    axis.add_patch(arrow)
    x, y = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2
    if is_bent:  # beside the edge that comes down to the node in the middle; the bend is a parabola of height BEND
        x, y = x + 0.45, y + BEND * (1 - 0.45**2)
    text = {"fontsize": 7.5, "color": INK, "zorder": 3, "ha": "center", "va": "center"}
    axis.text(x, y, f"{weight:.2f}", bbox={"boxstyle": "round,pad=0.12", "facecolor": "white", "linewidth": 0}, **text)


def draw_rows(axis: Axes, edges: Sequence[FusionEdge]) -> None:
    """Draw one line for each row of a model YAML, with a bar for each of its inputs."""
    nodes = [list(group) for _, group in groupby(edges, key=lambda edge: (edge.name, edge.node))]
    for y, inputs in enumerate(nodes):
        for x, edge in enumerate(inputs):
            length = 0.9 * min(edge.weight, 1.0)
            axis.barh(y + 0.15, 0.9, left=x, height=0.3, color="#ececec")
            axis.barh(y + 0.15, length, left=x, height=0.3, color=colour(edge.weight))
            axis.text(x, y - 0.2, edge.input, fontsize=8, color=INK, va="center")
            axis.text(x + 0.9, y - 0.2, f"{edge.weight:.2f}", fontsize=8, color=INK, va="center", ha="right")
    axis.set(ylim=(len(nodes) - 0.5, -0.5), xlim=(0, max(map(len, nodes)) - 0.1), yticks=range(len(nodes)), xticks=[])
    axis.set_yticklabels(map(row_name, nodes), fontsize=8)
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)


def row_name(inputs: Sequence[FusionEdge]) -> str:
    """Name a row of a model YAML, with its stride where that is known."""
    first = inputs[0]
    return f"{first.node}\n{first.module}" + (f" /{first.stride}" if first.stride else "")


def add_legend(figure: Figure, axes: Sequence[Axes], edges: Sequence[FusionEdge]) -> None:
    """Add the title and the scale of the colours."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap

    scale = ScalarMappable(cmap=ListedColormap([colour(i / 255) for i in range(256)]))
    scale.set_clim(0, 1)
    bar = figure.colorbar(scale, ax=list(axes), location="bottom", shrink=0.5, aspect=40, pad=0.02)
    bar.set_label("normalised fusion weight", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    bar.outline.set_visible(False)
    kinds = " and ".join(dict.fromkeys(edge.fusion for edge in edges))
    figure.suptitle(f"Fusion weights ({kinds})", fontsize=11)
