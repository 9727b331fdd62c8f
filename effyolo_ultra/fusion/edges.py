"""The fusion weights of a network, one record for each edge: which feature map listens to which, and how much."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Union

import torch
from torch import nn

from effyolo_ultra._open import open_checkpoint
from effyolo_ultra.nn.bifpn import BiFPN
from effyolo_ultra.nn.bifpn_cell import bifpn_nodes
from effyolo_ultra.nn.fusion import BiFPN_Add, BiFPN_Concat, FusionWeights


class FusionEdge(NamedTuple):
    """One input of one fusion.

    Attributes:
        name: Name of the module in the network, 'model.1'; empty for a module outside a network.
        layer: Index of the layer, as in the model table; None for a module that is no layer of a model YAML.
        module: 'BiFPN', 'BiFPN_Add' or 'BiFPN_Concat'.
        cells: Indices of the cells of a BiFPN that use this weight, several with `shared_weights`; empty for rows.
        node: What is fused: in a BiFPN named as in the paper (P4_td, P4_out), else the layer.
        stride: Stride of the fused feature maps, None where it is not known.
        input: What is listened to: P4_in, P5_td, ... in a BiFPN, else a layer of the model YAML.
        fusion: 'fast', 'softmax', or 'sum', which has no weights: each input counts 1.
        weight: The weight after normalisation.
        raw: The parameter itself, None for 'sum'.
    """

    name: str
    layer: int | None
    module: str
    cells: tuple[int, ...]
    node: str
    stride: int | None
    input: str
    fusion: str
    weight: float
    raw: float | None


Model = Union[str, "os.PathLike[str]", nn.Module]


def fusion_weights(model: Model | Any) -> list[FusionEdge]:
    """Return the weight of each input of every weighted fusion, in the order of computation.

    Args:
        model: Path of a checkpoint (.pt), an `ultralytics.YOLO`, or a module such as a network or a `BiFPN`.

    Returns:
        One record for each edge; an empty list for a network without weighted fusion.

    Raises:
        UnknownNameError: If there is no such file.
        WeightsError: If the file holds no network.
        TypeError: If `model` is something else.
    """
    network = load(model)
    layers = getattr(network, "model", None)
    edges: list[FusionEdge] = []
    in_bifpn: set[nn.Module] = set()
    for name, module in network.named_modules():
        if isinstance(module, BiFPN):
            edges += edges_of_bifpn(module, name)
            in_bifpn.update(module.modules())
        elif isinstance(module, (BiFPN_Add, BiFPN_Concat)) and module not in in_bifpn:
            edges += edges_of_row(module, name, layers)
    return edges


def load(model: Model | Any) -> nn.Module:
    """Return the network of a checkpoint or a YOLO."""
    if isinstance(model, (str, os.PathLike)):
        model = open_checkpoint(Path(model))
    if not isinstance(model, nn.Module) or not isinstance(getattr(model, "model", model), nn.Module):
        raise TypeError(f"model must be the path of a .pt file, a YOLO or a torch.nn.Module, not {model!r}")
    inner = getattr(model, "model", None)
    return inner if isinstance(getattr(inner, "model", None), nn.Module) else model


def edges_of_bifpn(module: BiFPN, name: str) -> Iterator[FusionEdge]:
    """Yield the edges of a BiFPN, cell by cell."""
    plan = bifpn_nodes(len(module.levels))
    names = feature_names(module.levels)
    everywhere = tuple(range(len(module.cells)))
    for i, cell in enumerate(module.cells[:1] if module.shared_weights else module.cells):
        cells = everywhere if module.shared_weights else (i,)
        for k, (node, (position, inputs)) in enumerate(zip(cell.nodes, plan)):
            stride = 2 ** module.levels[position]
            place = (name, layer_index(module), "BiFPN", cells, names[len(module.levels) + k], stride)
            yield from edges_of_fusion(node.fuse.weights, place, [names[j] for j in inputs])


def edges_of_row(module: BiFPN_Add | BiFPN_Concat, name: str, layers: nn.Module | None) -> Iterator[FusionEdge]:
    """Yield the edges of a fusion that is a row of a model YAML, or a module of its own."""
    layer = layer_index(module)
    if layer is None or not isinstance(layers, nn.Sequential):
        inputs = [f"input {j}" for j in range(module.weights.inputs)]
    else:
        inputs = [layer_name(j if j >= 0 else layer + j, layers) for j in module.f]
    node = (name or "output") if layer is None else f"layer {layer}"
    place = (name, layer, type(module).__name__, (), node, module.stride)
    yield from edges_of_fusion(module.weights, place, inputs)


def edges_of_fusion(weights: FusionWeights, place: tuple[Any, ...], inputs: Sequence[str]) -> Iterator[FusionEdge]:
    """Yield the edges of one fusion."""
    if weights.fusion == "sum":
        normalized, raw = [1.0] * weights.inputs, [None] * weights.inputs
    else:
        with torch.no_grad():
            normalized, raw = weights.normalized().tolist(), weights.weight.tolist()
    for name, weight, parameter in zip(inputs, normalized, raw):
        yield FusionEdge(*place, name, weights.fusion, weight, parameter)


def feature_names(levels: Sequence[int]) -> list[str]:
    """Return the paper's names for the feature maps of a cell: its inputs, then its nodes."""
    names = [f"P{level}_in" for level in levels]
    for k, (position, _) in enumerate(bifpn_nodes(len(levels))):
        is_last_of_level = k >= len(levels) - 1 or position == 0
        names.append(f"P{levels[position]}_{'out' if is_last_of_level else 'td'}")
    return names


def layer_index(module: nn.Module) -> int | None:
    """Return the index of a layer in its network."""
    index = getattr(module, "i", None)
    return index if isinstance(index, int) else None


def layer_name(index: int, layers: nn.Sequential) -> str:
    """Name a layer by its index and kind: 'layer 2 (P4)', 'layer 5 (Upsample)'."""
    layer = layers[index]
    kind = type(layer).__name__
    if kind == "PyramidLevel":
        source = layer.f if layer.f >= 0 else index + layer.f
        levels = getattr(layers[source], "levels", None)
        kind = f"P{levels[layer.position]}" if levels else kind
    return f"layer {index} ({kind})"
