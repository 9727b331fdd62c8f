"""What loggers, trackers and libraries around Ultralytics make of models of this package, for docs/ecosystem.md.

python -m benchmarks.ecosystem                         prints the table
python -m benchmarks.ecosystem --checks mlflow sahi    of these only
python -m benchmarks.ecosystem --write                 writes each row into docs/ecosystem.md, as soon as it is there

Two networks of the zoo and a stock one learn a few drawn pictures by heart. Each check runs the commands of the page,
in a process and a folder of its own, with settings of its own, and looks at what came of them. It needs
`pip install tensorboard wandb mlflow comet_ml dvclive clearml lap shapely onnx onnxslim onnxruntime supervision sahi`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import cv2
import numpy as np
from ultralytics import YOLO
from ultralytics.utils import SETTINGS, SettingsManager

from benchmarks import child
from benchmarks.exports.models import trained
from benchmarks.page import rows_between, write_between

PAGE, TABLE = "docs/ecosystem.md", "integrations"
MODELS, STOCK = ["yolov5n-effdet.yaml", "yolov5-effb0-bifpn.yaml"], "yolo11n.yaml"
IMGSZ = 64
PICTURES = {"train": 8, "val": 4, "imgsz": IMGSZ}
SIDE = 320  # of a frame of the film, in pixels
FRAMES = 12
MINUTES = 30
# Check -> name in the table, package whose version is told.
TITLES = {
    "tensorboard": ("TensorBoard", "tensorboard"),
    "wandb": ("W&B, offline", "wandb"),
    "mlflow": ("MLflow, local", "mlflow"),
    "comet": ("Comet, offline", "comet_ml"),
    "dvc": ("DVCLive", "dvclive"),
    "clearml": ("ClearML, offline", "clearml"),
    "track": ("`yolo track`", "lap"),
    "count": ("`yolo solutions`", "shapely"),
    "benchmark": ("`yolo benchmark`", "onnxruntime"),
    "supervision": ("supervision", "supervision"),
    "sahi": ("SAHI", "sahi"),
}
LOGGERS = ("clearml", "comet", "dvc", "mlflow", "raytune", "tensorboard", "wandb")


def learn(name: str, folder: Path) -> Path:
    """Return the checkpoint of a network that has learned eight pictures of 64 x 64 pixels, which lie beside it."""
    return trained(name, folder, PICTURES, imgsz=IMGSZ, epochs=40)


def prepare(weights: Path, folder: Path) -> Path:
    """Make what the commands of the page ask for: best.pt, pictures.yaml, two pictures, a film, settings.

    Args:
        weights: A checkpoint of `learn`, beside its pictures.
        folder: Where to put it all; is made.
    """
    (folder / "settings" / "Ultralytics").mkdir(parents=True)
    shutil.copy(weights, folder / "best.pt")
    data = json.loads((weights.parent / "pictures.yaml").read_text(encoding="utf-8"))
    data["val"] = data["train"]  # those that the network knows
    (folder / "pictures.yaml").write_text(json.dumps(data), encoding="utf-8")
    paths = sorted((weights.parent / "pictures/images/train").iterdir())
    results = YOLO(folder / "best.pt").predict(list(map(str, paths)), imgsz=IMGSZ, device="cpu", verbose=False)
    results.sort(key=lambda result: -len(result.boxes))
    images = [cv2.resize(result.orig_img, (SIDE, SIDE)) for result in results]
    cv2.imwrite(str(folder / "picture.jpg"), images[0])
    cv2.imwrite(str(folder / "large.png"), np.vstack([np.hstack(images[:2]), np.hstack(images[2:4])]))
    film = cv2.VideoWriter(str(folder / "video.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 10, (SIDE, SIDE))
    for i in range(FRAMES):
        # Half a pixel to the right in each frame: the network knows the picture by heart, but not far from its place.
        shift = np.array([[1, 0, (i - FRAMES / 2) / 2], [0, 1, 0]], np.float32)
        film.write(cv2.warpAffine(images[0], shift, (SIDE, SIDE), borderMode=cv2.BORDER_REPLICATE))
    film.release()
    settings = SettingsManager(folder / "settings" / "Ultralytics" / "settings.json")
    settings.update({"runs_dir": str(folder / "runs"), **dict.fromkeys(LOGGERS, False)})
    return folder


def run(names: Sequence[str], weights: Path, folder: Path) -> dict[str, dict]:
    """Run checks in one process, and return what each has seen, or its error."""
    prepare(weights, folder)
    command = [sys.executable, "-m", "benchmarks.ecosystem_checks", str(folder), *names]
    environment = child.environment(YOLO_CONFIG_DIR=str(folder / "settings"))
    environment |= {f"GIT_{who}_{what}": "me" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    caches = ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "CLEARML_CACHE_DIR")  # else in the home of the user
    environment |= dict.fromkeys(caches, str(folder / "caches"))
    environment["PATH"] = os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]])
    found, ended = child.results(command, MINUTES, environment)
    return {**{name: {"error": ended} for name in names}, **{k: v for result in found for k, v in result.items()}}


def row(name: str, results: dict[str, dict]) -> str:
    """Return the line of the table for the results of all models, the stock one last."""
    *ours, stock = results
    title, package = TITLES[name]
    failed = [model for model in ours if "error" in results[model]]
    if not failed:
        of_stock = child.first_line(results[stock].get("error", ""))
        works = f"yes; stock {stock} does not: {of_stock}" if of_stock else "yes"
    else:
        who = "no" if failed == ours else f"not {' and '.join(failed)}"
        works = f"{who}, nor stock {stock}" if "error" in results[stock] else who
        works += f": {child.first_line(results[failed[0]]['error'])}"
    seen = next((results[model]["seen"] for model in ours if "seen" in results[model]), "")
    return f"| {title} | {works} | {seen} | {package} {metadata.version(package)} |\n"


def merge(rows: dict[str, str]) -> str:
    """Return the table of the page with these rows in the place of their former ones."""
    former = {line.split(" | ")[0]: line for line in rows_between(PAGE, TABLE)}
    found = {name: rows.get(name) or former.get(f"| {title}") for name, (title, _) in TITLES.items()}
    return "| integration | works | seen | version |\n| --- | --- | --- | --- |\n" + "".join(
        filter(None, found.values())
    )


def main() -> None:
    """Train, check, and print the table or write it into the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checks", nargs="+", choices=TITLES, default=list(TITLES), metavar="CHECK")
    parser.add_argument("--weights", type=Path, help="folder of the checkpoints, kept for the next time")
    parser.add_argument("--write", action="store_true", help=f"write the rows into {PAGE}")
    arguments = parser.parse_args()
    dict.update(SETTINGS, dict.fromkeys(LOGGERS, False))  # in this process alone: a logger writes where it is run
    with tempfile.TemporaryDirectory() as temporary:
        learned = (arguments.weights or Path(temporary, "weights")).resolve()
        weights = [learn(model, learned) for model in (*MODELS, STOCK)]
        for name in arguments.checks:
            results = {file.stem: run([name], file, Path(temporary, f"{name}-{file.stem}"))[name] for file in weights}
            line = row(name, results)
            print(line, end="", flush=True)
            if arguments.write:  # at once: all of them take long
                write_between(PAGE, TABLE, merge({name: line}))


if __name__ == "__main__":
    main()
