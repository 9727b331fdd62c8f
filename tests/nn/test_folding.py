"""Ultralytics' `fuse` on networks with our modules: what is folded, that nothing else changes, what a file holds."""

import copy

import pytest
import torch
from torch import nn
from ultralytics import YOLO
from ultralytics.nn.tasks import DetectionModel

from effyolo_ultra.nn import BiFPN_Add, BiFPN_Concat, EfficientNetBackbone, TimmBackbone
from effyolo_ultra.nn.folding import BatchNorm, foldable
from effyolo_ultra.nn.fusion import FusionWeights

BACKBONES = ["b0", "lite0", "v2-b0"]
# Residual branches, grouped and dense layers, norms behind no convolution, a stem in two branches, no norm, and
# standardised weights, which a factor does not change.
OTHERS = [
    "resnet18",
    "mobilenetv3_small_050",
    "regnety_002",
    "densenet121",
    "repvgg_a0",
    "convnext_atto",
    "nf_regnet_b0",
]


def realistic(network):
    """Give BatchNorms and fusion weights values of a trained network."""
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, BatchNorm):
            module.running_mean.normal_(0, 0.3, generator=generator)
            module.running_var.uniform_(0.3, 3, generator=generator)
            module.weight.data.uniform_(0.5, 1.5, generator=generator)
            module.bias.data.normal_(0, 0.3, generator=generator)
        elif isinstance(module, FusionWeights) and module.fusion != "sum":
            module.weight.data.uniform_(0, 2, generator=generator)
    return network.eval()


def norms(network):
    return [name for name, module in network.named_modules() if isinstance(module, BatchNorm)]


def assert_near(found, expected):
    for a, b in zip(found, expected):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4 * float(b.abs().max()))


@pytest.mark.parametrize(
    "cls, name", [(EfficientNetBackbone, n) for n in BACKBONES] + [(TimmBackbone, n) for n in OTHERS]
)
@pytest.mark.parametrize("in_channels", [3, 1])
def test_fused_backbone_gives_the_same(cls, name, in_channels):
    backbone = realistic(cls(name, in_channels))
    image = torch.rand(2, in_channels, 64, 96)
    before = len(norms(backbone))
    with torch.inference_mode():
        expected = backbone(image)
        backbone.fuse()
        assert_near(backbone(image), expected)
        if name in BACKBONES:
            assert norms(backbone) == [] and backbone.std is None
            assert name != "b0" or len(backbone.folded) == 48
        else:
            assert len(norms(backbone)) < before or before == 0
        state = copy.deepcopy(backbone.state_dict())
        backbone.fuse()
    assert all(torch.equal(value, state[key]) for key, value in backbone.state_dict().items())


def test_fused_backbone_has_gradients():
    """The squeeze-and-excitation of this one has a ReLU before it, whose gradient needs what it gave."""
    backbone = TimmBackbone("mobilenetv3_small_050").eval()
    backbone.fuse()
    image = torch.rand(1, 3, 64, 64, requires_grad=True)
    sum(level.sum() for level in backbone(image)).backward()
    assert image.grad.abs().sum() > 0


def test_only_what_one_norm_takes_is_folded():
    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.alone, self.shared, self.twice = (nn.Conv2d(3, 3, 1) for _ in range(3))
            self.norms = nn.ModuleList(nn.BatchNorm2d(3) for _ in range(3))

        def forward(self, x):
            shared, twice = self.shared(x), self.twice(x) + self.twice(x + 1)
            return [self.norms[0](self.alone(x)), self.norms[1](shared) + shared, self.norms[2](twice)]

    folding = foldable(Branches().eval(), torch.rand(1, 3, 8, 8))
    assert folding.pairs == [("alone", "norms.0")]
    assert folding.stem is None


@pytest.mark.parametrize("name", ["yolov5n-effdet.yaml", "yolov5-effb0-bifpn.yaml", "yolov5-effb0-pan.yaml"])
def test_fused_checkpoint_loads_and_is_no_start_of_a_training(name, tmp_path, lines):
    network = realistic(DetectionModel(name, nc=3, verbose=False))
    image = torch.rand(1, 3, 64, 96)
    with torch.inference_mode():
        expected = network(image)[0]
        network.fuse(verbose=False)
        assert norms(network) == []
        assert_near([network(image)[0]], [expected])
        fused = network(image)[0]
        torch.save({"model": network}, tmp_path / "fused.pt")
        again = YOLO(tmp_path / "fused.pt").model.eval()
        assert norms(again) == [] and again.is_fused()
        for other in (again, again.fuse(verbose=False), copy.deepcopy(again)):
            torch.testing.assert_close(other(image)[0], fused, rtol=0, atol=0)
        assert b"timm" not in (tmp_path / "fused.pt").read_bytes()
    lines.clear()
    DetectionModel(name, nc=3, verbose=False).load(again)
    refused = [line for line in lines if "does not take the weights of the checkpoint" in line]
    assert refused and all("it is fused for inference; use the file" in line for line in refused)


@pytest.mark.parametrize("cls", [BiFPN_Add, BiFPN_Concat])
@pytest.mark.parametrize("fusion", ["fast", "softmax", "sum"])
def test_rows_of_fusion_hold_constants(cls, fusion):
    module = realistic(cls(3, fusion=fusion))
    features = [torch.rand(1, 2, 4, 4) for _ in range(3)]
    expected = module(features)
    module.weights.fuse()
    torch.testing.assert_close(module(features), expected)
    if fusion != "sum":
        assert module.weights.constants == module.weights.normalized().tolist()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions(dtype):
    network = realistic(DetectionModel("yolov5n-effdet.yaml", nc=3, verbose=False)).to(dtype)
    image = torch.rand(1, 3, 64, 64, dtype=dtype)
    with torch.inference_mode():
        expected = network.float()(image.float())[0]
        found = network.to(dtype).fuse(verbose=False)(image)[0]
    assert found.dtype == dtype
    error = (found - expected).abs().max() / expected.abs().max()
    assert error < {torch.float16: 0.02, torch.bfloat16: 0.1, torch.float64: 1e-4}[dtype]


def test_summary_counts_the_fused_network(lines):
    network = DetectionModel("yolov5n-effdet.yaml", verbose=False).fuse()
    parameters = sum(p.numel() for p in network.parameters())
    assert any(f"{parameters:,} parameters" in line for line in lines)
