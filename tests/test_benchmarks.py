"""The benchmark of speed, end to end at a size that takes seconds; what it measures is looked at, not judged."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from ultralytics import YOLO

from benchmarks import convergence, convergence_page
from benchmarks.speed import bars, cuda, report
from benchmarks.speed.models import make_model
from benchmarks.speed.settings import Settings

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
def test_command(tmp_path):
    models = ["yolov5n-effdet.yaml", "tf_efficientdet_d0"]
    command = [sys.executable, "-m", "benchmarks.speed", "--models", *models, "--runtimes", "torch", "onnxruntime"]
    command += ["--only", "latency", "throughput", "memory", "training", "--imgsz", "128", "--threads", "1"]
    command += ["--repeats", "2", "--batch-repeats", "1", "--training-batch", "2", "--training-repeats", "1"]
    command += ["--json", str(tmp_path / "speed.json"), "--plot", str(tmp_path / "speed.png")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "speed.json").read_text(encoding="utf-8"))
    assert results["settings"]["imgsz"] == 128 and results["machine"]["versions"]["torch"]
    for name in models:
        assert f"| `{name.removesuffix('.yaml')}` |" in done.stdout
        values = list(results["models"][name].values())[1:]
        values += [results[part][name] for part in ("memory", "training", "training memory")]
        for runtime in ("torch", "onnxruntime"):
            values += [results[part][runtime][name] for part in ("latency", "throughput")]
        assert len(values) == 9 and min(values) > 0
    held = [(bar["bar"], bar["to"]) for bar in results["bars"]]
    assert held == [
        ("latency torch", bars.PEER),
        ("latency onnxruntime", bars.PEER),
        ("latency torch", bars.BACKBONE),
        ("latency onnxruntime", bars.BACKBONE),
        ("training", bars.PEER),
    ]
    for bar in results["bars"]:
        assert bar["measured"] == pytest.approx(bar["ms"] / bar["to_ms"])
        assert bar["reached"] == (bar["measured"] <= bar["limit"])
    assert (tmp_path / "speed.png").read_bytes().startswith(b"\x89PNG")


def test_pages_are_what_the_script_makes_of_the_results():
    for file, where in (("speed_gpu.json", "gpu.md"), ("speed.json", "speed.md")):
        results = json.loads((ROOT / "docs" / file).read_text(encoding="utf-8"))
        page = (ROOT / "docs" / where).read_text(encoding="utf-8")
        for name, text in report.tables(results).items():
            assert f"--write -->\n{text}<!-- end of {name} -->" in page
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"--write -->\n{report.short_table(results)}<!-- end of speed table -->" in readme


def test_page_of_trainings_is_what_the_script_makes_of_the_results():
    page = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    for name, text in convergence_page.tables(convergence.read(convergence.RESULTS)).items():
        assert f"--write -->\n{text}<!-- end of {name} -->" in page


def test_changes_of_a_training(tmp_path):
    of_rows, arguments = convergence.split("lr0=0.01,BiFPN.act_first=false,LightDetect=Detect,init=torch")
    assert arguments == {"lr0": 0.01, "init": "torch"}
    network = YOLO(str(convergence.changed("yolov5n-effdet.yaml", of_rows, tmp_path))).model
    assert not any(node.act_first for cell in network.model[1].cells for node in cell.nodes)
    assert type(network.model[-1].cv2[0][0]).__name__ == "Conv" and network.model[0].out_channels == (40, 112, 320)


def test_runtimes_of_a_gpu_on_a_cpu(tmp_path):
    model = make_model("yolo11n.yaml", 64, tmp_path)
    for options in ({}, {"amp": True, "channels_last": True}):
        call = cuda.variant(**options, device="cpu")(model, 2, Settings(imgsz=64))
        assert call() is None
