"""Necks as graphs: compiled, traced, exported; at every size that the stride allows."""

import warnings

import onnx
import onnxruntime
import pytest
import torch
from ultralytics import YOLO

from effyolo_ultra.nn import BiFPN, BiFPN_Add, BiFPN_Concat

OPTIONS = [{}, {"fusion": "softmax"}, {"shared_weights": True}, {"conv": "full", "act_first": False}]
DEAD = [-1.0, -0.5, 0.0]

# A neck on P3 to P7 under a head on three of them: images are multiples of 32, most levels have odd sizes.
MODEL = """
nc: 3
backbone:
  - [-1, 1, Conv, [8, 3, 4]]
  - [-1, 1, Conv, [8, 3, 2]] # 1, P3
  - [-1, 1, Conv, [16, 3, 2]] # 2, P4
  - [-1, 1, Conv, [24, 3, 2]] # 3, P5
head:
  - [[1, 2, 3], 2, BiFPN, [16, {levels: [3, 4, 5, 6, 7]}]] # 4
  - [4, 1, PyramidLevel, [3]]
  - [4, 1, PyramidLevel, [4]]
  - [4, 1, PyramidLevel, [5]]
  - [[5, 6, 7], 1, Detect, [nc]]
"""
SIZES_HW = [(160, 224), (96, 608), (32, 416), (128, 128)]


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_compiles_without_a_graph_break(backend, options):
    torch._dynamo.reset()
    net = BiFPN({3: 8, 4: 16}, 8, 2, levels=[3, 4, 5], **options)
    pyramid = [torch.randn(2, 8, 20, 28), torch.randn(2, 16, 10, 14)]
    compiled = torch.compile(net, fullgraph=True, backend=backend)
    results = []
    for function in (net, compiled):
        net.train().zero_grad()
        outputs = function(pyramid)
        sum(x.square().mean() for x in outputs).backward()
        results.append([*outputs, *(p.grad.clone() for p in net.parameters())])
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(net.eval()(pyramid), compiled(pyramid))


@pytest.mark.slow
@pytest.mark.parametrize("cls", [BiFPN_Add, BiFPN_Concat])
@pytest.mark.parametrize("weights", [DEAD, [1.0, -0.5, 2.0]])
def test_fusion_compiles_with_its_way_back_from_zero(cls, weights):
    torch._dynamo.reset()
    module = cls(3)
    module.weights.weight.data = torch.tensor(weights)
    features = [torch.rand(1, 2, 4, 4) for _ in weights]
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    gradients = []
    for function in (module, compiled):
        module.zero_grad()
        function(features).square().add(function(features)).sum().backward()
        gradients.append(module.weights.weight.grad.clone())
    assert gradients[0].abs().sum() > 0
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("weights", [DEAD, [1.0, -0.5, 2.0]])
def test_trace_of_a_fusion(training, weights):
    module = BiFPN_Concat(3).train(training)
    module.weights.weight.data = torch.tensor(weights)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(module, ([torch.rand(1, 2, 4, 4) for _ in weights],))
    features = [torch.rand(1, 2, 4, 4) for _ in weights]
    torch.testing.assert_close(traced(features), module(features))


@pytest.mark.parametrize("size_hw", SIZES_HW)
def test_trains_at_any_multiple_of_32(size_hw, model_yaml):
    """With a head on all levels, the coarsest of which Ultralytics asks multiples of 128 for."""
    coarse = "- [4, 1, PyramidLevel, [6]]\n  - [4, 1, PyramidLevel, [7]]\n  - [[5, 6, 7, 8, 9], 1, Detect"
    model = YOLO(model_yaml(MODEL.replace("- [[5, 6, 7], 1, Detect", coarse))).model
    assert model.stride.tolist() == [8, 16, 32, 64, 128]
    height, width = size_hw
    image = torch.rand(2, 3, height, width)
    outputs = model.train()(image)
    outputs = outputs["feats"] if isinstance(outputs, dict) else outputs  # by version
    sum(x.square().mean() for x in outputs).backward()
    assert [n for n, p in model.named_parameters() if p.grad is None and n.startswith("model.4")] == []
    anchors = sum(-(-height // s) * -(-width // s) for s in (8, 16, 32, 64, 128))
    assert model.eval()(image)[0].shape == (2, 4 + 3, anchors)


@pytest.mark.slow
@pytest.mark.parametrize("size_hw", SIZES_HW[:3])
def test_exports_at_any_multiple_of_32(size_hw, model_yaml):
    model = YOLO(model_yaml(MODEL))
    for m in model.model.model[4].modules():
        if hasattr(m, "inputs"):
            m.weight.data = torch.rand(m.inputs) - 0.2
    image = torch.rand(1, 3, *size_hw)
    with torch.no_grad():
        expected = model.model.eval()(image)[0].numpy()
    file = model.export(format="onnx", imgsz=size_hw, device="cpu", verbose=False)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    output = session.run(None, {session.get_inputs()[0].name: image.numpy()})[0]
    torch.testing.assert_close(torch.from_numpy(output), torch.from_numpy(expected), rtol=1e-3, atol=1e-3)
    # The fusion weights are normalised once, at export.
    operations = {node.op_type for node in onnx.load(file).graph.node}
    assert not operations & {"Relu", "ReduceSum", "Where"}, operations
