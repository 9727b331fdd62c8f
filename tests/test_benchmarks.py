"""The benchmark of speed, end to end at a size that takes seconds; what it measures is looked at, not judged."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from ultralytics import YOLO

from benchmarks import convergence, convergence_page, neck_study, pretraining
from benchmarks.speed import bars, cuda, report
from benchmarks.speed.models import make_model
from benchmarks.speed.settings import Settings
from effyolo_ultra.network import describe
from effyolo_ultra.shapes import CLASSES

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
    page, readme = ((ROOT / name).read_text(encoding="utf-8") for name in ("docs/training.md", "README.md"))
    for name, text in convergence_page.tables(convergence.read(convergence.RESULTS)).items():
        assert f"--write -->\n{text}<!-- end of {name} -->" in (readme if name == convergence_page.SHORT else page)
    text = pretraining.table(convergence.read(pretraining.RESULTS))
    assert f"--write -->\n{text}<!-- end of pretraining table -->" in page


def test_networks_of_the_study_of_necks_differ_in_the_neck_alone():
    files = {path.stem: path.read_text(encoding="utf-8") for path in neck_study.FOLDER.glob("*.yaml")}
    assert files == neck_study.networks()
    once = [describe(neck_study.FOLDER / f"neck-{kind}-1.yaml") for kind in neck_study.KINDS]
    for part in ("backbone", "head"):
        assert len({(layer.parameters, layer.gflops) for network in once for layer in network.of(part)}) == 1
    assert [network.neck for network in once] == ["PAN", "weighted PAN", *["BiFPN 64 x 1"] * 3]
    blocks = [
        sum(layer.module == "C3" for layer in describe(neck_study.FOLDER / f"neck-pan-{n}.yaml").layers) for n in (1, 3)
    ]
    assert blocks == [4, 12]


def test_pretrained_backbone_gets_into_a_detector_and_stays_frozen(tmp_path, monkeypatch):
    monkeypatch.setattr(pretraining, "VAL", 4)
    weights = tmp_path / "b0.safetensors"
    pretraining.pretrain(weights, tmp_path, pictures=12, epochs=1)
    assert {path.name for path in (tmp_path / "crops" / "train").iterdir()} == set(CLASSES)
    run = {"variant": "pretrained, frozen", "seed": 0, "pictures": 4, "epochs": 1, "imgsz": 64}
    assert 0 <= pretraining.detect(run, weights, tmp_path)["map"] <= 1
    backbone = YOLO(tmp_path / "detect" / "weights" / "last.pt").model.model[0]
    assert backbone.weights_from == str(weights)
    state = backbone.body.state_dict()
    assert all(torch.equal(tensor.half().float(), state[name].float()) for name, tensor in load_file(weights).items())


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
