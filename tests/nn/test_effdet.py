"""BiFPN against its reference implementation, efficientdet-pytorch, with the reference's weights."""

import pytest
import torch
from effdet import EfficientDet, get_efficientdet_config
from effdet_models import FPN_NAMES, randomize

from effyolo_ultra.nn import BiFPN
from effyolo_ultra.weights.bifpn import fit
from effyolo_ultra.weights.efficientdet import to_bifpn


def assert_equals_reference(config, size_hw, **options):
    """Compare all levels, with random weights and statistics, in float32."""
    torch.manual_seed(0)
    config.image_size = size_hw
    reference = EfficientDet(config, pretrained_backbone=False).eval()
    channels = dict(zip((3, 4, 5), reference.backbone.feature_info.channels()))
    levels = list(range(config.min_level, config.max_level + 1))
    ours = BiFPN(channels, config.fpn_channels, config.fpn_cell_repeats, levels=levels, **options).eval()
    randomize(reference.fpn)
    state, missing, unused = fit(ours, to_bifpn(reference.fpn.state_dict()))
    assert not missing and not unused
    ours.load_state_dict({**ours.state_dict(), **state})
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
