"""A network layer by layer, against counts made by hand and by torch."""

import pytest
import torch
from ultralytics import RTDETR, YOLO

from effyolo_ultra import describe
from effyolo_ultra.errors import UnknownNameError, WeightsError
from effyolo_ultra.network import Shape

ROWS = """
nc: 3
backbone:
  - [-1, 1, Conv, [8, 3, 4]]
  - [-1, 1, Conv, [16, 3, 2]] # 1, stride 8
  - [-1, 1, Conv, [16, 3, 2]] # 2, stride 16
head:
  - [[1, 2], 2, BiFPN, [16]] # 3
  - [3, 1, PyramidLevel, [3]] # 4
  - [3, 1, PyramidLevel, [4]]
  - [[4, -1], 1, Detect, [nc]]
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("network") / "small.yaml"
    path.write_text(ROWS, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def network(file):
    return describe(file, imgsz=128)


def test_rows_are_as_written(network):
    assert [layer.module for layer in network.layers] == [*["Conv"] * 3, "BiFPN", *["PyramidLevel"] * 2, "Detect"]
    assert [layer.part for layer in network.layers] == [*["backbone"] * 3, *["neck"] * 3, "head"]
    assert [layer.sources for layer in network.layers] == [(-1,), (0,), (1,), (1, 2), (3,), (3,), (4, 5)]
    assert network.layers[6].written_from == (4, -1)
    assert network.layers[3].written == "[[1, 2], 2, BiFPN, [16]]"
    assert (network.layers[3].repeats, network.layers[6].args) == (2, ("nc",))


def test_outputs_and_strides(network):
    assert network.layers[0].outputs == (Shape(8, 32, 32),)
    assert network.layers[3].outputs == (Shape(16, 16, 16), Shape(16, 8, 8))
    assert [layer.strides for layer in network.layers] == [(4,), (8,), (16,), (8, 16), (8,), (16,), ()]


def test_operations_are_two_for_a_multiply_add(network):
    by_hand = [3 * 8 * 9 * 32 * 32, 8 * 16 * 9 * 16 * 16, 16 * 16 * 9 * 8 * 8]
    assert [layer.gflops for layer in network.of("backbone")] == pytest.approx([2 * n / 1e9 for n in by_hand])
    assert network.layers[4].gflops == 0


def test_totals_and_names(network, file):
    model = YOLO(file).model
    assert network.parameters == sum(p.numel() for p in model.parameters())
    assert network.gflops == pytest.approx(sum(layer.gflops for layer in network.layers))
    assert (network.name, network.task, network.classes, network.imgsz) == ("small.yaml", "detect", 3, 128)
    assert (network.backbone, network.neck, network.head) == ("Conv", "BiFPN 16 x 2", "Detect")
    assert network.strides == (8, 16)


def test_model_in_memory_is_left_as_it_was(file, network):
    yolo = YOLO(file)
    yolo.model.train()
    before = {name: tensor.clone() for name, tensor in yolo.model.state_dict().items()}
    random = torch.get_rng_state()
    assert [layer.outputs for layer in describe(yolo, 128).layers] == [layer.outputs for layer in network.layers]
    assert yolo.model.training and torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(tensor, before[name]) for name, tensor in yolo.model.state_dict().items())


@pytest.mark.parametrize(
    ("name", "task", "backbone", "neck", "head", "strides"),
    [
        ("yolo26n-seg.yaml", "segment", "Conv", "PAN", "Segment26", (8, 16, 32)),
        ("yolov8n-pose.yaml", "pose", "C2f", "PAN", "Pose", (8, 16, 32)),
        ("yolo11n-obb.yaml", "obb", "Conv", "PAN", "OBB", (8, 16, 32)),
        ("yolov8n-cls.yaml", "classify", "C2f", "", "Classify", (32,)),
        ("yolov5n-effdet.yaml", "detect", "tf_efficientnet_b0", "BiFPN 64 x 3", "LightDetect", (8, 16, 32)),
    ],
)
def test_every_task(name, task, backbone, neck, head, strides):
    found = describe(name, 64)
    assert (found.task, found.backbone, found.neck, found.head) == (task, backbone, neck, head)
    assert found.strides == strides and found.gflops > 0


@pytest.mark.slow
def test_rtdetr():
    found = describe(RTDETR("rtdetr-l.yaml"), 640)
    # The paper has 110 GFLOPs and 32 M parameters (https://arxiv.org/abs/2304.08069, table 2).
    assert found.task == "detect" and found.gflops == pytest.approx(110, rel=0.02)
    assert round(found.parameters / 1e6) in (32, 33)


def test_size_that_is_no_multiple_of_a_stride():
    found = describe("yolov5n-effdet-p7.yaml", 320)
    assert found.layers[1].outputs[-1] == Shape(64, 3, 3) and found.strides == (8, 16, 32, 64, 128)


@pytest.mark.parametrize("imgsz", [0, -64, 64.0])
def test_size_that_no_image_has(file, imgsz):
    with pytest.raises((ValueError, TypeError), match="imgsz"):
        describe(file, imgsz)


def test_size_that_the_network_does_not_take():
    with pytest.raises(ValueError, match="does not take images of 100 x 100"):
        describe("yolov8n.yaml", 100)


def test_files_that_are_none(tmp_path):
    with pytest.raises(UnknownNameError, match=r"no file.*gone\.pt"):
        describe(tmp_path / "gone.pt")
    with pytest.raises(UnknownNameError, match="neither a model YAML"):
        describe("picture.png")
    (tmp_path / "broken.pt").write_bytes(b"nothing")
    with pytest.raises(WeightsError, match=r"broken\.pt' holds no network"):
        describe(tmp_path / "broken.pt")
    with pytest.raises(TypeError, match="expected a model YAML"):
        describe(3)
