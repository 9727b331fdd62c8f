"""The checks of docs/ecosystem.md, in a process of their own: run what the page says, look at what came of it.

python -m benchmarks.ecosystem_checks FOLDER tensorboard sahi    prints a line of JSON for each

FOLDER is one that `benchmarks.ecosystem.prepare` has made. The commands are those of the page.
"""

from __future__ import annotations

import csv
import json
import os
import re
import runpy
import shlex
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from ultralytics import YOLO, solutions
from ultralytics.cfg import entrypoint
from ultralytics.trackers.track import TRACKER_MAP
from ultralytics.utils.metrics import bbox_ioa

from benchmarks.child import report
from benchmarks.page import ROOT

MAP = "metrics/mAP50(B)"
IMGSZ = 64


def blocks(name: str) -> list[tuple[str, str]]:
    """Return what the page says for an integration: language and text of each block."""
    page = (ROOT / "docs" / "ecosystem.md").read_text(encoding="utf-8")
    return re.findall(rf"<!-- (?:run|commands): ecosystem {name} -->\n```(\w+)\n(.*?)```", page, re.DOTALL)


def run(name: str) -> dict:
    """Run the page's commands in this process, and return the variables of its Python code."""
    variables: dict = {}
    for language, text in blocks(name):
        if language == "python":
            Path(f"{name}.py").write_text(text, encoding="utf-8")
            variables |= runpy.run_path(f"{name}.py")
            continue
        for line in text.replace("\\\n", "").replace("$PWD", os.getcwd()).splitlines():
            words = shlex.split(line)
            while "=" in words[0]:
                variable, value = words.pop(0).split("=", 1)
                os.environ[variable] = value
            if words[0] == "yolo":
                entrypoint(" ".join(words))
            else:
                subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    return variables


def exported() -> str:
    """Return the ONNX file of the checkpoint."""
    if not Path("best.onnx").exists():
        entrypoint(f"yolo export model=best.pt format=onnx imgsz={IMGSZ} device=cpu")
    return "best.onnx"


def course(name: str) -> list[float]:
    """Return the mAP50 of each epoch of a training, from Ultralytics' own file."""
    with open(Path("runs", name, "results.csv"), encoding="utf-8", newline="") as file:
        return [float(row[MAP]) for row in csv.DictReader(file)]


def expect_values(given: list[float], name: str) -> str:
    """Check what a logger has for the epochs; one more value may follow, of the evaluation of best.pt."""
    expected = course(name)
    assert expected and np.allclose(given[: len(expected)], expected, atol=1e-4), (given, expected)
    return f"mAP50 of {len(expected)} epochs"


def expect_pictures(names: list[str], name: str) -> str:
    """Check that a logger has the curves, and those of the fusion weights where the network has any."""
    expected = ["results", *(["fusion_weights"] if Path("runs", name, "fusion_weights.png").is_file() else [])]
    assert all(any(given.startswith(stem) for given in names) for stem in expected), names
    return f"pictures {' and '.join(expected)}"


def tensorboard() -> str:
    """Graph and scalars."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run("tensorboard")
    events = EventAccumulator("runs/tensorboard").Reload()
    values = expect_values([event.value for event in events.Scalars(MAP)], "tensorboard")
    nodes = [node.name for node in events.Graph().node]
    layers = YOLO("best.pt").model.model
    assert all(any(f"{type(m).__name__}[{m.i}]" in node for node in nodes) for m in (layers[0], layers[-1]))
    return f"graph of {len(nodes)} nodes with the layers' names, {values}"


def wandb() -> str:
    """Metrics, pictures and best.pt of a run without a network."""
    run("wandb")
    [folder] = Path("runs/wandb/wandb").glob("offline-run-*")
    recorded = next(folder.glob("*.wandb")).read_bytes()
    # Protobuf records: a key, tag and length of its value, the value as JSON, twice; and the file of an artifact.
    values = [float(value) for value in re.findall(re.escape(MAP.encode()) + rb"\x82\x01.([-+.\de]+)", recorded)]
    assert b"\n\x07best.pt" in recorded
    pictures = [path.name for path in (folder / "files/media/images").iterdir()]
    return f"{expect_values(values[::2], 'wandb')}, {expect_pictures(pictures, 'wandb')}, best.pt"


def mlflow() -> str:
    """Metrics, pictures and a best.pt that loads, in MLflow's local store."""
    from mlflow import MlflowClient
    from mlflow.artifacts import download_artifacts

    run("mlflow")
    client = MlflowClient()
    [found] = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    assert found.info.status == "FINISHED"
    history = client.get_metric_history(found.info.run_id, MAP.replace("(", "").replace(")", ""))
    values = expect_values([metric.value for metric in history], "mlflow")
    pictures = expect_pictures([file.path for file in client.list_artifacts(found.info.run_id)], "mlflow")
    best = download_artifacts(run_id=found.info.run_id, artifact_path="weights/best.pt")
    assert YOLO(best).names == YOLO("best.pt").names
    return f"{values}, {pictures}, best.pt"


def comet() -> str:
    """Metrics and best.pt in the archive of an offline experiment."""
    run("comet")
    import comet_ml

    comet_ml.get_running_experiment().end()
    [archive] = Path("comet").glob("*.zip")
    with zipfile.ZipFile(archive) as file:
        messages = [json.loads(line)["payload"] for line in file.read("messages.json").decode().splitlines()]
    logged = [m["metric"]["metricValue"] for m in messages if m.get("metric", {}).get("metricName") == MAP]
    assert any(m.get("additional_params", {}).get("fileName") == "best.pt" for m in messages)
    return f"{expect_values(logged, 'comet')}, best.pt"


def dvc() -> str:
    """Metrics, pictures and best.pt, in a repository of git and DVC."""
    run("dvc")
    with open(f"dvclive/plots/metrics/{MAP}.tsv", encoding="utf-8") as file:
        values = expect_values([float(line.split()[-1]) for line in [*file][1:]], "dvc")
    pictures = [path.name for path in Path("dvclive/plots/images").rglob("*.*")]
    assert list(Path("dvclive/artifacts").glob("best.pt*"))
    return f"{values}, {expect_pictures(pictures, 'dvc')}, best.pt"


def clearml() -> str:
    """Metrics in the folder of an offline task."""
    run("clearml")
    [file] = Path("caches").rglob("metrics.jsonl")
    events = [event for line in file.read_text(encoding="utf-8").splitlines() for event in json.loads(line)]
    values = [event["value"] for event in events if event["variant"] == MAP and event["iter"] >= 0]
    return expect_values(values, "clearml")


def track() -> str:
    """Every tracker keeps the identity of a shape, also one that compares features, and from an ONNX file."""
    run("track")
    for tracker in ("bytetrack", "botsort"):
        labels = [path.read_text(encoding="utf-8").split("\n") for path in Path("runs", tracker).rglob("labels/*.txt")]
        assert sum(any(line.split()[-1:] == ["1"] for line in lines) for lines in labels) >= 6, labels
    text = (Path(solutions.__file__).parents[1] / "cfg/trackers/botsort.yaml").read_text(encoding="utf-8")
    Path("reid.yaml").write_text(text.replace("with_reid: False", "with_reid: True"), encoding="utf-8")
    cases = [("best.pt", f"{tracker}.yaml") for tracker in (*TRACKER_MAP, "reid")] + [(exported(), "bytetrack.yaml")]
    for file, tracker in cases:
        options = {"tracker": tracker, "imgsz": IMGSZ, "device": "cpu", "verbose": False, "stream": True}
        results = YOLO(file, task="detect").track("video.mp4", **options)
        found = [r.boxes.id.int().tolist() for r in results if r.boxes.id is not None]
        # A tracker may wait for some frames until it believes in a new shape.
        assert sum(1 in frame for frame in found) >= 5, (file, tracker, found)
    return f"a shape keeps its identity: {len(TRACKER_MAP)} trackers, botsort with `with_reid` too; .pt and .onnx"


def count() -> str:
    """The films are written, and shapes that move are counted."""
    run("count")
    for name in ("count", "heatmap"):
        [film] = Path("runs/solutions").rglob(f"{name}.avi")
        given, drawn = (cv2.VideoCapture(str(f)).get(cv2.CAP_PROP_FRAME_COUNT) for f in ("video.mp4", film))
        assert given == drawn > 0
    region = [(0, 0), (320, 0), (320, 320), (0, 320)]
    options = {"region": region, "imgsz": IMGSZ, "tracker": "bytetrack.yaml", "device": "cpu", "verbose": False}
    counter, video = solutions.ObjectCounter(model="best.pt", **options), cv2.VideoCapture("video.mp4")
    while (frame := video.read()[1]) is not None:
        result = counter(frame)
    counted = result.in_count + result.out_count
    assert counted >= 1
    return f"films of count and heatmap, {counted} shapes counted"


def benchmark() -> str:
    """The ONNX file has the mAP of the checkpoint."""
    run("benchmark")
    rows = Path("benchmarks.log").read_text(encoding="utf-8").splitlines()
    [row] = [row for row in rows if "ONNX" in row and "✅" in row]
    metric = float(row.replace("|", " ").split()[4])  # after number, format, status and size
    options = {"data": "pictures.yaml", "imgsz": IMGSZ, "device": "cpu", "batch": 1, "conf": 0.001, "rect": False}
    expected = YOLO("best.pt").val(**options, plots=False, workers=0, verbose=False).box.map
    assert expected > 0.1 and abs(metric - expected) < 0.01, (metric, expected)
    return "`format=onnx`: the mAP50-95 of the checkpoint"


def supervision() -> str:
    """Boxes and classes are those of the results, from both files."""
    exported()
    found = run("supervision")["found"]
    result = YOLO("best.pt").predict("picture.jpg", imgsz=IMGSZ, device="cpu", verbose=False)[0]
    assert len(found) == 2 and len(result.boxes)
    for detections, drawn in found:
        assert np.allclose(detections.xyxy, result.boxes.xyxy, atol=0.5)
        assert list(detections["class_name"]) == [result.names[int(c)] for c in result.boxes.cls]
        assert (drawn != cv2.imread("picture.jpg")).any()
    return f"{len(result.boxes)} boxes with their classes, drawn; .pt and .onnx"


def sahi() -> str:
    """The four slices of a large picture give the boxes of the four pictures that it is put together from."""
    exported()
    found = run("sahi")["found"]
    large = cv2.imread("large.png")
    half = len(large) // 2
    expected = []
    for y, x in ((0, 0), (0, half), (half, 0), (half, half)):
        tile = np.ascontiguousarray(large[y : y + half, x : x + half])
        options = {"imgsz": IMGSZ, "conf": 0.3, "device": "cpu", "verbose": False}  # SAHI keeps boxes from 0.3 on
        result = YOLO("best.pt").predict(tile, **options)[0]
        expected += [
            (int(c), box + np.array([x, y, x, y])) for c, box in zip(result.boxes.cls, result.boxes.xyxy.numpy())
        ]
    assert len(found) == 2 and len(expected) >= 4, expected
    for each in found:
        given = [(p.category.id, np.array(p.bbox.to_xyxy())) for p in each.object_prediction_list]
        for category, box in expected:  # SAHI puts one box around some that overlap and are of one class
            same = np.array([other for category_, other in given if category_ == category])
            assert len(same) and bbox_ioa(same, box[None]).max() > 0.8, (category, box, given)
    return f"{len(expected)} boxes in 4 slices; .pt and .onnx"


CHECKS: dict[str, Callable[[], str]] = {
    check.__name__: check
    for check in (tensorboard, wandb, mlflow, comet, dvc, clearml, track, count, benchmark, supervision, sahi)
}


if __name__ == "__main__":
    os.chdir(sys.argv[1])
    for name in sys.argv[2:]:
        try:
            outcome = {"seen": CHECKS[name]()}
        except BaseException as error:  # whatever ends a check is the result
            outcome = {"error": f"{type(error).__name__}: {error}".strip()}
        report({name: outcome})
