"""The random weights of what is built: small before a BatchNorm, as ever elsewhere."""

import math

import pytest
from torch import nn

from effyolo_ultra.nn import BiFPN, EfficientNetBackbone, TimmBackbone
from effyolo_ultra.nn.initial import STD
from effyolo_ultra.nn.light_head import SeparableConv


def std(conv):
    return conv.weight.detach().std().item()


def test_backbone():
    body = EfficientNetBackbone("b0").body
    block = body.blocks[2][1]
    for conv in (block.conv_pw, block.conv_dw, block.conv_pwl):
        assert std(conv) == pytest.approx(STD, rel=0.1)
    assert std(block.se.conv_reduce) > 0.1  # has a bias and no BatchNorm
    assert std(TimmBackbone("tf_efficientnet_b0").body.blocks[2][1].conv_dw) > 0.2


@pytest.mark.parametrize("conv", ["separable", "full"])
def test_neck(conv):
    node = BiFPN({3: 40, 4: 112}, 64, 1, conv=conv).cells[0].nodes[0]
    assert std(node.laterals[0][0].conv) == pytest.approx(STD, rel=0.1)
    first, last = node.conv[0], node.conv[-1]
    assert std((last if conv == "separable" else first).conv) == pytest.approx(STD, rel=0.1)
    if conv == "separable":
        assert isinstance(first, nn.Conv2d) and std(first) == pytest.approx(1 / math.sqrt(27), rel=0.2)


def test_light_head():
    conv = SeparableConv(64, 64)
    assert std(conv.pointwise.conv) == pytest.approx(STD, rel=0.1)
    assert std(conv.depthwise) == pytest.approx(1 / math.sqrt(27), rel=0.2)
