"""Trainings from scratch, side by side, for docs/training.md.

python -m benchmarks.convergence --data shapes.yaml --models yolov5n.yaml yolov5n-effdet.yaml --seeds 0 1 2
python -m benchmarks.convergence --data bccd.yaml --models yolov5n-effdet.yaml --change "" BiFPN.act_first=false
python -m benchmarks.convergence --write        writes tables and plots of docs/training.json into docs/training.md

A run that docs/training.json has already is left out, and each is written there when it ends, so a stop loses nothing.
`--jobs` trains several side by side; several of these commands may run side by side too. A change is a list like
`lr0=0.01,BiFPN.act_first=false,LightDetect=Detect`: an argument of `yolo train`, an option of all rows of a module,
another module in its place.
"""

from __future__ import annotations

import argparse
import fcntl
import itertools
import json
import platform
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import yaml
from timm.models._efficientnet_builder import efficientnet_init_weights

from benchmarks import child
from benchmarks.page import ROOT
from effyolo_ultra._output import replacing
from effyolo_ultra.nn import TimmBackbone
from effyolo_ultra.nn.initial import STD

Task = tuple[str, str, str, dict[str, Any]]  # model, data, device, and the run that it makes
MINUTES = 24 * 60
RESULTS = ROOT / "docs" / "training.json"
# No plots and no validation before the end: neither changes the network.
TRAINING = {"cache": "ram", "plots": False, "val": False, "save": False, "pretrained": False}


def main() -> None:
    """Train what is missing, or write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="shapes.yaml", help="data YAML")
    parser.add_argument("--models", nargs="+", default=[], help="model YAMLs, ours or of Ultralytics")
    parser.add_argument("--change", nargs="+", default=[""], help="one run for each of these changes; '' is none")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--imgsz", type=int, default=256)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1, help="of each training")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time")
    parser.add_argument("--json", type=Path, default=RESULTS, help="where the results are")
    parser.add_argument("--write", action="store_true", help="write the page")
    parser.add_argument("--train", type=json.loads, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.train:
        torch.set_num_threads(given.threads)
        child.report(train(*given.train))
        return
    same = {name: getattr(given, name) for name in ("epochs", "imgsz", "batch")} | {"device": kind(given.device)}
    missing: list[Task] = []
    for seed, change, model in itertools.product(given.seeds, given.change, given.models):
        run = {"data": Path(given.data).stem, "model": Path(model).stem, "change": change, "seed": seed, **same}
        if not any(run.items() <= done.items() for done in read(given.json)):
            missing.append((model, given.data, given.device, run))
    with ThreadPoolExecutor(given.jobs) as pool:
        for done in as_completed([pool.submit(attempt, task, given.threads) for task in missing]):
            run = done.result()
            print(json.dumps(run), flush=True)
            if "error" not in run:
                with locked(given.json) as runs:
                    runs.append(run)
    if given.write:
        from benchmarks.convergence_page import write

        write(read(given.json))


def kind(device: str) -> str:
    """Return the name of what a device of Ultralytics is: the processor, or a GPU."""
    return "CPU" if device == "cpu" else torch.cuda.get_device_name(int(device))


def attempt(task: Task, threads: int) -> dict[str, Any]:
    """Train in a process of its own, so that none finds what another has left; return the run, or what went wrong."""
    command = [sys.executable, "-m", "benchmarks.convergence", "--threads", str(threads), "--train", json.dumps(task)]
    found, ended = child.results(command, MINUTES, child.environment())
    return found[-1] if found else {**task[-1], "error": ended}


def train(model: str, data: str, device: str, run: dict[str, Any]) -> dict[str, Any]:
    """Train a model on data on a device, and return the run with what came out of it."""
    import ultralytics
    from ultralytics import YOLO

    rows, arguments = split(run["change"])
    arguments = {**TRAINING, **{key: run[key] for key in ("seed", "epochs", "imgsz", "batch")}, **arguments}
    arguments["workers"] = 0 if device == "cpu" else 1  # a GPU need not wait for the next pictures
    init = arguments.pop("init", None)
    with tempfile.TemporaryDirectory() as folder:
        network = YOLO(str(changed(model, rows, Path(folder))), verbose=False)
        if init:
            network.add_callback("on_pretrain_routine_end", lambda trainer: start_again(trainer, init))
        found = measured(network, data=data, project=folder, name="run", device=device, verbose=False, **arguments)
    found["parameters"] = sum(p.numel() for p in network.model.parameters())
    found["machine"] = f"{platform.machine()}, torch {torch.__version__}, ultralytics {ultralytics.__version__}"
    return {**run, **found}


def measured(network: Any, **arguments: Any) -> dict[str, Any]:
    """Train a YOLO, and return its mAP after that and the time of the processor."""
    network.add_callback("on_pretrain_routine_end", speed_up)
    start = time.process_time()
    metrics = network.train(**arguments)
    seconds = round(time.process_time() - start)
    scores = {"map": metrics.box.map, "map50": metrics.box.map50}
    return {**{name: round(float(score), 4) for name, score in scores.items()}, "cpu_seconds": seconds}


def speed_up(trainer: Any) -> None:
    """Spare the CPU a quarter of the time, with the same numbers but for rounding."""
    torch.set_flush_denormal(True)
    for network in (trainer.model, trainer.ema.ema):
        network.to(memory_format=torch.channels_last)


def start_again(trainer: Any, init: str) -> None:
    """Give the convolutions before a BatchNorm other random weights.

    `small`: as ours, all of the network. `torch`: as torch does, so all of Ultralytics' own. `larger`: the same, but
    the backbone as in its reference implementation.
    """
    for network in (trainer.model, trainer.ema.ema):
        torch.manual_seed(trainer.args.seed)
        for name, module in network.named_modules():
            if isinstance(module, torch.nn.Conv2d) and module.bias is None and "dfl" not in name:
                module.reset_parameters()
                between = name.endswith((".depthwise", ".conv.0"))  # no BatchNorm comes right behind it
                if init == "small" and not between:
                    torch.nn.init.normal_(module.weight, std=STD)
        if init == "larger" and isinstance(network.model[0], TimmBackbone):
            efficientnet_init_weights(network.model[0].body)


def split(change: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split a change into that of rows and that of the arguments of the training."""
    pairs = dict(part.split("=", 1) for part in change.split(",") if part)
    of_rows = {key: yaml.safe_load(value) for key, value in pairs.items() if key[0].isupper()}
    return of_rows, {key: yaml.safe_load(value) for key, value in pairs.items() if key not in of_rows}


def changed(model: str, changes: dict[str, Any], folder: Path) -> Path:
    """Write a model YAML with other rows into a folder, under the name that it has."""
    from ultralytics.nn import tasks

    document = tasks.yaml_model_load(model)
    del document["yaml_file"]
    for row in [*document["backbone"], *document["head"]]:
        for key, value in changes.items():
            module, _, option = key.partition(".")
            if row[2] == module and not option:
                row[2] = value
            elif row[2] == module:
                options = row[3].pop() if row[3] and isinstance(row[3][-1], dict) else {}
                row[3].append({**options, option: value})
    path = folder / Path(model).name
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return path


def read(path: Path) -> list[dict[str, Any]]:
    """Return the runs in a file."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else []


@contextmanager
def locked(path: Path) -> Iterator[list[dict[str, Any]]]:
    """Give the runs in a file to be changed, while no other process writes it."""
    with open(Path(tempfile.gettempdir()) / "convergence.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        runs = read(path)
        yield runs
        lines = ",\n".join(json.dumps(run) for run in sorted(runs, key=lambda run: json.dumps(run)))
        with replacing(path, overwrite=True) as new:
            new.write_text(f"[\n{lines}\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
