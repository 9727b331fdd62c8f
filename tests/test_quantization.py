"""int8 by the stock command's exports and trainings, in the runtime of each format."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from onnx import load
from small_data import write_small_data
from ultralytics import YOLO
from ultralytics.utils import torch_utils

from effyolo_ultra import describe
from effyolo_ultra.cli import main

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("int8")]

INT8 = {"quantize": 8} if hasattr(torch_utils, "prepare_qat") else {"int8": True}  # as the installed Ultralytics has it

# Few layers, because random weights make much of a rounding error from layer to layer, and trained ones do not.
SMALL = """
nc: 8
backbone:
  - [-1, 1, EfficientNetBackbone, [b0, {levels: [2, 3]}]] # 0
head:
  - [0, 1, BiFPN, [32]] # 1
  - [1, 1, PyramidLevel, [2]] # 2
  - [1, 1, PyramidLevel, [3]] # 3
  - [[2, 3], 1, Detect, [nc]]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("int8")
    write_small_data(folder, train=16)
    return folder


@pytest.fixture(scope="module")
def images(folder):
    files = sorted((folder / "small" / "images" / "train").iterdir())
    pictures = np.stack([cv2.imread(str(file))[..., ::-1] for file in files])
    return torch.from_numpy(pictures.transpose(0, 3, 1, 2) / np.float32(255)).float()


@pytest.fixture(scope="module")
def checkpoint(folder, images):
    """A network whose output depends on the image as that of a trained one does, without the time of a training."""
    torch.manual_seed(0)
    (folder / "model.yaml").write_text(SMALL, encoding="utf-8")
    model = YOLO(folder / "model.yaml")
    network = model.model
    norms = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None  # the mean over all batches
    with torch.no_grad():
        network.train()(images)
        network.eval()
    for norm in norms:
        norm.momentum = 0.03
    head = network.model[-1]
    for branch in (*head.cv2, *head.cv3):
        branch[-1].weight.data.normal_(0, 0.3)
        branch[-1].bias.data.zero_()
    model.save(folder / "model.pt")
    return folder / "model.pt"


def outputs(model, images):
    """Boxes (x, y, w, h) in pixels and class scores of pictures, (N, 4 + classes, anchors)."""
    if isinstance(model, torch.nn.Module):
        with torch.no_grad():
            return np.concatenate([model.eval()(image[None])[0].numpy() for image in images])
    if str(model).endswith(".onnx"):
        import onnxruntime

        session = onnxruntime.InferenceSession(str(model))
        return np.concatenate([session.run(None, {"images": image[None].numpy()})[0] for image in images])
    import openvino

    compiled = openvino.Core().compile_model(next(model.glob("*.xml")), "CPU")
    return np.concatenate([compiled([image[None].numpy()])[0] for image in images])


def agreement(given, expected):
    """Correlation of the class scores."""
    assert given.shape == expected.shape
    return np.corrcoef(given[:, 4:].ravel(), expected[:, 4:].ravel())[0, 1]


@pytest.mark.parametrize(("format_", "file"), [("openvino", "model_int8_openvino_model"), ("onnx", "model_int8.onnx")])
def test_int8_export_gives_nearly_what_torch_does(folder, checkpoint, images, format_, file):
    model = YOLO(checkpoint)
    expected = outputs(model.model, images)
    model.export(format=format_, imgsz=64, device="cpu", data=str(folder / "small.yaml"), **INT8)
    given = outputs(folder / file, images)
    assert agreement(given, expected) > 0.7
    others = agreement(given, np.roll(expected, 1, axis=0))  # what it gives is of this image and not of any
    assert others < agreement(given, expected) - 0.2


@pytest.mark.skipif("quantize" not in INT8, reason="this Ultralytics has no training for int8")
def test_training_for_int8_is_saved_resumed_and_exported(folder, checkpoint, images, lines, capsys):
    class Stopped(Exception):
        pass

    def stop(trainer):
        raise Stopped

    model = YOLO(checkpoint)
    model.add_callback("on_model_save", stop)
    options = {"imgsz": 64, "batch": 8, "workers": 0, "device": "cpu", "plots": False, "project": str(folder / "runs")}
    with pytest.raises(Stopped):
        model.train(data=str(folder / "small.yaml"), epochs=2, name="int8", quantize=8, **options)
    weights = folder / "runs" / "int8" / "weights"
    YOLO(weights / "last.pt").train(resume=True)
    assert any(line.startswith("Resuming training") for line in lines)
    trained = YOLO(weights / "best.pt")
    assert torch_utils.is_qat(trained.model)
    capsys.readouterr()
    assert main(["info", str(weights / "best.pt"), "--json"]) == 0  # modelopt prints how much it has inserted
    assert json.loads(capsys.readouterr().out)["parameters"] == describe(checkpoint).parameters
    onnx = trained.export(format="onnx", imgsz=64, device="cpu")
    nodes = [node.op_type for node in load(onnx).graph.node]
    assert nodes.count("QuantizeLinear") > nodes.count("Conv")
    given = outputs(Path(onnx), images)
    assert agreement(given, outputs(trained.model, images)) > 0.95
