"""BiFPN, the weighted bidirectional feature pyramid network (https://arxiv.org/abs/1911.09070, section 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from effyolo_ultra.nn._checks import check_bool, check_int, check_levels
from effyolo_ultra.nn.bifpn_cell import BiFPNCell, Lateral
from effyolo_ultra.nn.pretrained import Pretrained, is_path
from effyolo_ultra.nn.same_padding import same_max_pool2d
from effyolo_ultra.row import Built, Pyramid, Row

MOST_REPEATS = 8  # of EfficientDet-D7x, the largest one (table 1)


class BiFPN(Pretrained):
    """Stacked BiFPN cells on a feature pyramid.

        P4_td  = node(P4, up(P5))                  top-down
        P3_out = node(P3, up(P4_td))
        P4_out = node(P4, P4_td, down(P3_out))     bottom-up
        P5_out = node(P5, down(P4_out))

    A node fuses its inputs by learned weights, then applies an activation and a separable convolution with BatchNorm.
    Inputs with other channels go through a 1x1 convolution with BatchNorm, one for each edge. `up` takes the nearest
    neighbour, `down` is a max-pooling. Levels coarser than the input are max-pooled from its last level. The defaults
    are those of the reference implementation.

    In a YAML, `[0, 3, BiFPN, [64]]` is three cells of 64 channels on the pyramid of layer 0;
    `[0, 3, BiFPN, [64, {levels: [3, 4, 5, 6, 7]}]]` adds P6 and P7.

    Args:
        in_channels: Channels of each level of the input, {level: channels}.
        channels: Channels of every level of the output.
        repeats: Number of cells, 1 to 8.
        levels: Levels of the output: those of the input, and coarser ones if wished.
        fusion: 'fast', 'softmax' or 'sum', see BiFPN_Add.
        eps: Keeps the denominator of `fast` above zero.
        shared_weights: Whether all cells have the fusion weights of the first one, instead of each its own.
        conv: The convolution of a node, 'separable' (3x3 depthwise, then 1x1, as in the paper), or 'full' (3x3).
        act: The activation, a module or a name that timm knows such as 'relu'; SiLU by default, as in the paper.
        act_first: Whether the activation comes before convolution and BatchNorm, as in the reference implementation,
            or after them, as in YOLO.
        pretrained: The weights to start from: the path of a file with a BiFPN, an EfficientDet or a network with one,
            or none (False). Building loads nothing, see Pretrained.

    Raises:
        TypeError: If an argument is of the wrong type.
        ValueError: If `levels` leaves out a level of the input or has a gap, or an option has no such value.
    """

    title = "BiFPN"

    def __init__(
        self,
        in_channels: Mapping[int, int],
        channels: int = 64,
        repeats: int = 3,
        *,
        levels: Sequence[int] | None = None,
        fusion: str = "fast",
        eps: float = 1e-4,
        shared_weights: bool = False,
        conv: str = "separable",
        act: nn.Module | str | None = None,
        act_first: bool = True,
        pretrained: bool | str = False,
    ):
        super().__init__()
        self.pretrained = check_path(pretrained)
        inputs = check_levels("the levels of the input", list(in_channels), consecutive=True)
        self.levels = inputs if levels is None else check_levels("levels", levels, consecutive=True)
        if self.levels[: len(inputs)] != inputs:
            raise ValueError(
                f"levels must be those of the input, {list(inputs)}, and coarser ones, not {list(self.levels)};"
                " take levels away at the backbone"
            )
        if len(self.levels) < 2:
            raise ValueError("BiFPN needs at least two levels")
        self.channels = check_int("channels", channels)
        check_int("repeats", repeats, 1, MOST_REPEATS)
        self.conv = conv
        self.shared_weights = check_bool("shared_weights", shared_weights)
        node = {"fusion": fusion, "eps": eps, "conv": conv, "act": activation(act), "act_first": act_first}
        extra = self.levels[len(inputs) :]
        self.extra_levels = nn.ModuleList(
            Lateral(in_channels[inputs[-1]] if i == 0 else channels, channels) for i in range(len(extra))
        )
        first = [*in_channels.values(), *(channels for _ in extra)]
        self.cells = nn.ModuleList(
            BiFPNCell(first if i == 0 else [channels] * len(first), channels, **node) for i in range(repeats)
        )
        if shared_weights:
            for cell in self.cells[1:]:
                cell.drop_fusion_weights()

    @property
    def wanted_weights(self) -> str:
        """Its sizes."""
        return f"a BiFPN of {self.channels} channels x {len(self.cells)} cells ({self.conv} convolutions)"

    def set_out_channels(self, channels: Sequence[int]) -> None:
        """Note the channels of the levels, the same at each, after pruning."""
        (self.channels,) = channels

    def forward(self, pyramid: list[torch.Tensor]) -> list[torch.Tensor]:
        """Turn a pyramid (N, C_k, H / 2^k, W / 2^k), finest first, into one with the same channels at every level."""
        pyramid = list(pyramid)
        if len(pyramid) != len(self.levels) - len(self.extra_levels):
            raise ValueError(f"this BiFPN takes {len(self.levels) - len(self.extra_levels)} levels, not {len(pyramid)}")
        for lateral in self.extra_levels:
            pyramid.append(same_max_pool2d(lateral(pyramid[-1])))
        for cell in self.cells:
            pyramid = cell(pyramid, self.cells[0] if self.shared_weights else cell)
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
        if arguments.get("act") is None:
            arguments["act"] = row.activation
        repeats, depth = row.scaling.repeats(row.repeats), row.scaling.depth
        check_int(f"repeats ({row.repeats} x depth {depth:g})", repeats, 1, MOST_REPEATS)
        module = cls(in_channels, channels, repeats, **arguments)
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


def check_path(pretrained: bool | str) -> bool | str:
    """Return `pretrained` if it is false or can be the path of a file."""
    if pretrained is False or is_path(pretrained):
        return pretrained
    raise ValueError(
        "pretrained of a BiFPN must be false or the path of a file with one, such as tf_efficientdet_d0.pth, not"
        f" {pretrained!r}; where that stands at the top of the file for the backbone, write it in the backbone's row"
    )


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
