"""Weighted fusion against a naive loop written from the paper's formulas, and its place in the optimizer."""

import math

import pytest
import torch
from ultralytics.models.yolo.detect import DetectionTrainer

from effyolo_ultra.nn import BiFPN_Add, BiFPN_Concat
from effyolo_ultra.nn.fusion import FusionWeights

WEIGHTS = [0.7, 0.0, 2.5, -1.0]
FUSIONS = ["fast", "softmax", "sum"]


def naive_weights(weights, fusion, eps):
    """EfficientDet, section 3.3."""
    if fusion == "sum":
        return [1.0 for _ in weights]
    if fusion == "softmax":
        return [math.exp(w) / sum(math.exp(v) for v in weights) for w in weights]
    return [max(w, 0.0) / (sum(max(v, 0.0) for v in weights) + eps) for w in weights]


def make(cls, fusion, weights=WEIGHTS, **options):
    module = cls(len(weights), fusion=fusion, **options)
    if fusion != "sum":
        module.weights.weight.data = torch.tensor(weights)
    return module


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("eps", [1e-4, 0.5])
def test_add_and_concat_equal_the_naive_loop(fusion, eps):
    features = [torch.randn(2, 5, 4, 3) for _ in WEIGHTS]
    scaled = [w * x for w, x in zip(naive_weights(WEIGHTS, fusion, eps), features)]
    torch.testing.assert_close(make(BiFPN_Add, fusion, eps=eps)(features), sum(scaled), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(
        make(BiFPN_Concat, fusion, eps=eps)(features), torch.cat(scaled, 1), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("fusion", FUSIONS)
def test_concat_takes_different_channels(fusion):
    features = [torch.randn(1, channels, 4, 4) for channels in (2, 3, 1, 5)]
    assert make(BiFPN_Concat, fusion)(features).shape == (1, 11, 4, 4)


@pytest.mark.parametrize("inputs", [2, 3, 5])
def test_inputs_start_with_equal_weight(inputs):
    features = [torch.full((1, 1, 1, 1), float(i)) for i in range(inputs)]
    expected = sum(range(inputs)) / inputs
    assert BiFPN_Add(inputs)(features).item() == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("cls", [BiFPN_Add, BiFPN_Concat])
@pytest.mark.parametrize("weights", [[0.7, 0.3, 1.5], [0.7, -0.3, 1.5]])
def test_gradients(cls, fusion, weights):
    torch.manual_seed(0)
    features = [torch.randn(1, 2, 3, 3, dtype=torch.float64, requires_grad=True) for _ in weights]
    module = make(cls, fusion, weights).double()
    parameters = list(module.parameters())
    assert torch.autograd.gradcheck(lambda *x: module(list(x[:3])), [*features, *parameters])


def dead(inputs=3):
    module = BiFPN_Add(inputs)
    module.weights.weight.data = -torch.arange(inputs).float() / 10 - 0.1
    return module


def test_weights_at_or_below_zero_come_back():
    """Learn 0.2 a + 0.8 b from weights that give zero."""
    torch.manual_seed(0)
    module = dead()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    losses = []
    for _ in range(50):
        a, b, noise = torch.randn(3, 1, 4, 8, 8)
        loss = (module([a, b, noise]) - (0.2 * a + 0.8 * b)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    # The first edge above zero revives the fusion; the others then are what ReLU makes of them, as in the paper.
    assert module.weights.weight[1] > 0 and losses[-1] < losses[0] / 5


def test_gradient_of_weights_below_zero_is_that_of_a_plain_sum():
    features = [torch.randn(1, 2, 3, 3) for _ in range(3)]
    module = dead()
    out = module(features)
    out.sum().backward()
    assert torch.equal(out, torch.zeros_like(out))
    torch.testing.assert_close(module.weights.weight.grad, torch.stack([x.sum() for x in features]))


def test_weight_below_zero_beside_one_above_stays_out():
    features = [torch.randn(1, 2, 3, 3) for _ in range(3)]
    module = make(BiFPN_Add, "fast", [0.5, -0.1, 1.0])
    module(features).sum().backward()
    assert module.weights.weight.grad[1] == 0


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("cls", [BiFPN_Add, BiFPN_Concat])
def test_same_output_in_training_and_evaluation(cls, fusion):
    features = [torch.randn(1, 2, 3, 3) for _ in WEIGHTS]
    for weights in (WEIGHTS, [-1.0, -0.5, 0.0, -2.0]):
        module = make(cls, fusion, weights)
        assert torch.equal(module.train()(features), module.eval()(features))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("fusion", FUSIONS)
def test_low_precision_keeps_dtype_and_value(dtype, fusion):
    features = [torch.randn(1, 4, 4, 4) for _ in WEIGHTS]
    module = make(BiFPN_Add, fusion)
    expected = module(features)
    low = module.to(dtype)([x.to(dtype) for x in features])
    assert low.dtype == dtype
    torch.testing.assert_close(low.float(), expected, rtol=0.05, atol=0.05)


def test_all_weights_at_zero_give_zero_and_no_nan():
    module = make(BiFPN_Add, "fast", [0.0, -3.0]).half()
    out = module([torch.ones(1, 1, 2, 2).half()] * 2)
    assert torch.equal(out, torch.zeros_like(out))


@pytest.mark.parametrize("fusion", FUSIONS)
def test_other_number_of_inputs_is_refused(fusion):
    with pytest.raises(ValueError, match="takes 2 feature maps, not 3"):
        BiFPN_Add(2, fusion=fusion)([torch.ones(1, 1, 1, 1)] * 3)


def test_reset_gives_equal_weights():
    weights = FusionWeights(3)
    weights.weight.data = torch.tensor([1.0, 2.0, 3.0])
    weights.reset_parameters()
    assert weights.weight.tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("optimizer", ["SGD", "AdamW", "MuSGD"])
def test_ultralytics_optimizer_gives_fusion_weights_no_decay(optimizer):
    if optimizer == "MuSGD":
        pytest.importorskip("ultralytics.optim", reason="Ultralytics before 8.4 has no MuSGD")
    net = torch.nn.ModuleDict({"a": BiFPN_Add(3), "b": BiFPN_Concat(2), "norm": torch.nn.BatchNorm2d(3)})
    net["model"] = torch.nn.ModuleList([torch.nn.Conv2d(3, 3, 3)])
    net.model = net["model"]
    trainer = DetectionTrainer.__new__(DetectionTrainer)
    built = trainer.build_optimizer(net, optimizer, lr=0.1, momentum=0.9, decay=0.01)
    groups = {id(p): group for group in built.param_groups for p in group["params"]}
    for fusion in (net["a"], net["b"]):
        group = groups[id(fusion.weights.weight)]
        assert group["weight_decay"] == 0 and not group.get("use_muon")
        assert group is groups[id(net["norm"].weight)] is not groups[id(net["norm"].bias)]
    assert groups[id(net["model"][0].weight)]["weight_decay"] == 0.01
