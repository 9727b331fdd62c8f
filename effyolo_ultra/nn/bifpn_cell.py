"""One cell of a BiFPN (https://arxiv.org/abs/1911.09070, section 3 and figure 2d)."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from effyolo_ultra.nn._checks import check_bool, check_choice
from effyolo_ultra.nn.fusion import BiFPN_Add
from effyolo_ultra.nn.initial import small_weights
from effyolo_ultra.nn.same_padding import same_max_pool2d

BN_EPS, BN_MOMENTUM = 1e-3, 0.03  # what Ultralytics sets in every model; the paper has the same eps
CONVS = ("separable", "full")


class BiFPNCell(nn.Module):
    """One top-down and one bottom-up pass over all levels.

    Args:
        in_channels: Channels of each level of the input, finest first.
        channels: Channels of every level of the output.
        node: Options of the nodes, see BiFPNNode.
    """

    def __init__(self, in_channels: Sequence[int], channels: int, **node: Any):
        super().__init__()
        self.plan = bifpn_nodes(len(in_channels))
        feature_channels = [*in_channels, *(channels for _ in self.plan)]
        self.nodes = nn.ModuleList(
            BiFPNNode([feature_channels[i] for i in inputs], channels, **node) for _, inputs in self.plan
        )

    def drop_fusion_weights(self) -> None:
        """Leave the fusion to the weights of another cell."""
        # Not the same module in both: Ultralytics' EMA would average weights that a model names twice twice a step.
        for node in self.nodes:
            del node.fuse

    def forward(self, pyramid: list[torch.Tensor], weights_of: BiFPNCell | None = None) -> list[torch.Tensor]:
        """Fuse the levels of a pyramid, finest first, by the fusion weights of this cell or another one."""
        features, newest = list(pyramid), list(pyramid)
        owners = (weights_of or self).nodes
        for node, owner, (level, inputs) in zip(self.nodes, owners, self.plan):
            newest[level] = node([features[i] for i in inputs], owner.fuse)
            features.append(newest[level])
        return newest


def bifpn_nodes(levels: int) -> list[tuple[int, tuple[int, ...]]]:
    """Return the nodes of a cell in the order of computation, each as (level, indices of its inputs).

    Features are counted from the inputs of the cell, 0 (finest) to levels - 1, on through the nodes.
    """
    newest = list(range(levels))
    nodes: list[tuple[int, tuple[int, ...]]] = []

    def add(level: int, *inputs: int) -> None:
        nodes.append((level, tuple(dict.fromkeys(inputs))))
        newest[level] = levels + len(nodes) - 1

    for level in reversed(range(levels - 1)):
        add(level, level, newest[level + 1])
    for level in range(1, levels):
        add(level, level, newest[level], newest[level - 1])
    return nodes


class BiFPNNode(nn.Module):
    """Weighted fusion, then activation, convolution and BatchNorm.

    Args:
        in_channels: Channels of each input.
        channels: Channels of the output.
        fusion: 'fast', 'softmax' or 'sum', see BiFPN_Add.
        eps: Keeps the denominator of `fast` above zero.
        conv: 'separable' or 'full'.
        act: The activation, of which this node takes a copy.
        act_first: Whether the activation comes before the convolution, or after its BatchNorm.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        channels: int,
        *,
        fusion: str,
        eps: float,
        conv: str,
        act: nn.Module,
        act_first: bool,
    ):
        super().__init__()
        self.laterals = nn.ModuleList(Lateral(c, channels) for c in in_channels)
        self.fuse = BiFPN_Add(len(in_channels), fusion=fusion, eps=eps)
        self.act, self.act_first = copy.deepcopy(act), check_bool("act_first", act_first)
        if check_choice("conv", conv, CONVS) == "full":
            self.conv = nn.Sequential(conv_bn(channels, channels, 3))
        else:
            depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
            self.conv = nn.Sequential(depthwise, conv_bn(channels, channels, 1))

    def forward(self, features: list[torch.Tensor], fuse: BiFPN_Add) -> torch.Tensor:
        """Fuse feature maps (N, C_i, H_i, W_i) into one (N, C, H, W) of the size of the first."""
        size = features[0].shape[-2:]
        fused = fuse([resize(lateral(x), size) for lateral, x in zip(self.laterals, features)])
        return self.conv(self.act(fused)) if self.act_first else self.act(self.conv(fused))


class Lateral(nn.Sequential):
    """A 1x1 convolution with BatchNorm where the channels differ, else nothing."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__(*([conv_bn(in_channels, out_channels, 1)] if in_channels != out_channels else []))


def conv_bn(in_channels: int, out_channels: int, kernel_size: int) -> nn.Module:
    """Return a convolution with BatchNorm, in the form that Ultralytics folds at inference."""
    # Not at the top: importing Ultralytics imports this file, by the import hook.
    from ultralytics.nn.modules.conv import Conv

    conv = Conv(in_channels, out_channels, kernel_size, act=False)
    conv.bn.eps, conv.bn.momentum = BN_EPS, BN_MOMENTUM
    small_weights(conv)
    return conv


def resize(x: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """Resize (N, C, H, W) to `size` (H, W): max-pooling to coarser, nearest neighbours to finer."""
    target, given = tuple(map(int, size)), tuple(map(int, x.shape[-2:]))
    if target == given:
        return x
    if target < given:
        x = same_max_pool2d(x)
        # Only a backbone that rounds down at odd sizes makes the next level smaller than that.
        return x if tuple(x.shape[-2:]) == target else F.interpolate(x, target, mode="nearest")
    if target == tuple(2 * s for s in given):
        return F.interpolate(x, scale_factor=2.0, mode="nearest")
    return F.interpolate(x, target, mode="nearest")
