"""Light forms of Ultralytics' task heads, whose 3x3 convolutions are separable as in EfficientDet's heads."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

import torch
import torch.nn.functional as F
from torch import nn

from effyolo_ultra.nn.initial import small_weights

PREFIX = "Light"
WITH_TEXT = ("World", "YOLOE")  # in the names of heads whose class branch compares with the embedding of a text


def light_heads(tasks: ModuleType) -> dict[str, str]:
    """Return the names of the light heads, each with that of the stock head, such as LightDetect: Detect."""
    return {
        f"{PREFIX}{name}": name
        for name, cls in vars(tasks).items()
        if isinstance(cls, type) and issubclass(cls, tasks.Detect) and not name.startswith(WITH_TEXT)
    }


def lighten(head: nn.Module, name: str) -> None:
    """Make a head of Ultralytics light, in place: the branches of boxes, classes, masks, keypoints and angles alike.

    Every 3x3 convolution becomes a SeparableConv with the same channels; so does the depthwise and 1x1 convolution of
    Ultralytics' own light class branch, which has an activation more. The distance of a box side is computed by
    Integral.

    Args:
        head: A head that the stock parser has built.
        name: Its name in the YAML.
    """
    for parent, leaf, convs in list(stock_convs(head)):
        first, last = convs[0].conv, convs[-1].conv
        setattr(parent, leaf, SeparableConv(first.in_channels, last.out_channels, first.kernel_size[0], convs[-1].act))
    if isinstance(getattr(head, "dfl", None), nn.Module) and head.reg_max > 1:
        head.dfl = Integral(head.reg_max)
    head.np, head.type = sum(p.numel() for p in head.parameters()), f"{__name__}.{name}"  # for the model table


def stock_convs(module: nn.Module) -> Iterator[tuple[nn.Module, str, list[nn.Module]]]:
    """Give what is to become one separable convolution each, as (parent, name, convolutions)."""
    from ultralytics.nn.modules.conv import Conv, DWConv

    for name, child in module.named_children():
        parts = list(child) if type(child) is nn.Sequential else [child]
        if [type(part) for part in parts] in ([DWConv, Conv], [Conv]) and parts[0].conv.kernel_size[0] > 1:
            yield module, name, parts
        else:
            yield from stock_convs(child)


class SeparableConv(nn.Module):
    """A depthwise convolution, then a 1x1 convolution with BatchNorm and activation.

    As in the heads of EfficientDet (https://arxiv.org/abs/1911.09070, section 4.1), nothing stands between the two.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Size of the depthwise kernel.
        act: The activation.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 3, act: nn.Module | None = None):
        from ultralytics.nn.modules.conv import Conv

        super().__init__()
        self.depthwise = nn.Conv2d(
            in_channels, in_channels, kernel_size, padding=kernel_size // 2, groups=in_channels, bias=False
        )
        self.pointwise = Conv(in_channels, out_channels, 1, act=nn.SiLU() if act is None else act)
        small_weights(self.pointwise)

    @property
    def conv(self) -> nn.Conv2d:
        """The convolution whose input channels are those of the module; Ultralytics asks a branch for it."""
        return self.depthwise

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Convolve (N, C, H, W) to (N, C', H, W)."""
        return self.pointwise(self.depthwise(x))


class Integral(nn.Module):
    """The mean of a discrete distribution for each side of a box (https://arxiv.org/abs/2006.04388, section 3).

    The numbers are those of Ultralytics' DFL: a softmax over the bins and its product with their indices. Here one
    convolution gives numerator and denominator, and nothing is transposed, which ONNX Runtime is slow at.

    Args:
        bins: Number of bins.
    """

    def __init__(self, bins: int = 16):
        super().__init__()
        weight = torch.stack([torch.arange(bins, dtype=torch.float), torch.ones(bins)])
        self.register_buffer("weight", weight.repeat(4, 1)[:, :, None])  # (4 sides * 2, bins, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Turn logits (N, 4 * bins, A) into distances (N, 4, A), in bins."""
        n, channels, anchors = x.shape
        x = x.view(n, 4, channels // 4, anchors)
        x = (x - x.amax(2, keepdim=True)).exp().view(n, channels, anchors)
        sums = F.conv1d(x, self.weight, groups=4).view(n, 4, 2, anchors)
        return (sums[:, :, :1] / sums[:, :, 1:]).view(n, 4, anchors)  # slices: an index would be a gathering in ONNX
