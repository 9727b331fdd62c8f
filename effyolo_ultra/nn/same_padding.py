"""TensorFlow's SAME padding without padding the feature map.

With kernel k and stride 2, SAME pads (k - 1) / 2 on both sides for an odd size, and one less on the top or left for an
even size. The even case is the same convolution with a zero row or column put before the kernel and symmetric padding,
which costs nothing, while padding the feature map moves all of it through memory.
"""

from __future__ import annotations

import warnings

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn


class SameConv2d(nn.Conv2d):
    """A convolution with odd kernel, stride 2 and SAME padding; its weights are those of `nn.Conv2d`."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Convolve (N, C, H, W) to (N, C', ceil(H / 2), ceil(W / 2))."""
        top, left = (1 - int(size) % 2 for size in x.shape[-2:])
        padding = [k // 2 for k in self.kernel_size]
        weight = self.weight
        if (top or left) and torch.onnx.is_in_onnx_export():
            # Runtimes of ONNX make this one convolution with uneven padding, which is faster than a larger kernel.
            warnings.filterwarnings("ignore", "Constant folding - Only steps=1", UserWarning)  # they fold it, not torch
            x = F.pad(x, (padding[1] - left, padding[1], padding[0] - top, padding[0]))
            padding = [0, 0]
        elif top or left:
            weight = pad_kernel(weight, top, left)
            if torch.jit.is_tracing() and self.bias is not None:
                # Beside a kernel that is a constant, x2paddle takes no bias.
                x = F.conv2d(x, weight, None, self.stride, padding, self.dilation, self.groups)
                return x + self.bias.view(1, -1, 1, 1)
        return F.conv2d(x, weight, self.bias, self.stride, padding, self.dilation, self.groups)


def pad_kernel(weight: torch.Tensor, top: int, left: int) -> torch.Tensor:
    """Put zero rows and columns before a kernel (C', C, k, k)."""
    if not torch.jit.is_tracing():
        return F.pad(weight, (left, 0, top, 0))
    # A trace must hold the result, not the padding: the ONNX exporter takes no convolution with a computed kernel.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        kernel = np.pad(weight.detach().float().cpu().numpy(), ((0, 0), (0, 0), (top, 0), (left, 0)))
        return torch.from_numpy(kernel).to(weight)


def same_max_pool2d(x: torch.Tensor) -> torch.Tensor:
    """Max-pool (N, C, H, W) with kernel 3, stride 2 and SAME padding to (N, C, ceil(H / 2), ceil(W / 2))."""
    padding = [int(size) % 2 for size in x.shape[-2:]]
    return F.max_pool2d(x, kernel_size=3, stride=2, padding=padding, ceil_mode=True)


def use_same_conv2d(module: nn.Module) -> None:
    """Let the SAME convolutions of a timm model run as SameConv2d, in place."""
    from timm.layers import Conv2dSame

    for conv in module.modules():
        odd_kernel = isinstance(conv, Conv2dSame) and all(k % 2 and k > 1 for k in conv.kernel_size)
        if odd_kernel and tuple(conv.stride) == (2, 2) and tuple(conv.dilation) == (1, 1):
            conv.__class__ = SameConv2d
