"""The stacked BiFPN: its topology, its levels, its sizes."""

import copy

import pytest
import torch
from torch import nn

from effyolo_ultra.nn import BiFPN
from effyolo_ultra.nn.bifpn_cell import bifpn_nodes

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


@pytest.mark.parametrize(
    ("first", "given", "levels"),
    [(3, 3, 3), (3, 3, 4), (3, 3, 5), (4, 2, 2), (2, 4, 4), (2, 4, 6), (3, 5, 5), (2, 6, 6)],
)
@pytest.mark.parametrize("repeats", [1, 3])
@pytest.mark.parametrize("size_hw", [(256, 256), (160, 224), (96, 608), (32, 416), (200, 333)])
def test_shapes(first, given, levels, repeats, size_hw):
    channels = {first + i: c for i, c in enumerate((8, 24, 16, 40, 8, 32)[:given])}
    net = BiFPN(channels, 16, repeats, levels=[*range(first, first + levels)])
    inputs = pyramid(size_hw, channels)
    outputs = net(inputs)
    sum(x.mean() for x in outputs).backward()
    assert [x.shape[:2] for x in outputs] == [(2, 16)] * levels
    assert [x.shape[-2:] for x in outputs[:given]] == [x.shape[-2:] for x in inputs]
    for finer, coarser in zip(outputs, outputs[1:]):
        assert coarser.shape[-2:] == tuple(-(-s // 2) for s in finer.shape[-2:])


def test_levels_of_a_backbone_that_rounds_down():
    inputs = [torch.randn(1, 8, 25, 25), torch.randn(1, 8, 12, 12), torch.randn(1, 8, 6, 6)]
    outputs = BiFPN({3: 8, 4: 8, 5: 8}, 8, 2)(inputs)
    assert [x.shape for x in outputs] == [x.shape for x in inputs]


@pytest.mark.parametrize("conv", ["separable", "full"])
@pytest.mark.parametrize("act_first", [True, False])
def test_cell_equals_the_equations_of_the_paper(conv, act_first):
    """EfficientDet, section 3.3, the two fused features at P6, written out for each level of three; all in float64."""
    torch.manual_seed(0)
    net = BiFPN({3: 8, 4: 8, 5: 8}, 8, 1, conv=conv, act_first=act_first).eval().double()
    for p in net.parameters():
        p.data = torch.rand_like(p)
    cell = net.cells[0]
    eps = 1e-4

    def convolve(node, x):
        *depthwise, last = node.conv
        for layer in depthwise:
            x = naive_conv(x, layer.weight, groups=8)
        x = naive_conv(x, last.conv.weight, groups=1)
        mean, var, weight, bias = (
            v.view(-1, 1, 1) for v in (last.bn.running_mean, last.bn.running_var, last.bn.weight, last.bn.bias)
        )
        return (x - mean) / (var + 1e-3).sqrt() * weight + bias

    def silu(x):
        return x / (1 + (-x).exp())

    def up(x):
        return x.repeat_interleave(2, 2).repeat_interleave(2, 3)

    def down(x):
        padded = nn.functional.pad(x, (0, 1, 0, 1), value=-torch.inf)
        windows = padded.unfold(2, 3, 2).unfold(3, 3, 2)
        return windows.amax((-1, -2))

    def fuse(node, *features):
        w = node.fuse.weights.weight
        fused = sum(wi * x for wi, x in zip(w, features)) / (sum(w) + eps)
        return convolve(node, silu(fused)) if act_first else silu(convolve(node, fused))

    p3, p4, p5 = pyramid((32, 64), {3: 8, 4: 8, 5: 8}, torch.float64)
    p4_td = fuse(cell.nodes[0], p4, up(p5))
    p3_out = fuse(cell.nodes[1], p3, up(p4_td))
    p4_out = fuse(cell.nodes[2], p4, p4_td, down(p3_out))
    p5_out = fuse(cell.nodes[3], p5, down(p4_out))
    torch.testing.assert_close(net([p3, p4, p5]), [p3_out, p4_out, p5_out], rtol=1e-12, atol=1e-12)


def naive_conv(x, weight, groups):
    """A convolution (N, C, H, W) with zero padding that keeps the size, one output pixel after the other."""
    n, _, h, w = x.shape
    out_channels, per_group, k, _ = weight.shape
    padded = nn.functional.pad(x, [k // 2] * 4)
    out = torch.empty(n, out_channels, h, w, dtype=x.dtype)
    for o in range(out_channels):
        first = o // (out_channels // groups) * per_group
        for i in range(h):
            for j in range(w):
                window = padded[:, first : first + per_group, i : i + k, j : j + k]
                out[:, o, i, j] = (window * weight[o]).sum((1, 2, 3))
    return out


@pytest.mark.parametrize(
    "options",
    [{"fusion": f} for f in ("fast", "softmax", "sum")]
    + [{"conv": "full"}, {"act_first": False}, {"shared_weights": True}, {"act": "relu"}],
    ids=str,
)
def test_every_parameter_gets_a_gradient(options):
    net = BiFPN(CHANNELS, 16, 2, levels=[3, 4, 5, 6, 7], **options)
    outputs = net(pyramid((256, 256)))
    sum(x.square().sum() for x in outputs).backward()
    assert [name for name, p in net.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize(
    ("act", "cls"), [(None, nn.SiLU), ("relu", nn.ReLU), ("leaky_relu", nn.LeakyReLU), (nn.PReLU(), nn.PReLU)]
)
def test_activation(act, cls):
    nodes = [node for cell in BiFPN(CHANNELS, 8, 2, act=act).cells for node in cell.nodes]
    assert all(type(node.act) is cls for node in nodes) and len({id(node.act) for node in nodes}) == len(nodes)


def fusion_weights(net):
    return {name: p for name, p in net.named_parameters(remove_duplicate=False) if "fuse" in name}


def test_shared_weights_are_those_of_the_first_cell():
    torch.manual_seed(0)
    shared = BiFPN(CHANNELS, 16, 3, shared_weights=True).eval()
    own = BiFPN(CHANNELS, 16, 3).eval()
    assert len(fusion_weights(shared)) == 4 and len(fusion_weights(own)) == 12
    for p in fusion_weights(shared).values():
        p.data.uniform_(0.1, 2)
    own.load_state_dict(shared.state_dict(), strict=False)
    for cell in own.cells[1:]:
        for node, first in zip(cell.nodes, own.cells[0].nodes):
            node.fuse = first.fuse
    inputs = pyramid((64, 96))
    torch.testing.assert_close(shared(inputs), own(inputs), rtol=0, atol=0)
    torch.testing.assert_close(copy.deepcopy(shared)(inputs), own(inputs), rtol=0, atol=0)


def test_pickle_is_a_checkpoint_and_a_copy_is_not(tmp_path):
    net = BiFPN(CHANNELS, 16, 2, pretrained="d0.pth").half()
    net.weights_from, path = "d0.pth", tmp_path / "net.pt"
    torch.save(net, path)
    assert not copy.deepcopy(net).loaded and copy.deepcopy(net).weights_from == "d0.pth"
    loaded = torch.load(path, weights_only=False)
    assert loaded.loaded and not net.loaded and (loaded.weights_from, loaded.pretrained) == ("d0.pth", "d0.pth")
    for name, tensor in net.state_dict().items():
        assert name == "loaded" or torch.equal(loaded.state_dict()[name], tensor)


@pytest.mark.parametrize("cells", [1, 2])
def test_only_whole_weights_count_as_loaded(cells):
    net, other = BiFPN(CHANNELS, 16, 2), BiFPN(CHANNELS, 16, cells)
    other.loaded.fill_(True)
    net.load_state_dict(other.state_dict(), strict=False)
    assert bool(net.loaded) == (cells == 2)


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
        ({"repeats": 9}, "repeats must be at least 1 and at most 8, not 9"),
        ({"repeats": 1.5}, "repeats must be a whole number"),
        ({"conv": "seperable"}, "conv must be one of separable, full.*Did you mean separable"),
        ({"conv": 3}, "conv must be one of separable, full, not 3"),
        ({"act_first": "no"}, "act_first must be true or false, not 'no'"),
        ({"shared_weights": 1}, "shared_weights must be true or false, not 1"),
        ({"fusion": "fsat"}, "Did you mean fast"),
        ({"eps": 0}, "eps must be at least 1e-12"),
        ({"act": "rleu"}, "no activation 'rleu'"),
        ({"act": 3}, "act must be"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises((TypeError, ValueError), match=message):
        BiFPN(**{"in_channels": CHANNELS, **arguments})
