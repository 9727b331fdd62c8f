"""BiFPN against its reference implementation, efficientdet-pytorch, with the reference's weights."""

import pytest
import torch
from effdet import EfficientDet, get_efficientdet_config

from effyolo_ultra.nn import BiFPN

FPN_NAMES = {"fast": "bifpn_fa", "softmax": "bifpn_attn", "sum": "bifpn_sum"}


def randomize(module):
    """Give weights and statistics values that are not those of a fresh model."""
    for parameter in module.parameters():
        parameter.data = torch.randn_like(parameter) * 0.3 + 0.1
        if parameter.ndim == 4:  # by fan-in, so that eight cells do not overflow
            parameter.data = torch.randn_like(parameter) / parameter[0].numel() ** 0.5
    for norm in module.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            norm.running_mean.normal_(0, 0.2)
            norm.running_var.uniform_(0.5, 2)


def copy_conv_bn(ours, conv, bn):
    """Copy a convolution with BatchNorm; a bias before BatchNorm is a shift of its mean."""
    ours.conv.weight.data.copy_(conv.weight)
    ours.bn.load_state_dict(bn.state_dict())
    if conv.bias is not None:
        ours.bn.running_mean -= conv.bias.data


def copy_weights(ours, theirs):
    for extra, resample in zip(ours.extra_levels, theirs.resample.values()):
        if len(extra):
            copy_conv_bn(extra[0], resample.conv.conv, resample.conv.bn)
    for cell, their_cell in zip(ours.cells, theirs.cell):
        for node, their_node in zip(cell.nodes, their_cell.fnode):
            for lateral, resample in zip(node.laterals, their_node.combine.resample.values()):
                assert bool(len(lateral)) == hasattr(resample, "conv")
                if len(lateral):
                    copy_conv_bn(lateral[0], resample.conv.conv, resample.conv.bn)
            if their_node.combine.edge_weights is not None:
                node.fuse.weights.weight.data.copy_(their_node.combine.edge_weights)
            conv = their_node.after_combine.conv
            if len(node.conv) == 2:
                node.conv[0].weight.data.copy_(conv.conv_dw.weight)
            copy_conv_bn(node.conv[-1], conv.conv_pw if len(node.conv) == 2 else conv.conv, conv.bn)


def assert_equals_reference(config, size_hw, **options):
    """Compare all levels, with random weights and statistics, in float32."""
    torch.manual_seed(0)
    config.image_size = size_hw
    reference = EfficientDet(config, pretrained_backbone=False).eval()
    channels = dict(zip((3, 4, 5), reference.backbone.feature_info.channels()))
    levels = list(range(config.min_level, config.max_level + 1))
    ours = BiFPN(channels, config.fpn_channels, config.fpn_cell_repeats, levels=levels, **options).eval()
    randomize(reference.fpn)
    copy_weights(ours, reference.fpn)
    pyramid = [torch.randn(1, c, size_hw[0] // 2**k, size_hw[1] // 2**k) for k, c in channels.items()]
    with torch.no_grad():
        expected = reference.fpn(list(pyramid))
        outputs = ours(pyramid)
    assert len(outputs) == len(levels)
    for level, a, b in zip(levels, outputs, expected):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5 * b.abs().max().item(), msg=f"P{level}")


@pytest.mark.parametrize("name", ["tf_efficientdet_d0", "tf_efficientdet_d3"])
@pytest.mark.parametrize("fusion", FPN_NAMES)
@pytest.mark.parametrize("size_hw", [(256, 256), (128, 384)])
def test_equals_the_reference(name, fusion, size_hw):
    config = get_efficientdet_config(name)
    config.fpn_name = FPN_NAMES[fusion]
    assert_equals_reference(config, size_hw, fusion=fusion)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "levels"), [("tf_efficientdet_d6", 5), ("tf_efficientdet_d7", 5), ("tf_efficientdet_d7x", 6)]
)
def test_equals_the_reference_where_its_fusion_has_no_weights(name, levels):
    config = get_efficientdet_config(name)
    assert (config.fpn_name, config.fpn_cell_repeats, config.num_levels) == ("bifpn_sum", 8, levels)
    assert_equals_reference(config, (256, 256), fusion="sum")


@pytest.mark.parametrize("conv", ["separable", "full"])
@pytest.mark.parametrize("act_first", [True, False])
def test_equals_the_reference_with_other_convolutions(conv, act_first):
    config = get_efficientdet_config("tf_efficientdet_d0")
    config.separable_conv, config.conv_bn_relu_pattern = conv == "separable", not act_first
    assert_equals_reference(config, (128, 256), conv=conv, act_first=act_first)
