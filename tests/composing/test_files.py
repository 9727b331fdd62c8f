"""Writing a composed YAML: only what Ultralytics builds, under a name that it reads as it is meant."""

import re

import pytest
from ultralytics import RTDETR, YOLO

from effyolo_ultra import compose, write_model
from effyolo_ultra.composing.files import try_model
from effyolo_ultra.errors import ModelYAMLError


@pytest.fixture(scope="module")
def growing():
    return compose(head="yolov8")


@pytest.fixture(scope="module")
def fixed():
    return compose(backbone="b0")


def test_written_file_is_used_by_the_stock_class(tmp_path, growing):
    path = write_model(growing, tmp_path / "yolov8-mine.yaml")
    assert path.read_text(encoding="utf-8") == growing
    model = YOLO(str(tmp_path / "yolov8s-mine.yaml"))
    assert model.model.yaml["scale"] == "s" and model.task == "detect"


def test_rtdetr_is_used_by_its_class(tmp_path):
    path = write_model(compose(backbone="mobilenetv3_small_050", head="rtdetr"), tmp_path / "rtdetr-mine.yaml")
    assert RTDETR(str(path)).model.yaml["nc"] == 80


def test_no_file_is_overwritten_without_being_told(tmp_path, fixed):
    path = tmp_path / "mine.yaml"
    path.write_text("mine", encoding="utf-8")
    with pytest.raises(FileExistsError, match="there already"):
        write_model(fixed, path)
    assert path.read_text(encoding="utf-8") == "mine"
    assert write_model(fixed, path, overwrite=True).read_text(encoding="utf-8") == fixed


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("model.txt", "ends in .yaml"),
        ("rtdetr-mine.yaml", "without the head of RT-DETR"),
        ("yoloe-mine.yaml", "'yoloe'"),
        ("yolov5-relu.yaml", "without the u"),
        ("yolov5s-mine.yaml", "'yolov5-mine.yaml'"),
    ],
)
def test_name_that_ultralytics_would_misread(tmp_path, fixed, name, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        write_model(fixed, tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_file_that_grows_needs_a_name_for_the_letter(tmp_path, growing):
    with pytest.raises(ValueError, match="begins with yolov5"):
        write_model(growing, tmp_path / "mine.yaml")


def test_what_cannot_be_built_or_run_is_not_written(tmp_path, fixed):
    with pytest.raises(ModelYAMLError, match=r"mine.yaml, row 1.*\[7\]"):
        write_model(fixed.replace("PyramidLevel, [3]", "PyramidLevel, [7]"), tmp_path / "mine.yaml")
    plain = compose(backbone="b0", neck="pan")  # whose rows say nothing of sizes until they are run
    with pytest.raises(ModelYAMLError, match=r"row 6.*Concat.*\n.*this layer cannot take"):
        write_model(plain.replace("[None, 2, nearest]", "[None, 4, nearest]"), tmp_path / "mine.yaml")
    assert not list(tmp_path.iterdir())


def test_trying_changes_no_random_state(fixed):
    import torch

    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    try_model(fixed, "mine.yaml")
    assert torch.equal(torch.rand(3), expected)
