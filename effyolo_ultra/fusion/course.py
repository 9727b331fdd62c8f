"""The course of the fusion weights in a training: `fusion_weights.csv` and `fusion_weights.png` beside `results.csv`.

The weights are those of the moving average (EMA), which is what Ultralytics validates and saves.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from effyolo_ultra._figures import save_picture
from effyolo_ultra._open import student
from effyolo_ultra._output import WholeFile
from effyolo_ultra.fusion.edges import FusionEdge, fusion_weights
from effyolo_ultra.fusion.table import cell_name, layer_name
from effyolo_ultra.nn.fusion import FusionWeights

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's, told apart by colour-blind readers; the dashes tell them apart without colour.
LINES = [("#0072B2", "-"), ("#D55E00", "--"), ("#009E73", "-."), ("#CC79A7", ":"), ("#000000", (0, (5, 1, 1, 1)))]

PANELS_IN_A_LINE = 8  # the nodes of a cell on P3 to P7


def watch(trainer: Any) -> None:
    """Let a trainer write the course of the fusion weights, if its network has any.

    Args:
        trainer: An Ultralytics trainer whose network is there.
    """
    from ultralytics.utils import RANK

    if RANK not in (-1, 0) or write_row in trainer.callbacks["on_train_epoch_end"]:
        return
    modules = student(trainer.model).modules()
    if any(isinstance(module, FusionWeights) and module.fusion != "sum" for module in modules):
        # Not on_fit_epoch_end, which runs once more after the last epoch, for the evaluation of best.pt.
        trainer.add_callback("on_train_epoch_end", write_row)
        # First, so that loggers such as MLflow and W&B, which send the pictures on_train_end, find this one.
        trainer.callbacks["on_train_end"].insert(0, draw)


def write_row(trainer: Any) -> None:
    """Write the weights at the end of an epoch, in the place of what this epoch and later ones have left."""
    warn_if_it_fails(write_csv, trainer)


def draw(trainer: Any) -> None:
    """Draw the curves at the end of a training."""
    if trainer.args.plots:
        warn_if_it_fails(draw_csv, trainer)


def warn_if_it_fails(function: Callable[[Any], None], trainer: Any) -> None:
    """Run a function; what it raises is worth a warning, but no training."""
    from ultralytics.utils import LOGGER

    try:
        function(trainer)
    except Exception as error:
        LOGGER.warning(f"effyolo_ultra: no course of the fusion weights: {type(error).__name__}: {error}")


def write_csv(trainer: Any) -> None:
    """Write `fusion_weights.csv` with one line for each epoch, one column for each edge."""
    path = Path(trainer.save_dir) / "fusion_weights.csv"
    edges = edges_of(trainer)
    header = ["epoch", *map(column_name, edges)]
    epoch = trainer.epoch + 1  # as in results.csv
    _, *before = read(path) or [header]
    rows = [row for row in before if len(row) == len(header) and int(row[0]) < epoch]
    rows.append([str(epoch), *(f"{edge.weight:.6g}" for edge in edges)])
    text = io.StringIO(newline="")
    csv.writer(text).writerows([header, *rows])
    WholeFile(path).write_bytes(text.getvalue().encode())


def draw_csv(trainer: Any) -> None:
    """Draw `fusion_weights.png` from the file of this training, and name it among the plots of the trainer."""
    path = Path(trainer.save_dir) / "fusion_weights.csv"
    _, *rows = read(path)
    course = [[float(value) for value in row] for row in rows]
    picture = path.with_suffix(".png")
    save_picture(draw_course(edges_of(trainer), course), picture, overwrite=True, dpi=120)
    trainer.on_plot(picture)


def edges_of(trainer: Any) -> list[FusionEdge]:
    """Return the edges that have a weight, in the moving average of a trainer's network."""
    network = student(trainer.ema.ema if trainer.ema else trainer.model)
    return [edge for edge in fusion_weights(network) if edge.fusion != "sum"]


def column_name(edge: FusionEdge) -> str:
    """Name an edge: 'layer1/cell0/P4_td<-P5_in', 'layer6<-layer5'."""
    source = edge.input.split(" (")[0].replace(" ", "")
    cells = f"/cell{'-'.join(map(str, sorted({edge.cells[0], edge.cells[-1]})))}/{edge.node}" if edge.cells else ""
    return f"{layer_name(edge).replace(' ', '')}{cells}<-{source}"


def read(path: Path) -> list[list[str]]:
    """Return the lines of a CSV file, none if there is no such file."""
    if not path.is_file():
        return []
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def draw_course(edges: Sequence[FusionEdge], course: Sequence[Sequence[float]]) -> Figure:
    """Draw a panel for each fusion, a line of panels for each cell.

    Args:
        edges: The edges.
        course: A line for each epoch: the epoch, then the weight of each edge.
    """
    from matplotlib.figure import Figure

    numbered = list(enumerate(edges, start=1))
    nodes = [list(group) for _, group in groupby(numbered, key=lambda e: (e[1].name, e[1].cells, e[1].node))]
    cells = [list(group) for _, group in groupby(nodes, key=lambda node: node[0][1].cells and node[0][1][:4])]
    lines = [cell[i : i + PANELS_IN_A_LINE] for cell in cells for i in range(0, len(cell), PANELS_IN_A_LINE)]
    columns = max(map(len, lines))
    figure = Figure(figsize=(max(2.1 * columns, 4.2), 1.75 * len(lines) + 0.6), layout="constrained")
    axes = figure.subplots(len(lines), columns, sharex=True, sharey=True, squeeze=False)
    epochs = [row[0] for row in course]
    for panels, line in zip(axes, lines):
        for axis in panels[len(line) :]:
            axis.axis("off")
        for axis, node in zip(panels, line):
            draw_node(axis, [(edge, [row[k] for row in course]) for k, edge in node], epochs)
    figure.suptitle("Normalised fusion weights over the epochs (EMA)", fontsize=10)
    figure.supxlabel("epoch", fontsize=8)
    return figure


def draw_node(axis: Axes, curves: Sequence[tuple[FusionEdge, Sequence[float]]], epochs: Sequence[float]) -> None:
    """Draw the weights of the inputs of one fusion."""
    from matplotlib.ticker import MaxNLocator

    are_few = len(epochs) < 3
    for i, (_, weights) in enumerate(curves):
        color, dashes = LINES[i % len(LINES)]
        # Smaller and smaller, so that equal weights are all seen.
        style = {"marker": "o", "markersize": max(8 - 2.5 * i, 1)} if are_few else {}
        axis.plot(epochs, weights, color=color, linestyle=dashes, linewidth=1.4, **style)
    edge = curves[0][0]
    where = f"{layer_name(edge)}{cell_name(edge)}, ".replace(" (shared weights)", "") if edge.cells else ""
    axis.set_title(f"{where}{edge.node}", fontsize=7.5)
    labels = [edge.input.replace(" (", "\n(") if not edge.cells else edge.input for edge, _ in curves]
    axis.legend(labels, fontsize=6, ncols=3, frameon=False, handlelength=1.5, columnspacing=0.8, loc="upper center")
    axis.set(ylim=(0, 1.3), yticks=[0, 0.5, 1])
    axis.xaxis.set_major_locator(MaxNLocator(4, integer=True, min_n_ticks=1))
    if are_few:
        axis.set_xlim(epochs[0] - 0.5, epochs[-1] + 0.5)
    axis.tick_params(labelsize=6.5)
    axis.grid(alpha=0.3, linewidth=0.5)
