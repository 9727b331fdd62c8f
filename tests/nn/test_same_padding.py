"""SAME padding in the kernel gives TensorFlow's numbers."""

import pytest
import torch
import torch.nn.functional as F
from timm.layers import Conv2dSame
from timm.layers.pool2d_same import MaxPool2dSame

from effyolo_ultra.nn.same_padding import SameConv2d, same_max_pool2d, use_same_conv2d

SIZES = [(16, 16), (15, 16), (16, 15), (7, 9), (2, 2), (1, 1)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kernel", [3, 5, 7])
@pytest.mark.parametrize("groups", [1, 6])
def test_equals_padding_of_the_feature_map(size, kernel, groups):
    torch.manual_seed(0)
    conv = Conv2dSame(6, 6, kernel, stride=2, groups=groups).double()
    x = torch.randn(2, 6, *size, dtype=torch.float64, requires_grad=True)
    expected = conv(x)
    gradients = torch.autograd.grad(expected.square().sum(), [x, conv.weight, conv.bias])
    use_same_conv2d(conv)
    assert type(conv) is SameConv2d
    torch.testing.assert_close(conv(x), expected, rtol=0, atol=1e-12)
    ours = torch.autograd.grad(conv(x).square().sum(), [x, conv.weight, conv.bias])
    torch.testing.assert_close(ours, gradients, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("kernel", "stride", "dilation"), [(3, 3, 1), (4, 2, 1), (3, 2, 2), (1, 2, 1)])
def test_other_convolutions_stay_as_they_are(kernel, stride, dilation):
    conv = Conv2dSame(2, 2, kernel, stride=stride, dilation=dilation)
    use_same_conv2d(conv)
    assert type(conv) is Conv2dSame


@pytest.mark.parametrize("size", SIZES)
def test_max_pool(size):
    x = torch.randn(2, 3, *size) - 5  # below zero, where padding with zeros would show
    torch.testing.assert_close(same_max_pool2d(x), MaxPool2dSame(3, 2)(x), rtol=0, atol=0)


def test_traced_convolution_pads_no_feature_map():
    conv = Conv2dSame(4, 4, 3, stride=2)
    use_same_conv2d(conv)
    traced = torch.jit.trace(conv, torch.randn(1, 4, 8, 8))
    for size in (8, 32):  # traced at an even size, right at any other even size
        x = torch.randn(1, 4, size, size)
        expected = F.conv2d(F.pad(x, (0, 1, 0, 1)), conv.weight, conv.bias, 2)
        torch.testing.assert_close(traced(x), expected, rtol=0, atol=1e-6)
    graph = str(traced.inlined_graph)
    assert "aten::size" not in graph and "pad_nd" not in graph and "aten::pad" not in graph
