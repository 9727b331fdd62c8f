"""Where weights are from: what a row asks for, and what a checkpoint of a real training says."""

import pytest
import torch
from small_data import write_small_data
from ultralytics import YOLO

from effyolo_ultra import model_info
from effyolo_ultra.origin import weights_of

ROWS = """
nc: 2
backbone:
  - [-1, 1, EfficientNetBackbone, [b0, {{levels: [3, 4]{option}}}]]
head:
  - [0, 1, BiFPN, [8, {{pretrained: neck.pth}}]]
  - [1, 1, PyramidLevel, [3]]
  - [1, 1, PyramidLevel, [4]]
  - [[2, 3], 1, Detect, [nc]]
"""


@pytest.mark.parametrize(
    ("option", "source", "here"),
    [
        ("", "timm's tf_efficientnet_b0.ns_jft_in1k, else random weights", False),
        (", pretrained: true", "timm's tf_efficientnet_b0.ns_jft_in1k", False),
        (", pretrained: aa_in1k", "timm's tf_efficientnet_b0.aa_in1k", False),
        (", pretrained: false", "random weights (pretrained: false)", None),
        (", pretrained: gone.pth", "gone.pth", False),
        (", pretrained: neck.pth", "neck.pth", True),
    ],
)
def test_weights_that_a_row_asks_for(model_yaml, tmp_path, option, source, here):
    (tmp_path / "neck.pth").touch()
    backbone, neck, rest = weights_of(YOLO(model_yaml(ROWS.format(option=option))).model, trained=False)
    assert (backbone.layer, backbone.module, backbone.here) == (0, "EfficientNetBackbone", here)
    assert backbone.source.endswith(source) and neck.source == str(tmp_path / "neck.pth") and neck.here
    assert (rest.layer, rest.source) == (None, "random weights")


def test_stock_network():
    assert [item.module for item in model_info("yolov8n.yaml", 64).weights] == ["all layers"]


@pytest.mark.slow
def test_checkpoint_of_a_training(tmp_path, model_yaml):
    write_small_data(tmp_path, train=4, val=2, imgsz=64)
    model = YOLO(model_yaml(ROWS.format(option=", pretrained: false").replace(", {pretrained: neck.pth}", "")))
    data = str(tmp_path / "small.yaml")
    quick = {"imgsz": 64, "batch": 4, "workers": 0, "device": "cpu", "plots": False, "verbose": False}
    model.train(data=data, epochs=2, project=str(tmp_path / "runs"), name="a", **quick)
    for name in ("best", "last"):
        info = model_info(tmp_path / "runs" / "a" / "weights" / f"{name}.pt", 64)
        assert info.network.name == f"{name}.pt"
        assert [item.source for item in info.weights] == ["random weights (pretrained: false)"] * 2
        found = info.checkpoint
        assert found.training["data"] == data and found.training["epochs"] == 2 and found.epoch in (1, 2)
        assert found.ultralytics and found.date and found.fitness >= 0 and "metrics/mAP50(B)" in found.metrics


def test_file_of_weights_that_says_nothing(tmp_path, model_yaml):
    path = tmp_path / "plain.pt"
    content = {"model": YOLO(model_yaml(ROWS.format(option=""))).model}
    torch.save(content, path)
    info = model_info(path, 64)
    assert info.checkpoint is None and {item.source for item in info.weights} == {"not known"}
    metrics = {"fitness": float("nan"), "val/box_loss": float("inf"), "metrics/mAP50(B)": 0.5}  # no JSON has the former
    torch.save({**content, "train_args": {"epochs": 1}, "train_metrics": metrics}, path)
    info = model_info(path, 64)
    assert info.checkpoint.fitness is None and info.checkpoint.metrics == {"metrics/mAP50(B)": 0.5}
