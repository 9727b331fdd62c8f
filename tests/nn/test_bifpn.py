"""The stacked BiFPN: its topology, its levels, its sizes."""

import pytest
import torch
from torch import nn

from effyolo_ultra.nn import BiFPN
from effyolo_ultra.nn.bifpn import bifpn_nodes

CHANNELS = {3: 40, 4: 112, 5: 320}


def pyramid(size_hw, channels=CHANNELS, dtype=torch.float32):
    height, width = size_hw
    sizes = {k: (-(-height // 2**k), -(-width // 2**k)) for k in channels}
    return [torch.randn(2, c, *sizes[k], dtype=dtype) for k, c in channels.items()]


def test_nodes_of_five_levels_are_those_of_the_paper():
    # figure 2(d): P6td, P5td, P4td, P3out, then P4out to P7out; inputs 0..4 are P3..P7
    assert bifpn_nodes(5) == [
        (3, (3, 4)),
        (2, (2, 5)),
        (1, (1, 6)),
        (0, (0, 7)),
        (1, (1, 7, 8)),
        (2, (2, 6, 9)),
        (3, (3, 5, 10)),
        (4, (4, 11)),
    ]


def test_nodes_of_two_levels():
    assert bifpn_nodes(2) == [(0, (0, 1)), (1, (1, 2))]


@pytest.mark.parametrize("levels", [None, (3, 4, 5), (3, 4, 5, 6), (3, 4, 5, 6, 7)])
@pytest.mark.parametrize("repeats", [1, 3])
@pytest.mark.parametrize("size_hw", [(256, 256), (128, 384), (200, 333)])
def test_shapes(levels, repeats, size_hw):
    net = BiFPN(CHANNELS, 16, repeats, levels=levels)
    inputs = pyramid(size_hw)
    outputs = net(inputs)
    assert [x.shape[:2] for x in outputs] == [(2, 16)] * len(levels or CHANNELS)
    assert [x.shape[-2:] for x in outputs[:3]] == [x.shape[-2:] for x in inputs]
    for finer, coarser in zip(outputs, outputs[1:]):
        assert coarser.shape[-2:] == tuple(-(-s // 2) for s in finer.shape[-2:])


def test_levels_of_a_backbone_that_rounds_down():
    inputs = [torch.randn(1, 8, 25, 25), torch.randn(1, 8, 12, 12), torch.randn(1, 8, 6, 6)]
    outputs = BiFPN({3: 8, 4: 8, 5: 8}, 8, 2)(inputs)
    assert [x.shape for x in outputs] == [x.shape for x in inputs]


def test_cell_equals_the_equations_of_the_paper():
    """EfficientDet, section 3.3, the two fused features at P6, written out for every level of a three-level cell."""
    torch.manual_seed(0)
    net = BiFPN({3: 8, 4: 8, 5: 8}, 8, 1).eval().double()
    for p in net.parameters():
        p.data = torch.rand_like(p)
    cell = net.cells[0]
    eps = 1e-4

    def conv(node, x):
        return node.pointwise(node.depthwise(nn.functional.silu(x)))

    def up(x):
        return x.repeat_interleave(2, 2).repeat_interleave(2, 3)

    def down(x):
        padded = nn.functional.pad(x, (0, 1, 0, 1), value=-torch.inf)
        return nn.functional.max_pool2d(padded, 3, 2)

    def fuse(node, *features):
        w = node.fuse.weights.weight
        return conv(node, sum(wi * x for wi, x in zip(w, features)) / (sum(w) + eps))

    p3, p4, p5 = pyramid((64, 96), {3: 8, 4: 8, 5: 8}, torch.float64)
    p4_td = fuse(cell.nodes[0], p4, up(p5))
    p3_out = fuse(cell.nodes[1], p3, up(p4_td))
    p4_out = fuse(cell.nodes[2], p4, p4_td, down(p3_out))
    p5_out = fuse(cell.nodes[3], p5, down(p4_out))
    torch.testing.assert_close(net([p3, p4, p5]), [p3_out, p4_out, p5_out], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("fusion", ["fast", "softmax", "sum"])
def test_every_parameter_gets_a_gradient(fusion):
    net = BiFPN(CHANNELS, 16, 2, levels=[3, 4, 5, 6, 7], fusion=fusion)
    outputs = net(pyramid((256, 256)))
    sum(x.square().sum() for x in outputs).backward()
    assert [name for name, p in net.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize(
    ("act", "cls"), [(None, nn.SiLU), ("relu", nn.ReLU), ("leaky_relu", nn.LeakyReLU), (nn.PReLU(), nn.PReLU)]
)
def test_activation(act, cls):
    nodes = [node for cell in BiFPN(CHANNELS, 8, 2, act=act).cells for node in cell.nodes]
    assert all(type(node.act) is cls for node in nodes) and len({id(node.act) for node in nodes}) == len(nodes)


def test_other_number_of_levels_is_refused():
    with pytest.raises(ValueError, match="takes 3 levels, not 2"):
        BiFPN(CHANNELS, 8, 1)(pyramid((64, 64))[:2])


def test_input_list_is_not_changed():
    inputs = pyramid((128, 128))
    before = list(inputs)
    BiFPN(CHANNELS, 8, 1, levels=[3, 4, 5, 6])(inputs)
    assert len(inputs) == 3 and all(a is b for a, b in zip(inputs, before))


def test_no_convolution_where_the_channels_agree():
    assert not any(len(node.laterals[0]) for node in BiFPN({3: 16, 4: 16}, 16, 2).cells[0].nodes)
    assert all(len(node.laterals[0]) for node in BiFPN({3: 8, 4: 8}, 16, 1).cells[0].nodes)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"in_channels": {3: 8}}, "at least two levels"),
        ({"in_channels": {3: 8, 5: 8}}, "no level in between"),
        ({"levels": [2, 3, 4, 5]}, "must be those of the input"),
        ({"levels": [3, 4]}, "take levels away at the backbone"),
        ({"channels": 0}, "channels must be at least 1"),
        ({"repeats": 0}, "repeats must be at least 1"),
        ({"repeats": 1.5}, "repeats must be a whole number"),
        ({"fusion": "fsat"}, "Did you mean fast"),
        ({"eps": 0}, "eps must be at least 1e-12"),
        ({"act": "rleu"}, "no activation 'rleu'"),
        ({"act": 3}, "act must be"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises((TypeError, ValueError), match=message):
        BiFPN(**{"in_channels": CHANNELS, **arguments})
