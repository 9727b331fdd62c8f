"""A network as boxes and arrows. A row is a box; a backbone of timm is one a level, a BiFPN one for each of its nodes.

Rows that only choose one of the feature maps of another row (`PyramidLevel`, `Index`) are no boxes of their own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import nn

from effyolo_ultra.fusion.edges import feature_names, fusion_weights
from effyolo_ultra.network import Layer, Network
from effyolo_ultra.nn.backbone import TimmBackbone
from effyolo_ultra.nn.bifpn import BiFPN
from effyolo_ultra.nn.bifpn_cell import bifpn_nodes
from effyolo_ultra.nn.pyramid import PyramidLevel

KINDS = ("image", "backbone", "fusion", "block", "resample", "head")


@dataclass(eq=False)
class Box:
    """One box of the picture.

    Attributes:
        kind: One of KINDS.
        text: What stands in it, line by line.
        levels: The coarsest and the finest level that it covers, the same for most; level k has stride 2^k.
        between: Whether it stands between two levels, as what leads from one to the other.
        cell: The BiFPN row and cell that it is a node of.
        offset: The column in this cell.
    """

    kind: str
    text: list[str]
    levels: tuple[float, float]
    between: bool = False
    cell: tuple[int, int] | None = None
    offset: int = 0

    @property
    def level(self) -> float:
        """The level on whose height it stands, the middle one for a tall box."""
        return sum(self.levels) / 2


class Port(NamedTuple):
    """A feature map: the box that gives it, and its level."""

    box: Box
    level: float


class Arrow(NamedTuple):
    """A feature map on its way into a box, with its weight in a weighted fusion."""

    source: Port
    target: Box
    weight: float | None


@dataclass
class Graph:
    """The boxes in the order of computation, and the arrows between them."""

    boxes: list[Box] = field(default_factory=list)
    arrows: list[Arrow] = field(default_factory=list)

    def add(self, box: Box, sources: Iterable[Port] = (), weights: Sequence[float | None] | None = None) -> Port:
        """Add a box with its arrows, and return what it gives."""
        sources = list(sources)
        self.boxes.append(box)
        self.arrows += [Arrow(*each) for each in zip(sources, [box] * len(sources), weights or [None] * len(sources))]
        return Port(box, box.level)

    @property
    def is_weighted(self) -> bool:
        """Whether an arrow has a weight."""
        return any(arrow.weight is not None for arrow in self.arrows)

    def into(self, box: Box) -> list[Arrow]:
        """Return the arrows into a box."""
        return [arrow for arrow in self.arrows if arrow.target is box]

    def out_of(self, box: Box) -> list[Arrow]:
        """Return the arrows out of a box."""
        return [arrow for arrow in self.arrows if arrow.source.box is box]


def graph_of(network: Network, model: nn.Module, is_weighted: bool) -> Graph:
    """Return the graph of a network.

    Args:
        network: Its description.
        model: The network itself.
        is_weighted: Whether the arrows have the fusion weights of the network.
    """
    graph = Graph()
    given = {-1: [graph.add(Box("image", ["image"], (0, 0)))]}
    weights = weights_of(model) if is_weighted else {}
    for layer in network.layers:
        module = model.model[layer.index]
        sources = [port for source in layer.sources for port in given[source]]
        if isinstance(module, PyramidLevel):
            given[layer.index] = [sources[module.position]]
        elif type(module).__name__ == "Index":
            given[layer.index] = [sources[module.index]]
        elif isinstance(module, TimmBackbone):
            given[layer.index] = add_timm(graph, module, layer, sources, "pruned" in model.yaml)
        elif isinstance(module, BiFPN):
            given[layer.index] = add_bifpn(graph, module, layer, sources, weights)
        else:
            given[layer.index] = add_row(graph, layer, sources, weights.get((layer.index, None)))
    merge_stages(graph)
    return graph


def weights_of(model: nn.Module) -> dict[tuple[int | None, int | None], list[float | None]]:
    """Return the fusion weights of each row, and of each cell of a BiFPN, in the order of computation."""
    weights: dict[tuple[int | None, int | None], list[float | None]] = {}
    for edge in fusion_weights(model):
        for cell in edge.cells or (None,):
            weights.setdefault((edge.layer, cell), []).append(None if edge.fusion == "sum" else edge.weight)
    return weights


def add_row(graph: Graph, layer: Layer, sources: list[Port], weights: Sequence[float | None] | None) -> list[Port]:
    """Add a row as one box, and return what it gives."""
    name = layer.module.rpartition(".")[2]
    into = [port.level for port in sources]
    levels = [level_of(stride) for stride in layer.strides] or into
    box = Box(kind_of(layer, into, levels), [name], (max(levels), min(levels)))
    if layer.part != "head":
        box.text += [f"{channels} ch" for channels in dict.fromkeys(shape.channels for shape in layer.outputs)][:1]
        box.between = box.kind == "resample" and abs(levels[0] - into[0]) == 1
    if box.between:
        box.levels = (sum((levels[0], into[0])) / 2,) * 2
    graph.add(box, sources, weights)
    return [Port(box, level) for level in levels]


def kind_of(layer: Layer, into: Sequence[float], levels: Sequence[float]) -> str:
    """Return the kind of a row."""
    if layer.part == "head":
        return "head"
    if len(into) > 1:
        return "fusion"
    if layer.part == "backbone":
        return "backbone"
    return "resample" if list(into) != list(levels) else "block"


def add_timm(graph: Graph, module: TimmBackbone, layer: Layer, sources: list[Port], is_pruned: bool) -> list[Port]:
    """Add a backbone of timm, a box for each level up to its coarsest, and return those that it gives."""
    channels: dict[int, int] = {}
    for stage in module.body.feature_info.info:
        channels[int(level_of(stage["reduction"]))] = stage["num_chs"]
    given = {level: shape.channels for level, shape in zip(module.levels, layer.outputs)}
    ports: dict[int, Port] = {}
    for level in sorted(level for level in {*channels, *given} if level <= max(given)):
        count = given.get(level, None if is_pruned else channels.get(level))
        text = ["stage"] if count is None else [f"{count} ch"]
        ports[level] = graph.add(Box("backbone", text, (level, level)), sources)
        sources = [ports[level]]
    return [ports[level] for level in module.levels]


def add_bifpn(
    graph: Graph,
    module: BiFPN,
    layer: Layer,
    sources: list[Port],
    weights: dict[tuple[int | None, int | None], list[float | None]],
) -> list[Port]:
    """Add the nodes of a BiFPN cell by cell, and return what the last one gives."""
    newest = list(sources)
    for level in module.levels[len(newest) :]:
        newest.append(graph.add(Box("resample", ["max-pool"], (level, level)), [newest[-1]]))
    names = feature_names(module.levels)[len(module.levels) :]
    has_middle = any(name.endswith("td") for name in names)
    for cell in range(len(module.cells)):
        features = list(newest)
        in_order = iter(weights.get((layer.index, cell), ()))
        for name, (position, inputs) in zip(names, bifpn_nodes(len(module.levels))):
            level, kind = module.levels[position], name.partition("_")[2]
            box = Box("fusion", [f"$P_{{{level}}}^{{\\mathrm{{{kind}}}}}$"], (level, level), cell=(layer.index, cell))
            box.offset = int(kind == "out" and has_middle)
            newest[position] = graph.add(box, [features[i] for i in inputs], [next(in_order, None) for _ in inputs])
            features.append(newest[position])
    return newest


def merge_stages(graph: Graph) -> None:
    """Put the rows of a backbone that follow each other on the same level into one box."""
    for box in list(graph.boxes):
        into = graph.into(box)
        if box.kind != "backbone" or len(into) != 1:
            continue
        before = into[0].source.box
        if before.kind != "backbone" or before.levels != box.levels or len(graph.out_of(before)) != 1:
            continue
        box.text[:0] = before.text[:-1]  # without the channels, which are those of the last row
        graph.boxes.remove(before)
        graph.arrows = [
            Arrow(arrow.source, box, arrow.weight) if arrow.target is before else arrow
            for arrow in graph.arrows
            if arrow.source.box is not before
        ]


def level_of(stride: float) -> float:
    """Return the pyramid level of a stride."""
    return round(math.log2(stride), 2)
