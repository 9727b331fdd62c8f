"""Checkpoints of efficientdet-pytorch: the backbone under timm's names, the BiFPN under those of ours.

Source: `EfficientDet`, `BiFpn` and `DetBenchTrain` of effdet 0.4.1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from effyolo_ultra.errors import WeightsError
from effyolo_ultra.nn.bifpn import BiFPN
from effyolo_ultra.nn.bifpn_cell import bifpn_nodes
from effyolo_ultra.weights.bifpn import roles_of

FIRST_LEVEL = 3  # of every model that effdet has; a checkpoint does not say it


def without_bench(content: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Return the tensors of a model that was saved inside of its training bench under the names of the model alone."""
    prefix = next((m[1] for name in content if (m := re.match(r"((?:model\.)+)backbone\.", name))), "")
    return part(content, prefix)


def part(content: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors of one part of a model, such as 'backbone.' or 'fpn.', by their names in it."""
    return {name[len(prefix) :]: tensor for name, tensor in content.items() if name.startswith(prefix)}


def to_bifpn(fpn: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the neck of an EfficientDet as tensors of `BiFPN` by role, see weights/bifpn.py.

    A bias before a BatchNorm becomes a shift of its mean.

    Raises:
        WeightsError: If the neck is another one, such as a PAN, or tensors of it are missing.
    """
    try:
        renamed, model = rename(fpn)
    except (LookupError, RuntimeError, ValueError) as error:
        raise WeightsError(f"its neck is no BiFPN of efficientdet-pytorch ({error!r})") from None
    names = roles_of(model)
    strange = [name for name in renamed if name not in names or renamed[name].shape != model.state_dict()[name].shape]
    missing = [name for name in names if name not in renamed and not name.endswith("num_batches_tracked")]
    if strange or missing:
        first = f"{strange[0]} has no place in one" if strange else f"{missing[0]} is missing"
        raise WeightsError(f"its neck is no BiFPN of efficientdet-pytorch, or not all of one: {first}")
    return {names[name]: tensor for name, tensor in renamed.items()}


def rename(fpn: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], BiFPN]:
    """Return the tensors under the names of a BiFPN of the same form, and that BiFPN, without memory."""
    nodes = 1 + max(int(match[1]) for name in fpn if (match := re.match(r"cell\.0\.fnode\.(\d+)\.", name)))
    levels = range(FIRST_LEVEL, FIRST_LEVEL + nodes // 2 + 1)
    plan = bifpn_nodes(len(levels))
    # Levels that the backbone does not have begin with a convolution of their own, `resample.3` for P6.
    extra = [int(match[1]) for name in fpn if (match := re.match(r"resample\.(\d+)\.", name))]
    inputs = min(extra, default=len(levels))

    in_channels = dict.fromkeys(levels[:inputs], len(fpn["cell.0.fnode.0.after_combine.conv.bn.weight"]))
    separable = "cell.0.fnode.0.after_combine.conv.conv_dw.weight" in fpn
    renamed, biases = {}, {}
    for name, tensor in fpn.items():
        if match := re.fullmatch(r"resample\.(\d+)\.conv\.(.+)", name):
            ours = f"extra_levels.{int(match[1]) - inputs}.0.{match[2]}"
        else:
            _, cell, _, node, rest = name.split(".", 4)
            ours = f"cells.{cell}.nodes.{node}."
            if match := re.fullmatch(r"combine\.resample\.(\d+)\.conv\.(.+)", rest):
                source = int(match[1])
                ours += f"laterals.{plan[int(node)][1].index(source)}.0.{match[2]}"
                if (cell, match[2]) == ("0", "conv.weight") and source < inputs:
                    in_channels[levels[source]] = tensor.shape[1]
            else:
                ours += in_node(rest, separable)
        if ours.endswith("conv.bias"):
            biases[f"{ours[: -len('conv.bias')]}bn.running_mean"] = tensor
        else:
            renamed[ours] = tensor
    for mean, bias in biases.items():
        renamed[mean] = renamed[mean] - bias

    cells = 1 + max(int(name.split(".")[1]) for name in fpn if name.startswith("cell."))
    fusion = "fast" if "cell.0.fnode.0.combine.edge_weights" in fpn else "sum"
    channels, conv = len(fpn["cell.0.fnode.0.after_combine.conv.bn.weight"]), "separable" if separable else "full"
    with torch.device("meta"):
        return renamed, BiFPN(in_channels, channels, cells, levels=list(levels), fusion=fusion, conv=conv)


def in_node(name: str, separable: bool) -> str:
    """Return our name of a tensor of a node, but for those of its edges."""
    last = "conv.1" if separable else "conv.0"
    names = {"combine.edge_weights": "fuse.weights.weight", "after_combine.conv.conv_dw.weight": "conv.0.weight"}
    for theirs, ours in (("conv_pw.", f"{last}.conv."), ("conv.", f"{last}.conv."), ("bn.", f"{last}.bn.")):
        prefix = f"after_combine.conv.{theirs}"
        if name.startswith(prefix):
            return ours + name[len(prefix) :]
    return names[name]
