"""The lowest Ultralytics and timm that setup.cfg allows, with the Python and torch in use."""

import subprocess
import sys

from benchmarks.versions import LOWEST

BUILD = """
import json, sys, timm, torch, ultralytics
from ultralytics import YOLO

def stock():
    torch.manual_seed(0)
    return YOLO("yolov5n.yaml").model.state_dict()

without = stock()
import effyolo_ultra
effyolo_ultra.register()
with_us = stock()
same = without.keys() == with_us.keys() and all(torch.equal(v, with_us[k]) for k, v in without.items())
sizes = {}
for name in ("yolov5-effb0-bifpn.yaml", "yolo11n-effnet-bifpn-seg.yaml", "yolov5n-effdet-pose.yaml"):
    model = YOLO(name)
    with torch.no_grad():
        sizes[model.task] = list(model.model.eval()(torch.rand(1, 3, 64, 96))[0].shape)
error = ""
try:
    YOLO("yolo26n-effnet-bifpn-obb.yaml")
except effyolo_ultra.errors.ModelYAMLError as e:
    error = str(e)
versions = {"ultralytics": ultralytics.__version__, "timm": timm.__version__}
print(json.dumps({"versions": versions, "same": same, "sizes": sizes, "error": error}))
"""


def test_lowest_versions(run_json, tmp_path):
    pinned = [f"{name}=={version}" for name, version in LOWEST.items()]
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", tmp_path / "old", *pinned]
    subprocess.run(pip, check=True)
    found = run_json(BUILD, PYTHONPATH=str(tmp_path / "old"), EFFYOLO_ULTRA_NO_AUTOLOAD="1")
    assert found["versions"] == LOWEST
    assert found["same"]
    # 126 anchors, with 4 numbers of a box and 80 classes, 32 of a mask, or a class and 17 keypoints.
    assert found["sizes"] == {"detect": [1, 84, 126], "segment": [1, 116, 126], "pose": [1, 135, 126]}
    needs = f"needs ultralytics >= 8.4.0 for 'end2end'; installed is {LOWEST['ultralytics']}."
    assert found["error"] == f"yolo26n-effnet-bifpn-obb.yaml {needs}"
