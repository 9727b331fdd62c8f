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
            node.depthwise.weight.data.copy_(conv.conv_dw.weight)
            copy_conv_bn(node.pointwise, conv.conv_pw, conv.bn)


@pytest.mark.parametrize("name", ["tf_efficientdet_d0", "tf_efficientdet_d3"])
@pytest.mark.parametrize("fusion", FPN_NAMES)
@pytest.mark.parametrize("size_hw", [(256, 256), (128, 384)])
def test_equals_the_reference(name, fusion, size_hw):
    torch.manual_seed(0)
    config = get_efficientdet_config(name)
    config.image_size, config.fpn_name = size_hw, FPN_NAMES[fusion]
    reference = EfficientDet(config, pretrained_backbone=False).eval()
    channels = dict(zip((3, 4, 5), reference.backbone.feature_info.channels()))
    ours = BiFPN(channels, config.fpn_channels, config.fpn_cell_repeats, levels=[3, 4, 5, 6, 7], fusion=fusion).eval()
    randomize(reference.fpn)
    copy_weights(ours, reference.fpn)
    pyramid = [torch.randn(1, c, size_hw[0] // 2**k, size_hw[1] // 2**k) for k, c in channels.items()]
    with torch.no_grad():
        expected = reference.fpn(list(pyramid))
        outputs = ours(pyramid)
    assert len(outputs) == 5
    for level, (a, b) in enumerate(zip(outputs, expected), 3):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5 * b.abs().max().item(), msg=f"P{level}")
