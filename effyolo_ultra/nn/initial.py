"""The random weights that a training from scratch begins with."""

from __future__ import annotations

from torch import nn

STD = 0.02  # of DCGAN (https://arxiv.org/abs/1511.06434, section 4); docs/training.md has what it changes


def small_weights(module: nn.Module) -> None:
    """Give the convolutions without bias, which have a BatchNorm behind them, small random weights.

    BatchNorm takes their scale away, so the output stays what it was. But an optimizer such as AdamW, whose steps have
    a size of their own, turns small weights faster (https://arxiv.org/abs/1706.05350, section 3): those of 1x1 and
    depthwise convolutions, with few inputs, are else several times as large as those of YOLO's 3x3 convolutions.
    """
    for conv in module.modules():
        if isinstance(conv, nn.Conv2d) and conv.bias is None:
            nn.init.normal_(conv.weight, std=STD)
