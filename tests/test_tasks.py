"""Every task, and every family of heads, through training, validation, prediction and export to ONNX.

Detection with the heads of YOLOv5 is in test_cli.py.
"""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from ultralytics import RTDETR, YOLO

from effyolo_ultra.shapes import make_shapes
from effyolo_ultra.zoo import folder

pytestmark = pytest.mark.slow

RUNS = [
    ("segment", "yolo11n-effnet-bifpn-seg.yaml", "shapes-seg.yaml"),
    ("pose", "yolov8n-effnet-bifpn-pose.yaml", "shapes-pose.yaml"),
    ("obb", "yolo26n-effnet-bifpn-obb.yaml", "shapes-obb.yaml"),
    ("classify", "yolov5n-effnet-cls.yaml", None),
    ("detect", "rtdetr-effb0-bifpn.yaml", "shapes.yaml"),
]
QUICK = {"imgsz": 64, "batch": 4, "workers": 0, "device": "cpu", "plots": False, "verbose": False}


def write_pictures(path):
    """Two classes of pictures, one brighter than the other, as folders of classes."""
    generator = np.random.default_rng(0)
    for split in ("train", "val"):
        for name, brightness in (("dark", 60), ("bright", 200)):
            (path / split / name).mkdir(parents=True)
            for i in range(2):
                picture = generator.integers(brightness - 50, brightness + 50, (64, 64, 3), dtype=np.uint8)
                cv2.imwrite(str(path / split / name / f"{i}.png"), picture)
    return path


def write_data(path, task, name):
    """Draw the pictures of a dataset of this package, only fewer and smaller."""
    if task == "classify":
        return write_pictures(path / "pictures"), path / "pictures" / "val" / "dark" / "0.png"
    data = yaml.safe_load((folder("datasets") / name).read_text(encoding="utf-8"))
    data["path"] = str(make_shapes(path / "pictures", train=4, val=2, imgsz=64, task=task))
    del data["download"]
    (path / "data.yaml").write_text(json.dumps(data), encoding="utf-8")
    return path / "data.yaml", next((path / "pictures" / "images" / "val").iterdir())


def confidences(result, task):
    """Return the confidences of a prediction."""
    if task == "classify":
        return result.probs.data.numpy()
    return (result.obb if task == "obb" else result.boxes).conf.numpy()


@pytest.mark.parametrize(("task", "name", "data"), RUNS)
def test_trains_validates_predicts_and_exports(tmp_path, monkeypatch, task, name, data):
    monkeypatch.chdir(tmp_path)
    data, picture = write_data(tmp_path, task, data)
    cls = RTDETR if task == "detect" else YOLO
    model = cls(name)
    assert model.task == task
    model.train(data=str(data), epochs=1, project=str(tmp_path), name="run", pretrained=False, **QUICK)
    best = tmp_path / "run" / "weights" / "best.pt"
    trained = cls(str(best))
    metrics = trained.val(data=str(data), project=str(tmp_path), name="val", **QUICK)
    assert all(np.isfinite(value) for value in metrics.results_dict.values())
    arguments = {"imgsz": 64, "device": "cpu", "verbose": False, "conf": 1e-6, "max_det": 50, "project": str(tmp_path)}
    expected = confidences(trained.predict(str(picture), **arguments)[0], task)
    file = trained.export(format="onnx", imgsz=64, device="cpu", simplify=False)
    exported = YOLO(file, task=task) if cls is YOLO else RTDETR(file)
    output = confidences(exported.predict(str(picture), **arguments)[0], task)
    assert Path(file).suffix == ".onnx" and len(expected) > 0
    # The best one: below it, boxes that are nearly equal in confidence change places.
    np.testing.assert_allclose(output.max(), expected.max(), rtol=1e-2, atol=1e-5)
