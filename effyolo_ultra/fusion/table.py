"""The fusion weights of a network as text."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby, zip_longest

from effyolo_ultra.fusion.edges import FusionEdge


def fusion_table(edges: Iterable[FusionEdge]) -> str:
    """Return a table with one line for each fusion, its inputs in the order of the network.

    Args:
        edges: What `fusion_weights` gives.
    """
    text, edges = "", list(edges)
    for part, group in groupby(edges, key=part_name):
        lines = []
        for (node, stride), inputs in groupby(group, key=lambda edge: (edge.node, edge.stride)):
            lines.append([node if stride is None else f"{node} /{stride}", *map(input_text, inputs)])
        widths = [max(map(len, column)) for column in zip_longest(*lines, fillvalue="")]
        rows = ("   ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines)
        text += f"{part}\n" + "".join(f"  {row}\n" for row in rows) + "\n"
    text += "Each input with its normalised weight [parameter].\n"
    if any(edge.cells for edge in edges):
        text += "P4_in, P4_td, P4_out: level 4 as it enters a cell, after its top-down, after its bottom-up pass.\n"
    return text


def input_text(edge: FusionEdge) -> str:
    """Show one input with its weight."""
    return f"{edge.input} {edge.weight:.3f}" + ("" if edge.raw is None else f" [{edge.raw:.3g}]")


def part_name(edge: FusionEdge) -> str:
    """Name the cell of a BiFPN, or the kind of a row."""
    note = ", without weights" if edge.fusion == "sum" else ""
    place = layer_name(edge) if edge.cells else edge.module
    return f"{place}{cell_name(edge)}: {edge.fusion} fusion{note}"


def layer_name(edge: FusionEdge) -> str:
    """Name the layer of an edge."""
    return (edge.name or edge.module) if edge.layer is None else f"layer {edge.layer}"


def cell_name(edge: FusionEdge) -> str:
    """Name the cells that use the weight of an edge; empty for the row of a model YAML."""
    if len(edge.cells) > 1:
        return f", cells {edge.cells[0]} to {edge.cells[-1]} (shared weights)"
    return f", cell {edge.cells[0]}" if edge.cells else ""
