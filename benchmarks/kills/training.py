"""Trainings that are killed at random moments, or in the middle of writing last.pt, and resumed."""

import random
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import torch

from benchmarks.child import environment
from benchmarks.kills.disk import small_disk

YOLO_COMMAND = str(Path(sysconfig.get_path("scripts"), "yolo"))
MODEL, STOCK = "yolov5n-effdet.yaml", "yolov5n.yaml"
EPOCHS = 6
NO_CHECKPOINT, NOTHING_LEFT = "No such file or directory:", "is finished, nothing to resume"
ALL_TRAINED = "all epochs were trained, said so"


def train(folder: Path, run: Path, **more) -> subprocess.Popen:
    """Start a training with the stock command."""
    given = {"model": MODEL, "data": "small.yaml", "imgsz": 64, "batch": 8, "epochs": EPOCHS, "device": "cpu"}
    given |= {"plots": False, "pretrained": False, "project": run.parent, "name": run.name, "exist_ok": True, **more}
    return start(folder, YOLO_COMMAND, "train", *(f"{key}={value}" for key, value in given.items()))


def resume(folder: Path, run: Path) -> subprocess.Popen:
    """Start the resumption of a training with the stock command."""
    return start(folder, YOLO_COMMAND, "train", "resume=True", f"model={run}/weights/last.pt")


def start(folder: Path, *command: str) -> subprocess.Popen:
    """Start a command, whose output goes into a file of its own, so that nobody has to read it."""
    variables = environment(OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1")
    with open(folder / "log", "w", encoding="utf-8") as log:
        return subprocess.Popen(command, cwd=folder, env=variables, stdout=log, stderr=log)


def epochs_of(run: Path) -> list[int]:
    """Return the epochs in results.csv."""
    path = run / "results.csv"
    lines = path.read_text(encoding="utf-8").splitlines()[1:] if path.is_file() else []
    return [int(line.split(",")[0]) for line in lines]


def is_whole(path: Path) -> bool:
    """Whether a checkpoint can be read to its end."""
    try:
        torch.load(path, weights_only=False)
    except (RuntimeError, EOFError, OSError):
        return False
    return True


def kill_at_random(folder: Path, number: int, seed: int) -> dict[str, int]:
    """Kill trainings at random moments and resume them; return how often what was seen."""
    began, run = time.monotonic(), folder / "runs" / "whole"
    assert train(folder, run).wait() == 0, (folder / "log").read_text("utf-8")
    length = time.monotonic() - began
    rng = random.Random(seed)
    names = [
        "killed",
        "no checkpoint yet, said so",
        "half last.pt",
        "went on to the end",
        ALL_TRAINED,
        "finished before",
    ]
    seen = dict.fromkeys([*names, "epochs twice in results.csv"], 0)
    for i in range(number):
        run = folder / "runs" / f"killed{i}"
        process = train(folder, run)
        moment = rng.uniform(0, length)
        time.sleep(moment)
        process.send_signal(signal.SIGKILL)
        was_killed = process.wait() == -signal.SIGKILL
        seen["killed" if was_killed else "finished before"] += 1
        last = run / "weights" / "last.pt"
        print(
            f"kill {i} after {moment:.1f} of {length:.1f} s: epochs {epochs_of(run)}, last.pt {last.is_file()}",
            flush=True,
        )
        if last.is_file() and not is_whole(last):
            seen["half last.pt"] += 1
        elif was_killed:
            seen[resumed(folder, run)] += 1
            seen["epochs twice in results.csv"] += len(epochs_of(run)) - len(set(epochs_of(run)))
        shutil.rmtree(run, ignore_errors=True)
    return seen


def resumed(folder: Path, run: Path) -> str:
    """Resume a training and say what came of it."""
    last = run / "weights" / "last.pt"
    there = last.is_file()
    if there and torch.load(last, weights_only=False)["optimizer"] is None:
        return ALL_TRAINED  # by a warning, with which a new training begins
    status = resume(folder, run).wait()
    log = (folder / "log").read_text("utf-8")
    if not there:
        assert status != 0 and NO_CHECKPOINT in log and str(run) in log, log
        return "no checkpoint yet, said so"
    if NOTHING_LEFT in log:
        return ALL_TRAINED
    assert status == 0, log
    # An epoch whose row was written, but not its checkpoint, is trained and written again.
    assert sorted(set(epochs_of(run))) == list(range(1, EPOCHS + 1)), epochs_of(run)
    return "went on to the end"


def limited(folder: Path, model: str, run: Path, *options: str) -> subprocess.Popen:
    """Start a training that is ended in the middle of a writing."""
    return start(folder, sys.executable, "-m", "benchmarks.kills.limited", model, str(run), *options)


def kill_in_writing(folder: Path, model: str, number: int, seed: int) -> tuple[int, int]:
    """Kill trainings at a random byte of last.pt; return how often, and how often last.pt was whole then."""
    rng, whole = random.Random(seed), 0
    for i in range(number):
        run = folder / "runs" / f"{Path(model).stem}{i}"
        status = limited(folder, model, run, "--share", f"{rng.uniform(0.05, 0.9):.3f}").wait()
        assert status == -signal.SIGXFSZ, (folder / "log").read_text("utf-8")
        whole += is_whole(run / "weights" / "last.pt")
        shutil.rmtree(run)
    return number, whole


def full_disk(folder: Path) -> str:
    """Fill a disk by the second last.pt of a training, make room, and resume; return what the training said."""
    with small_disk(folder / "disk", megabytes=500) as resize:
        run = folder / "disk" / "run"
        process = train(folder, run)
        while not (run / "weights" / "best.pt").is_file():
            assert process.poll() is None, (folder / "log").read_text("utf-8")
            time.sleep(0.01)
        resize(0)
        assert process.wait() != 0
        said = (folder / "log").read_text("utf-8").strip().splitlines()[-1]
        assert is_whole(run / "weights" / "last.pt") and not list(run.glob("weights/.*"))
        resize(500)
        assert resumed(folder, run) == "went on to the end"
    return said.replace(str(run), "RUN")
