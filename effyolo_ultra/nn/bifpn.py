"""BiFPN, the weighted bidirectional feature pyramid network (https://arxiv.org/abs/1911.09070, section 3)."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import nn

from effyolo_ultra.nn._checks import check_int, check_levels
from effyolo_ultra.nn.fusion import BiFPN_Add
from effyolo_ultra.nn.same_padding import same_max_pool2d
from effyolo_ultra.row import Built, Pyramid, Row

BN_EPS, BN_MOMENTUM = 1e-3, 0.03  # what Ultralytics sets in every model; the paper has the same eps


class BiFPN(nn.Module):
    """Stacked BiFPN cells on a feature pyramid.

        P4_td  = node(P4, up(P5))                  top-down
        P3_out = node(P3, up(P4_td))
        P4_out = node(P4, P4_td, down(P3_out))     bottom-up
        P5_out = node(P5, down(P4_out))

    A node fuses its inputs by learned weights, then applies an activation and a separable convolution with BatchNorm.
    Inputs with other channels go through a 1x1 convolution with BatchNorm, one for each edge. `up` takes the nearest
    neighbour, `down` is a max-pooling. Levels coarser than the input are max-pooled from its last level.

    In a YAML, `[0, 3, BiFPN, [64]]` is three cells of 64 channels on the pyramid of layer 0;
    `[0, 3, BiFPN, [64, {levels: [3, 4, 5, 6, 7]}]]` adds P6 and P7.

    Args:
        in_channels: Channels of each level of the input, {level: channels}.
        channels: Channels of every level of the output.
        repeats: Number of cells.
        levels: Levels of the output: those of the input, and coarser ones if wished.
        fusion: 'fast', 'softmax' or 'sum', see BiFPN_Add.
        eps: Keeps the denominator of `fast` above zero.
        act: The activation, a module or a name that timm knows such as 'relu'; SiLU by default, as in the paper.

    Raises:
        ValueError: If `levels` leaves out a level of the input or has a gap.
    """

    def __init__(
        self,
        in_channels: Mapping[int, int],
        channels: int = 64,
        repeats: int = 3,
        *,
        levels: Sequence[int] | None = None,
        fusion: str = "fast",
        eps: float = 1e-4,
        act: nn.Module | str | None = None,
    ):
        super().__init__()
        inputs = check_levels("the levels of the input", list(in_channels), consecutive=True)
        self.levels = inputs if levels is None else check_levels("levels", levels, consecutive=True)
        if self.levels[: len(inputs)] != inputs:
            raise ValueError(
                f"levels must be those of the input, {list(inputs)}, and coarser ones, not {list(self.levels)};"
                " take levels away at the backbone"
            )
        if len(self.levels) < 2:
            raise ValueError("BiFPN needs at least two levels")
        check_int("channels", channels)
        check_int("repeats", repeats, 1)
        act = activation(act)
        extra = self.levels[len(inputs) :]
        self.extra_levels = nn.ModuleList(
            Lateral(in_channels[inputs[-1]] if i == 0 else channels, channels) for i in range(len(extra))
        )
        first = [*in_channels.values(), *(channels for _ in extra)]
        self.cells = nn.ModuleList(
            BiFPNCell(first if i == 0 else [channels] * len(first), channels, fusion, eps, act) for i in range(repeats)
        )

    def forward(self, pyramid: list[torch.Tensor]) -> list[torch.Tensor]:
        """Turn a pyramid (N, C_k, H / 2^k, W / 2^k), finest first, into one with the same channels at every level."""
        pyramid = list(pyramid)
        if len(pyramid) != len(self.levels) - len(self.extra_levels):
            raise ValueError(f"this BiFPN takes {len(self.levels) - len(self.extra_levels)} levels, not {len(pyramid)}")
        for lateral in self.extra_levels:
            pyramid.append(same_max_pool2d(lateral(pyramid[-1])))
        for cell in self.cells:
            pyramid = cell(pyramid)
        return pyramid

    @classmethod
    def from_row(cls, row: Row) -> Built:
        """Build from `[pyramid, repeats, BiFPN, [channels, {options}]]`, or from a list of layers."""
        arguments = row.arguments(cls, "channels")
        if "channels" not in arguments:
            row.error(f"{row.module} takes the args [channels, {{options}}], but the channels are missing.")
        channels = row.scaling.channels(check_int("channels", arguments.pop("channels")))
        if not row.is_list and isinstance(row.inputs[0], Pyramid):
            in_channels = row.inputs[0]
        else:
            in_channels = levels_of_layers(row)
        arguments.setdefault("act", row.activation)
        module = cls(in_channels, channels, row.scaling.repeats(row.repeats), **arguments)
        output = Pyramid((level, channels) for level in module.levels)
        return Built(module, output, [channels, *row.all_args[1:]])


def levels_of_layers(row: Row) -> Pyramid:
    """Return {level: channels} of the layers in `from`, by their strides."""
    pyramid = Pyramid()
    for source, feature in zip(row.sources, row.tensors(at_least=2)):
        stride = feature.stride
        if stride is None or stride != 2 ** (level := int(stride).bit_length() - 1):
            row.error(f"the stride of layer {source} is {stride or 'not known'}, so it is no level of a pyramid.")
        if level in pyramid:
            row.error(f"two of the layers in 'from' have stride {stride}; {row.module} takes one layer a level.")
        pyramid[level] = feature.channels
    if list(pyramid) != sorted(pyramid):
        row.error(f"the layers in 'from' must go from fine to coarse, not with strides {[2**k for k in pyramid]}.")
    return pyramid


def activation(act: nn.Module | str | None) -> nn.Module:
    """Return an activation by its name; SiLU for None."""
    from timm.layers import create_act_layer

    if isinstance(act, nn.Module):
        return act
    if act is not None and not isinstance(act, str):
        raise TypeError(f"act must be a torch.nn.Module or the name of an activation, not {act!r}")
    try:
        return create_act_layer(act or "silu")
    except KeyError:
        raise ValueError(
            f"timm has no activation {act!r}; it has relu, relu6, leaky_relu, silu, mish, gelu, ..."
        ) from None


class BiFPNCell(nn.Module):
    """One top-down and one bottom-up pass over all levels (figure 2d)."""

    def __init__(self, in_channels: Sequence[int], channels: int, fusion: str, eps: float, act: nn.Module):
        super().__init__()
        self.plan = bifpn_nodes(len(in_channels))
        feature_channels = [*in_channels, *(channels for _ in self.plan)]
        self.nodes = nn.ModuleList(
            BiFPNNode([feature_channels[i] for i in inputs], channels, fusion, eps, act) for _, inputs in self.plan
        )

    def forward(self, pyramid: list[torch.Tensor]) -> list[torch.Tensor]:
        """Fuse the levels of a pyramid, finest first."""
        features, newest = list(pyramid), list(pyramid)
        for node, (level, inputs) in zip(self.nodes, self.plan):
            newest[level] = node([features[i] for i in inputs])
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
    """Weighted fusion, activation, separable convolution and BatchNorm."""

    def __init__(self, in_channels: Sequence[int], channels: int, fusion: str, eps: float, act: nn.Module):
        super().__init__()
        self.laterals = nn.ModuleList(Lateral(c, channels) for c in in_channels)
        self.fuse = BiFPN_Add(len(in_channels), fusion=fusion, eps=eps)
        self.act = copy.deepcopy(act)
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.pointwise = conv_bn(channels, channels)

    def forward(self, features: list[torch.Tensor]) -> torch.Tensor:
        """Fuse feature maps at the size of the first."""
        size = features[0].shape[-2:]
        features = [resize(lateral(x), size) for lateral, x in zip(self.laterals, features)]
        return self.pointwise(self.depthwise(self.act(self.fuse(features))))


class Lateral(nn.Sequential):
    """A 1x1 convolution with BatchNorm where the channels differ, else nothing."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__(*([conv_bn(in_channels, out_channels)] if in_channels != out_channels else []))


def conv_bn(in_channels: int, out_channels: int) -> nn.Module:
    """Return a 1x1 convolution with BatchNorm, in the form that Ultralytics folds at inference."""
    # Not at the top: importing Ultralytics imports this file, by the import hook.
    from ultralytics.nn.modules.conv import Conv

    conv = Conv(in_channels, out_channels, 1, act=False)
    conv.bn.eps, conv.bn.momentum = BN_EPS, BN_MOMENTUM
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
