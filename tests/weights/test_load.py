"""Weights of every layout get into a backbone by name and shape, and what does not fit is said."""

import pytest
import safetensors.torch
import timm
import torch

from effyolo_ultra.errors import WeightsError
from effyolo_ultra.nn import EfficientNetBackbone, TimmBackbone
from effyolo_ultra.weights.inert import IS_COMPLETE


def timm_weights(name, seed=0, **arguments):
    """A timm model with random statistics in its BatchNorms, as trained ones have."""
    torch.manual_seed(seed)
    model = timm.create_model(name, **arguments).eval()
    for buffer in model.buffers():
        if buffer.is_floating_point():
            buffer.uniform_(0.5, 1.5)
    return model


def features(model, image, backbone):
    """What a timm model gives for the image as the backbone normalises it."""
    with torch.no_grad():
        return model((image - backbone.mean) / backbone.std)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".pt", ".bin"])
def test_timm_layout(tmp_path, suffix):
    model = timm_weights("tf_efficientnet_b0")
    path = tmp_path / f"weights{suffix}"
    save = safetensors.torch.save_file if suffix == ".safetensors" else torch.save
    save(model.state_dict(), str(path))
    backbone = EfficientNetBackbone("b0", pretrained=str(path)).eval()
    assert backbone.weights_from == ""
    report = backbone.load_pretrained()
    total = len(backbone.body.state_dict())
    assert f"{total} of {total} tensors loaded (timm layout)" in report.details and "missing" not in report.details
    assert "not used: " in report.details and "8 in all" in report.details and report.is_complete
    assert backbone.weights_from == str(path)
    for key, value in backbone.body.state_dict().items():
        assert torch.equal(value, model.state_dict()[key]), key


@pytest.mark.parametrize(
    ("name", "levels"), [("resnet18", (3, 4, 5)), ("convnext_atto", (3, 4)), ("swin_tiny_patch4_window7_224", (4, 5))]
)
def test_models_that_timm_flattens_or_hooks(tmp_path, name, levels):
    model = timm_weights(name)
    torch.save(model.state_dict(), tmp_path / "weights.pth")
    backbone = TimmBackbone(name, levels=levels, pretrained=str(tmp_path / "weights.pth"))
    assert backbone.load_pretrained().is_complete
    loaded = {value.data_ptr(): value for value in backbone.body.state_dict().values() if value.is_floating_point()}
    known = [value for value in model.state_dict().values() if value.is_floating_point()]
    for value in loaded.values():
        assert any(value.shape == other.shape and torch.equal(value, other) for other in known)


@pytest.mark.parametrize("channels", [1, 4])
def test_stem_for_other_numbers_of_channels(tmp_path, channels):
    model = timm_weights("tf_efficientnet_b0")
    torch.save(model.state_dict(), tmp_path / "b0.pth")
    backbone = EfficientNetBackbone("b0", channels, pretrained=str(tmp_path / "b0.pth"))
    assert backbone.load_pretrained().is_complete
    rgb = model.conv_stem.weight
    expected = rgb.sum(1, keepdim=True) if channels == 1 else rgb[:, [0, 1, 2, 0]] * 3 / 4
    torch.testing.assert_close(backbone.body.conv_stem.weight, expected)


def test_file_for_the_same_number_of_channels(tmp_path):
    model = timm_weights("tf_efficientnet_b0", in_chans=1)
    torch.save(model.state_dict(), tmp_path / "grey.pth")
    backbone = EfficientNetBackbone("b0", 1, pretrained=str(tmp_path / "grey.pth"))
    assert backbone.load_pretrained().is_complete
    assert torch.equal(backbone.body.conv_stem.weight, model.conv_stem.weight)


@pytest.mark.parametrize("name", ["convnext_atto", "poolformer_s12"])
def test_file_that_timm_cannot_prepare_for_a_model(tmp_path, name):
    torch.save(timm_weights("tf_efficientnet_b0").state_dict(), tmp_path / "b0.pth")
    with pytest.raises(WeightsError, match=f"b0.pth .timm layout. does not fit {name}: timm cannot read it as this"):
        TimmBackbone(name, pretrained=str(tmp_path / "b0.pth")).load_pretrained()


def test_efficientdet_checkpoint(tmp_path):
    import effdet

    model = effdet.create_model("tf_efficientdet_d0", pretrained=False, pretrained_backbone=False).eval()
    for buffer in model.backbone.buffers():
        if buffer.is_floating_point():
            buffer.uniform_(0.5, 1.5)
    torch.save({"state_dict": model.state_dict(), "epoch": 1}, tmp_path / "d0.pth")
    backbone = EfficientNetBackbone("b0", pretrained=str(tmp_path / "d0.pth")).eval()
    report = backbone.load_pretrained()
    assert report.is_complete and "EfficientDet layout" in report.details
    image = torch.rand(1, 3, 96, 128)
    torch.testing.assert_close(backbone(image), features(model.backbone, image, backbone)[-3:], rtol=1e-5, atol=1e-5)


@pytest.fixture
def checkpoint(tmp_path):
    """Save a network as Ultralytics does, half precision, and return it with the path."""
    from ultralytics.nn.tasks import DetectionModel

    def save(row, name="best.pt"):
        head = [[0, 1, "PyramidLevel", [4]], [[-1], 1, "Detect", ["nc"]]]
        network = DetectionModel({"nc": 1, "backbone": [[-1, 1, *row]], "head": head}, verbose=False)
        torch.save({"epoch": -1, "ema": None, "model": network.half(), "train_args": {}}, tmp_path / name)
        return network.float(), tmp_path / name

    return save


@pytest.mark.skipif(not IS_COMPLETE, reason="torch before 2.6")
@pytest.mark.parametrize("row", [("EfficientNetBackbone", ["b0"]), ("TimmBackbone", ["resnet18"])])
def test_checkpoint_of_ultralytics(checkpoint, row):
    network, path = checkpoint(row)
    backbone = getattr(__import__("effyolo_ultra.nn", fromlist=["nn"]), row[0])(row[1][0], pretrained=str(path))
    report = backbone.load_pretrained()
    assert report.is_complete and "Ultralytics layout" in report.details
    for key, value in backbone.body.state_dict().items():
        assert torch.equal(value, network.model[0].body.state_dict()[key]), key


class Trap:
    """Says when it is unpickled that something was called which the file names."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


def traps(path):
    """Every object of the file would run code: a function, a layer that evaluates text, one that reads other files."""
    from ultralytics.nn.autobackend import AutoBackend
    from ultralytics.nn.tasks import DetectionModel

    evaluated = {"activation": f"print({CALLED!r})", "nc": 1, "backbone": [[-1, 1, "Conv", [8]]], "head": []}
    torch.save(Trap(print, CALLED), path.with_name("second.pt"))
    calls = Trap(print, CALLED), Trap(DetectionModel, evaluated), Trap(AutoBackend, str(path.with_name("second.pt")))
    torch.save({"epoch": 1, "others": calls, "state_dict": {}}, path)


CALLED = "code of the file has run"


def damaged(path):
    torch.save(timm_weights("tf_efficientnet_b0").state_dict(), path)
    path.write_bytes(path.read_bytes()[:-100_000])


def with_nan(path):
    weights = timm_weights("tf_efficientnet_b0").state_dict()
    weights["bn1.bias"][0] = float("nan")
    torch.save(weights, path)


def stock_network(path):
    from ultralytics import YOLO

    YOLO("yolov5n.yaml").save(path)


@pytest.mark.parametrize(
    ("make", "name", "message"),
    [
        (lambda p: torch.save(timm_weights("tf_efficientnet_b3").state_dict(), p), "w.pth", "conv_stem.weight is [40,"),
        (
            lambda p: torch.save(timm_weights("tf_efficientnet_b1").state_dict(), p),
            "w.pth",
            "are not of this model (bl",
        ),
        (lambda p: torch.save(timm_weights("convnext_atto").state_dict(), p), "w.pth", "are not of this model (stem.0"),
        (
            lambda p: torch.save(timm_weights("tf_efficientnet_b0", in_chans=4).state_dict(), p),
            "w.pth",
            "it is for images of 4 channels, which cannot be adapted to 3",
        ),
        (lambda p: torch.save({"state_dict": {}, "epoch": 3}, p), "w.pth", "holds no tensors by name"),
        (traps, "w.pth", "holds no tensors by name" if IS_COMPLETE else "reads files that hold more"),
        (traps, "w.pt", "holds no tensors by name" if IS_COMPLETE else "reads files that hold more"),
        (lambda p: p.write_text("<html>"), "w.pth", "no file with weights, or damaged"),
        (lambda p: p.write_text("<html>"), "w.safetensors", "no file with weights, or damaged"),
        (damaged, "w.pth", "damaged"),
        (damaged, "w.pt", "damaged"),
        (with_nan, "w.pth", "not finite, first in bn1.bias"),
        (
            stock_network,
            "w.pt",
            "DetectionModel without a backbone or a BiFPN" if IS_COMPLETE else "reads files that hold more",
        ),
        (lambda p: None, "w.pth", "there is no file"),
    ],
)
def test_wrong_file(tmp_path, capfd, make, name, message):
    path = tmp_path / name
    make(path)
    backbone = EfficientNetBackbone("b0", pretrained=str(path))
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    with pytest.raises(WeightsError) as error:
        backbone.load_pretrained()
    assert message in str(error.value) and str(path) in str(error.value)
    assert all(torch.equal(value, before[key]) for key, value in backbone.state_dict().items())
    assert CALLED not in capfd.readouterr().out


@pytest.mark.skipif(not IS_COMPLETE, reason="torch before 2.6")
def test_checkpoint_of_another_variant(checkpoint):
    _, path = checkpoint(("EfficientNetBackbone", ["b1"]))
    with pytest.raises(WeightsError, match="does not fit tf_efficientnet_b0: it holds a tf_efficientnet_b1"):
        EfficientNetBackbone("b0", pretrained=str(path)).load_pretrained()


@pytest.mark.skipif(not IS_COMPLETE, reason="torch before 2.6")
def test_training_checkpoint_with_objects_of_its_framework(tmp_path):
    import argparse

    import numpy as np

    content = {"state_dict": timm_weights("tf_efficientnet_b0").state_dict(), "args": argparse.Namespace(lr=0.1)}
    torch.save({**content, "metric": np.float64(0.5), "hook": Trap(print, CALLED)}, tmp_path / "last.pth.tar")
    assert EfficientNetBackbone("b0", pretrained=str(tmp_path / "last.pth.tar")).load_pretrained().is_complete


def test_none_are_wanted():
    backbone = EfficientNetBackbone("b0", pretrained=False)
    assert backbone.load_pretrained().source == backbone.weights_from == "random weights (pretrained: false)"


def test_auto_goes_on_without_a_network_and_true_does_not(run_python, tmp_path):
    code = (
        "from effyolo_ultra.nn import EfficientNetBackbone\n"
        "report = EfficientNetBackbone('b0').load_pretrained()\n"
        "assert report.source == 'random weights' and not report.is_complete\n"
        "assert 'tf_efficientnet_b0' in report.details and 'pretrained: <path>' in report.details\n"
        "EfficientNetBackbone('b0', pretrained=True).load_pretrained()\n"
    )
    done = run_python(code, HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path))
    assert done.stderr.splitlines()[0].startswith("Traceback") and "WeightsUnreachableError" in done.stderr
