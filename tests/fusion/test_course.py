"""The course of the fusion weights in trainings with the stock trainer and the stock command."""

import csv
import subprocess
import sysconfig
from pathlib import Path

import pytest
from small_data import write_small_data
from ultralytics import YOLO
from ultralytics.models.yolo.detect import DetectionTrainer

from effyolo_ultra._output import WholeFile
from effyolo_ultra.fusion import course, fusion_weights

MODEL = """
nc: 8
backbone:
  - [-1, 1, Conv, [8, 3, 4]]
  - [-1, 1, Conv, [16, 3, 2]]
  - [-1, 1, Conv, [16, 3, 2]]
head:
  - [[1, 2], 1, BiFPN, [16{options}]] # 3
  - [3, 1, PyramidLevel, [4]]
  - [-1, 1, nn.Upsample, [None, 2, nearest]]
  - [[-1, 1], 1, BiFPN_Concat, [1{options}]] # 6
  - [[6, 4], 1, Detect, [nc]]
"""
EDGES = [
    "layer3/cell0/P3_out<-P3_in",
    "layer3/cell0/P3_out<-P4_in",
    "layer3/cell0/P4_out<-P4_in",
    "layer3/cell0/P4_out<-P3_out",
    "layer6<-layer5",
    "layer6<-layer1",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("course")
    write_small_data(folder)
    (folder / "weighted.yaml").write_text(MODEL.replace("{options}", ""), encoding="utf-8")
    (folder / "sum.yaml").write_text(MODEL.replace("{options}", ", {fusion: sum}"), encoding="utf-8")
    return folder


def settings(folder, **arguments):
    given = {"data": str(folder / "small.yaml"), "epochs": 2, "imgsz": 64, "batch": 4, "device": "cpu", "workers": 0}
    return {**given, "project": str(folder / "runs"), "plots": False, "nbs": 4, "warmup_epochs": 0, **arguments}


def read(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


@pytest.mark.slow
def test_stock_command(folder):
    """In a process of its own, with pictures; then once more in the same folder, from the beginning."""
    command = str(Path(sysconfig.get_path("scripts")) / "yolo")
    run = folder / "runs" / "command"
    for epochs in (3, 1):
        given = settings(folder, model="weighted.yaml", name="command", epochs=epochs, plots=True, exist_ok=True)
        arguments = [f"{key}={value}" for key, value in given.items()]
        done = subprocess.run([command, "train", *arguments], cwd=folder, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stdout + done.stderr
        header, *rows = read(run / "fusion_weights.csv")
        assert header == ["epoch", *EDGES]
        assert [row[0] for row in rows] == [str(i + 1) for i in range(epochs)]
        assert (run / "fusion_weights.png").read_bytes().startswith(b"\x89PNG")
    # The checkpoint holds the moving average, in half precision.
    expected = [edge.weight for edge in fusion_weights(run / "weights" / "last.pt")]
    assert [float(x) for x in rows[-1][1:]] == pytest.approx(expected, abs=1e-3)
    assert not list(run.glob(".*"))


def test_resumed_training_goes_on_where_it_stopped(folder):
    """Stopped after the row of epoch 2 was written, but before its checkpoint was: epoch 2 is trained again."""

    class Stopped(Exception):
        pass

    saved = []

    def keep(trainer):
        saved.append(trainer.last.read_bytes())

    def stop(trainer):
        if trainer.epoch == 2:
            trainer.last.write_bytes(saved[0])
            raise Stopped

    model = YOLO(folder / "weighted.yaml")
    model.add_callback("on_model_save", keep)
    model.add_callback("on_train_epoch_start", stop)
    with pytest.raises(Stopped):
        model.train(**settings(folder, name="stopped", epochs=4, exist_ok=True))
    path = folder / "runs" / "stopped" / "fusion_weights.csv"
    before = read(path)
    assert [row[0] for row in before] == ["epoch", "1", "2"]
    resumed = YOLO(model.trainer.last)
    resumed.train(resume=True)
    after = read(path)
    assert [row[0] for row in after] == ["epoch", "1", "2", "3", "4"] and after[:2] == before[:2]
    weights = [edge.weight for edge in fusion_weights(resumed.trainer.ema.ema)]
    assert [float(x) for x in after[-1][1:]] == pytest.approx(weights, abs=1e-5)
    assert not path.with_suffix(".png").exists()  # plots=False


@pytest.mark.parametrize("model", ["sum.yaml", "yolov5n.yaml"])
def test_network_without_weights_writes_nothing(folder, model):
    network = YOLO(folder / model if model == "sum.yaml" else model)
    network.train(**settings(folder, name=model, epochs=1))
    assert not list(Path(network.trainer.save_dir).glob("fusion*"))
    assert isinstance(network.trainer.last, WholeFile) == (model == "sum.yaml")  # stock networks are left alone
    assert course.write_row not in network.trainer.callbacks["on_train_epoch_end"]


@pytest.mark.slow
def test_failure_is_a_warning_and_the_training_goes_on(folder, lines):
    """Where the files are to be written, there are directories."""
    run = folder / "runs" / "broken"
    for name in ("fusion_weights.csv", "fusion_weights.png"):
        (run / name).mkdir(parents=True)
    network = YOLO(folder / "weighted.yaml")
    network.train(**settings(folder, name="broken", exist_ok=True, plots=True, epochs=1))
    assert (run / "weights" / "best.pt").is_file()
    warnings = [line for line in lines if "no course of the fusion weights" in line]
    assert len(warnings) >= 2 and "IsADirectoryError" in warnings[0]


def test_one_process_of_a_group_writes(folder, monkeypatch):
    trainer = DetectionTrainer(overrides={"model": str(folder / "weighted.yaml"), **settings(folder, name="ranks")})
    trainer.model = YOLO(folder / "weighted.yaml").model
    for rank, is_watched in ((1, False), (0, True), (0, True)):
        monkeypatch.setattr("ultralytics.utils.RANK", rank)
        course.watch(trainer)
        assert trainer.callbacks["on_train_epoch_end"].count(course.write_row) == is_watched
    # Before those of loggers and users, who look for the picture there.
    assert trainer.callbacks["on_train_end"].index(course.draw) == 0 < len(trainer.callbacks["on_train_end"]) - 1


def test_picture_of_one_epoch(folder):
    edges = fusion_weights(YOLO(folder / "weighted.yaml").model)
    axis = course.draw_course(edges, [[1.0, *(edge.weight for edge in edges)]]).axes[0]
    low, high = axis.get_xlim()
    assert [tick for tick in axis.get_xticks() if low <= tick <= high] == [1]
    assert len({line.get_markersize() for line in axis.lines}) == len(axis.lines) > 1  # equal weights are all seen
