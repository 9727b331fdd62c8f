"""What a BiFPN does differently once Ultralytics has fused the network: constant fusion weights, the same output."""

import copy
import pickle

import pytest
import torch
from ultralytics import YOLO

from effyolo_ultra.fusion import fusion_weights
from effyolo_ultra.nn.fusion import FusionWeights

MODEL = """
nc: 3
backbone:
  - [-1, 1, Conv, [8, 3, 4]]
  - [-1, 1, Conv, [8, 3, 2]] # 1
  - [-1, 1, Conv, [16, 3, 2]] # 2
head:
  - [[1, 2], 2, BiFPN, [16, {options}]] # 3
  - [3, 1, PyramidLevel, [3]]
  - [3, 1, PyramidLevel, [4]]
  - [[4, 5], 1, Detect, [nc]]
"""
OPTIONS = ["{}", "{fusion: softmax}", "{fusion: sum}", "{shared_weights: true, levels: [3, 4, 5]}", "{conv: full}"]


@pytest.fixture
def network(model_yaml):
    def build(options="{}"):
        network = YOLO(model_yaml(MODEL.replace("{options}", options))).model.eval()
        torch.manual_seed(0)
        for module in network.modules():
            if isinstance(module, FusionWeights) and module.fusion != "sum":
                module.weight.data.uniform_(0, 2)
        return network

    return build


def pyramid():
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(1, c, s, s, generator=generator) for c, s in ((8, 16), (16, 8))]


def constants(neck):
    return [module.constants for module in neck.modules() if isinstance(module, FusionWeights)]


@pytest.mark.parametrize("options", OPTIONS)
def test_fused_neck_gives_the_same(network, options):
    """Against the same folded convolutions, whose own rounding is larger, and against the network as it was."""
    network = network(options)
    inputs = pyramid()
    with torch.no_grad():
        before = network.model[3](inputs)
        assert constants(network.model[3]) == [None] * len(constants(network.model[3]))
        neck = network.fuse(verbose=False).model[3]
        computed = copy.deepcopy(neck).train().eval()
        expected, found = computed(inputs), neck(inputs)
    for a, b, c in zip(found, expected, before):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6 * float(b.abs().max()))
        torch.testing.assert_close(a, c, rtol=1e-4, atol=1e-4 * float(c.abs().max()))
    if "sum" not in options:
        assert [w for c in constants(neck) for w in c] == [edge.weight for edge in fusion_weights(network)]
    for given, same in zip(inputs, pyramid()):
        assert torch.equal(given, same)  # the sum is made in place, but not in the inputs


def test_weights_that_change_are_seen(network):
    """Before `fuse` always, and after it in a network that goes back to training."""
    network = network()
    neck, inputs = network.model[3], pyramid()

    def change():
        before = neck.eval()(inputs)[0]
        neck.cells[1].nodes[0].fuse.weights.weight.data = torch.tensor([0.1, 3.0])
        neck.train().eval()
        changed = neck(inputs)[0]
        neck.cells[1].nodes[0].fuse.weights.weight.data = torch.tensor([3.0, 0.1])
        neck.train().eval()
        return not torch.allclose(before, changed) and not torch.allclose(changed, neck(inputs)[0])

    with torch.no_grad():
        assert change()
        network.fuse(verbose=False)
        assert constants(neck)[0]
        assert change() and constants(neck)[0] is None


def test_trace_holds_constants(network):
    neck = network().fuse(verbose=False).model[3]
    with torch.no_grad():
        expected = neck(pyramid())
        traced = torch.jit.trace(neck, (pyramid(),), strict=False)
    assert not {"aten::relu", "aten::div", "aten::unbind"} & {node.kind() for node in traced.inlined_graph.nodes()}
    torch.testing.assert_close(traced(pyramid()), expected)


def test_fused_neck_is_copied_and_pickled(network):
    neck = network().fuse(verbose=False).model[3]
    with torch.no_grad():
        expected = neck(pyramid())
        for other in (copy.deepcopy(neck), pickle.loads(pickle.dumps(neck)), copy.deepcopy(neck).double().float()):
            torch.testing.assert_close(other(pyramid()), expected, rtol=0, atol=0)


def test_gradients_of_the_inputs_after_fusing(network):
    """Heat maps of a fused network need them; the weights' own are those of a constant."""
    neck = network().fuse(verbose=False).model[3]
    inputs = [x.double().requires_grad_() for x in pyramid()]
    neck = neck.double()
    direction = [torch.randn_like(x) for x in inputs]
    loss = lambda step: sum(y.sum() for y in neck([x + step * d for x, d in zip(inputs, direction)]))  # noqa: E731
    gradients = torch.autograd.grad(loss(0.0), inputs)
    slope = sum((g * d).sum() for g, d in zip(gradients, direction))
    torch.testing.assert_close(slope, (loss(1e-6) - loss(-1e-6)) / 2e-6, rtol=1e-5, atol=1e-6)
