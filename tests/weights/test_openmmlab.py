"""OpenMMLab checkpoints against mmpretrain's own EfficientNet, on the same image."""

from __future__ import annotations

from functools import partial

import pytest
import timm
import torch
from mmpretrain.models.backbones import EfficientNet, EfficientNetV2, TIMMBackbone

from effyolo_ultra.errors import WeightsError
from effyolo_ultra.nn import EfficientNetBackbone
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


def features_state(name):
    """Return the state dict of a timm model without what follows its last block."""
    with torch.device("meta"):
        return timm.create_model(name, features_only=True).state_dict()


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
        ours = to_timm(source, target)
        assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in target.items()}
        assert len({id(value) for value in ours.values()}) == len(theirs)
    target = features_state(name)
    assert list(to_timm(theirs, target)) == list(target)


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
    model.load_state_dict(to_timm(saved, model.state_dict()))
    for size in (128, 96), (97, 65):
        assert_features_equal(model.double(), reference.double(), size)


def test_b3_as_backbone_of_a_yolo_equals_openmmlab():
    torch.manual_seed(0)
    reference = EfficientNet("b3", out_indices=(3, 4))
    randomize(reference)
    ours = EfficientNetBackbone("b3", levels=[3, 4]).eval()
    ours.body.load_state_dict(to_timm(detector(reference.state_dict()), ours.body.state_dict()))
    assert ours.out_channels == (48, 136)
    for size in (96, 128), (65, 97):
        assert_features_equal(ours.double(), lambda x: reference.double()((x - ours.mean) / ours.std), size)


@pytest.mark.parametrize("name", ["tf_efficientnet_b0", "resnet18"])
def test_timm_backbone_of_openmmlab(name, on_meta):
    theirs = TIMMBackbone(name, features_only=True).state_dict()
    for source in theirs, detector(theirs):
        assert is_openmmlab(source)
        target = features_state(name)
        assert {k: v.shape for k, v in to_timm(source, target).items()} == {k: v.shape for k, v in target.items()}


def test_image_channels_of_the_stem_are_left_to_the_caller(on_meta):
    state = to_timm(EfficientNet("b0").state_dict(), timm_state("tf_efficientnet_b0", in_chans=4))
    assert state["conv_stem.weight"].shape == (32, 3, 3, 3)


@pytest.mark.parametrize(
    ("cls", "arch", "name", "message"),
    [
        (
            EfficientNet,
            "b3",
            "tf_efficientnet_b0",
            r"holds 26 blocks \(2-3-3-5-5-6-2\) behind a stem of 40 channels, but expected"
            r" 16 blocks \(1-2-2-3-3-4-1\) behind a stem of 32 channels; conv_stem.weight is",
        ),
        (
            EfficientNet,
            "b1",
            "tf_efficientnet_b2",
            r"blocks.2.0.conv_pwl.weight is \(40, 144, 1, 1\) in the checkpoint, \(48, 144, 1, 1\) in the model",
        ),
        (EfficientNet, "b0", "tf_efficientnet_b1", r"blocks.0.1.conv_dw.weight is missing in the checkpoint"),
        (
            EfficientNetV2,
            "xl",
            "tf_efficientnetv2_l",
            r"100 blocks \(4-8-8-16-24-32-8\) .* expected 79 blocks \(4-7-7-10-19-25-7\)",
        ),
        (
            EfficientNet,
            "b0",
            "tf_efficientnetv2_b0",
            r"holds 16 blocks .* expected 21 blocks .* blocks.0.0.conv.weight is missing in the checkpoint",
        ),
        (EfficientNet, "b0", "resnet18", r"but expected 120 tensors behind a stem of 64 channels"),
        # OpenMMLab widens the 40 channels of the stem threefold, timm 32 of them fourfold.
        (EfficientNet, "el", "tf_efficientnet_el", r"blocks.0.0.conv_exp.weight is \(120, 40, 3, 3\) in the"),
    ],
)
def test_another_model_is_refused(cls, arch, name, message, on_meta):
    with pytest.raises(WeightsError, match=message):
        to_timm(cls(arch).state_dict(), timm_state(name))


def test_missing_tensor_is_named(on_meta):
    state = EfficientNet("b0").state_dict()
    del state["layers.0.bn.num_batches_tracked"]
    with pytest.raises(WeightsError, match=r"bn1.num_batches_tracked is missing in the checkpoint, \(\) in the model"):
        to_timm(state, timm_state("tf_efficientnet_b0"))


def test_other_checkpoints_are_refused(on_meta):
    target = timm_state("tf_efficientnet_b0")
    for other in timm_state("resnet18"), {f"backbone.{k}": v for k, v in target.items()}, {}:
        assert not is_openmmlab(other)
        with pytest.raises(WeightsError, match="holds no OpenMMLab EfficientNet or TIMMBackbone"):
            to_timm(other, target)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("layers.1.0.ffn.conv.weight", r"layers.1.0 is no block .* depthwise_conv.bn, .* ffn.conv"),
        ("layers.2.gamma", "layers.2.gamma belongs to no OpenMMLab EfficientNet"),
        ("layers.1.0.linear_conv.conv.bias", "does not fit .* blocks.0.0.conv_pw.bias is"),
    ],
)
def test_tensors_without_a_place_are_named(key, message, on_meta):
    state = {**EfficientNet("b0").state_dict(), key: torch.zeros(3)}
    with pytest.raises(WeightsError, match=message):
        to_timm(state, timm_state("tf_efficientnet_b0"))
