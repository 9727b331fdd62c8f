"""OpenMMLab checkpoints against mmpretrain's own EfficientNet, on the same image."""

from __future__ import annotations

from functools import partial

import pytest
import timm
import torch
from mmpretrain.models.backbones import EfficientNet, EfficientNetV2, TIMMBackbone

from effyolo_ultra.errors import WeightsError
from effyolo_ultra.nn import EfficientNetBackbone, TimmBackbone
from effyolo_ultra.weights.openmmlab import is_openmmlab, to_timm

V1 = {f"b{i}": f"tf_efficientnet_b{i}" for i in range(9)}
EDGE = {"es": "tf_efficientnet_es", "em": "tf_efficientnet_em"}
V2 = {x: f"tf_efficientnetv2_{x}" for x in ("b0", "b1", "b2", "b3", "s", "m", "l", "xl")}
ALL = [
    *((EfficientNet, arch, name) for arch, name in {**V1, "l2": "tf_efficientnet_l2", **EDGE}.items()),
    *((EfficientNetV2, arch, name) for arch, name in V2.items()),
]


@pytest.fixture
def on_meta(monkeypatch):
    """Build on the meta device; OpenMMLab reads its drop path rates out of a tensor, which needs numbers."""
    monkeypatch.setattr(torch, "linspace", partial(torch.linspace, device="cpu"))
    with torch.device("meta"):
        yield


def timm_state(name, **options):
    with torch.device("meta"):
        return timm.create_model(name, num_classes=0, **options).state_dict()


def detector(backbone):
    """Return what OpenMMLab saves for a detector with this backbone."""
    others = ["neck.convs.0.conv.weight", "bbox_head.layers.0.conv.weight", "data_preprocessor.mean", "head.fc.bias"]
    state = {f"backbone.{key}": value for key, value in backbone.items()}
    state.update({f"ema_backbone_{key.replace('.', '_')}": value for key, value in backbone.items()})
    return {**state, **{key: torch.zeros(1) for key in others}}


def randomize(module):
    """Give weights and statistics of their own, with which the features of every level depend on the image."""
    for part in module.modules():
        # Not those with a bias, which are in squeeze-excitation: its gates would be 0 or 1.
        if isinstance(part, torch.nn.Conv2d) and part.bias is None:
            torch.nn.init.kaiming_normal_(part.weight)
        if isinstance(part, torch.nn.BatchNorm2d):
            part.weight.data.uniform_(0.5, 1.5)
            part.bias.data.normal_(0, 0.2)
            part.running_mean.normal_(0, 0.2)
            part.running_var.uniform_(0.5, 1)
    module.eval()


def assert_features_equal(model, reference, size_hw):
    """Compare in float64: a deep network of random weights makes much of a rounding error in float32."""
    image = torch.rand(1, 3, *size_hw, dtype=torch.float64)
    with torch.no_grad():
        outputs, expected = model(image), reference(image)
    assert len(outputs) == len(expected)
    for ours, theirs in zip(outputs, expected):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6 * theirs.abs().max().item())


@pytest.mark.parametrize(("cls", "arch", "name"), ALL, ids=[x[-1] for x in ALL])
def test_every_tensor_has_its_place(cls, arch, name, on_meta):
    theirs, target = cls(arch).state_dict(), timm_state(name)
    for source in theirs, detector(theirs):
        assert is_openmmlab(source)
        ours = to_timm(source)
        assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in target.items()}
        assert len({id(value) for value in ours.values()}) == len(theirs)


# Layers of OpenMMLab that have the strides 8, 16 and 32: MMYOLO's EfficientNet-B3 takes (3, 4, 5).
@pytest.mark.parametrize(
    ("cls", "arch", "name", "layers", "options"),
    [
        (EfficientNet, "b0", "tf_efficientnet_b0", (3, 4, 5), {}),
        (EfficientNet, "b3", "tf_efficientnet_b3", (3, 4, 5), {}),
        (EfficientNet, "em", "tf_efficientnet_em", (3, 4, 5), {"act_cfg": {"type": "ReLU"}}),
        (EfficientNetV2, "b0", "tf_efficientnetv2_b0", (3, 5, 6), {}),
        (EfficientNetV2, "s", "tf_efficientnetv2_s", (3, 5, 6), {}),
    ],
)
def test_features_equal_openmmlab(cls, arch, name, layers, options, tmp_path):
    torch.manual_seed(0)
    reference = cls(arch, out_indices=layers, **options)
    randomize(reference)
    torch.save({"meta": {"epoch": 1}, "state_dict": detector(reference.state_dict())}, tmp_path / "epoch_1.pth")
    model = timm.create_model(name, features_only=True, out_indices=(2, 3, 4)).eval()
    saved = torch.load(tmp_path / "epoch_1.pth")["state_dict"]
    model.load_state_dict(to_timm(saved), strict=False)
    for size in (128, 96), (97, 65):
        assert_features_equal(model.double(), reference.double(), size)


def test_b3_as_backbone_of_a_yolo_equals_openmmlab(tmp_path):
    torch.manual_seed(0)
    reference = EfficientNet("b3", out_indices=(3, 4))
    randomize(reference)
    torch.save({"meta": {"epoch": 1}, "state_dict": detector(reference.state_dict())}, tmp_path / "b3.pth")
    ours = EfficientNetBackbone("b3", levels=[3, 4], pretrained=str(tmp_path / "b3.pth")).eval()
    report = ours.load_pretrained()
    assert report.is_complete and "(OpenMMLab layout)" in report.details and ours.out_channels == (48, 136)
    for size in (96, 128), (65, 97):
        assert_features_equal(ours.double(), lambda x: reference.double()((x - ours.mean) / ours.std), size)


@pytest.mark.parametrize("name", ["tf_efficientnet_b0", "convnext_atto"])
def test_timm_backbone_of_openmmlab(name, tmp_path):
    theirs = TIMMBackbone(name, features_only=False).state_dict()
    torch.save({"state_dict": detector(theirs)}, tmp_path / "weights.pth")
    ours = TimmBackbone(name, pretrained=str(tmp_path / "weights.pth"))
    assert ours.load_pretrained().is_complete
    stem = next(key for key in theirs if key.endswith("weight"))
    assert torch.equal(next(ours.parameters()), theirs[stem])


@pytest.mark.parametrize(
    ("arch", "model", "message"),
    [
        ("b3", "b0", r"conv_stem.weight is \[40, 3, 3, 3\], not \[32, 3, 3, 3\]"),
        ("b1", "b0", r"are not of this model \(blocks.0.1.conv_dw.weight"),
        ("b0", "b1", r"of the model's \d+ are missing \(blocks.0.1.conv_dw.weight"),
        ("b0", "v2-b0", r"blocks.0.0.bn1.weight is \[32\], not \[16\]"),
    ],
)
def test_another_model_is_refused(arch, model, message, tmp_path):
    torch.save({"state_dict": detector(EfficientNet(arch).state_dict())}, tmp_path / "weights.pth")
    with pytest.raises(WeightsError, match=f"OpenMMLab layout.* does not fit tf_efficientnet.*{message}"):
        EfficientNetBackbone(model, pretrained=str(tmp_path / "weights.pth")).load_pretrained()


def test_other_checkpoints_are_told_apart(on_meta):
    efficientdet = {f"backbone.{k}": v for k, v in timm_state("tf_efficientnet_b0").items()}
    for other in timm_state("resnet18"), efficientdet, {}:
        assert not is_openmmlab(other)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("layers.1.0.ffn.conv.weight", r"layers.1.0 is no block .* depthwise_conv.bn, .* ffn.conv"),
        ("layers.2.gamma", "layers.2.gamma belongs to no OpenMMLab EfficientNet"),
    ],
)
def test_tensors_without_a_place_are_named(key, message, on_meta):
    state = {**EfficientNet("b0").state_dict(), key: torch.zeros(3)}
    with pytest.raises(WeightsError, match=message):
        to_timm(state)
