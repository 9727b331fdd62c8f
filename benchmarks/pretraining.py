"""What a pretrained backbone is worth where pictures are few, shown with no download, for docs/training.md.

python -m benchmarks.pretraining --seeds 0 1 2 --write    trains what docs/pretraining.json lacks, and writes the page

An EfficientNet-B0 learns to tell single shapes apart. Its weights go into a file in timm's layout, and networks for
detection start from it by `pretrained: <path>`, with few pictures. A result is written when it is there.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from safetensors import safe_open
from safetensors.torch import save_file
from ultralytics import YOLO

from benchmarks.convergence import changed, locked, measured, read, speed_up
from benchmarks.convergence_page import COLORS, Bar, Runs, draw, grouped, mean, seeds
from benchmarks.drawn import write_shapes
from benchmarks.page import ROOT, write_between
from effyolo_ultra.shapes import CLASSES, make_shapes

RESULTS, PICTURE = ROOT / "docs" / "pretraining.json", ROOT / "docs" / "pretraining.png"
SETTING = ("pictures", "imgsz", "epochs")
MODEL, CLASSIFIER, RECIPE = "yolov5n-effdet.yaml", "yolov5n-effnet-cls.yaml", "effyolo-small.yaml"
VAL = 200  # pictures to measure with
QUIET = {"device": "cpu", "workers": 0, "plots": False, "verbose": False, "exist_ok": True}
WIDER = 1.5  # of a box: how far around it a shape is cut out, so that its edge is in the picture
# Options of the backbone's row, and arguments of the training. All but the first have the pretrained weights.
VARIANTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "random weights": ({"pretrained": False}, {"freeze": None}),
    "pretrained": ({}, {"freeze": None}),
    "pretrained, frozen": ({"frozen_stages": 7}, {"freeze": None}),
    "pretrained, two phases": ({}, {}),  # the recipe as it is
}


def main() -> None:
    """Train what is missing, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--crops-from", type=int, default=800, help="pictures that shapes to classify are cut out of")
    parser.add_argument("--classify-epochs", type=int, default=12)
    parser.add_argument("--weights", type=Path, help="where the pretrained backbone stays, to be used again")
    parser.add_argument("--pictures", type=int, default=64, help="to learn detection from")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--imgsz", type=int, default=96)
    parser.add_argument("--json", type=Path, default=RESULTS, help="where the results are")
    parser.add_argument("--write", action="store_true", help="write the page")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        weights = (given.weights or Path(folder) / "b0.safetensors").absolute()
        for seed, variant in itertools.product(given.seeds, VARIANTS):
            run = {"variant": variant, "seed": seed, **{name: getattr(given, name) for name in SETTING}}
            if any(run.items() <= done.items() for done in read(given.json)):
                continue
            if not weights.exists():
                pretrain(weights, Path(folder), given.crops_from, given.classify_epochs)
            with safe_open(weights, "pt") as file:
                top1 = float(file.metadata()["top1"])
            result = {**run, **detect(run, weights, Path(folder)), "top1": top1}
            with locked(given.json) as runs:
                runs.append(result)
            print(json.dumps(result), flush=True)
    if given.write:
        runs = read(given.json)
        write_between("docs/training.md", "pretraining table", table(runs))
        draw({title(*setting): bars(same) for setting, same in grouped(runs, *SETTING).items()}, PICTURE)


def pretrain(weights: Path, folder: Path, pictures: int, epochs: int) -> None:
    """Train a backbone to classify shapes, and write it in timm's layout, with how often it is right."""
    data = cut_out(folder / "crops", pictures)
    classifier = YOLO(CLASSIFIER, verbose=False)
    classifier.add_callback("on_pretrain_routine_end", speed_up)
    metrics = classifier.train(
        data=data, imgsz=64, epochs=epochs, batch=32, nbs=32, optimizer="AdamW", lr0=0.003, momentum=0.9, cos_lr=True,
        pretrained=False, auto_augment=None, erasing=0, project=folder, name="classify", **QUIET
    )  # fmt: skip
    backbone = classifier.model.model[0]
    tensors = {name: tensor.contiguous() for name, tensor in backbone.body.state_dict().items()}
    save_file(tensors, weights, {"top1": f"{metrics.top1:.4f}"})


def cut_out(folder: Path, pictures: int) -> Path:
    """Cut single shapes out of drawn pictures, into a folder for each class, and return the folder of all."""
    drawn = make_shapes(folder.with_name("drawn"), train=pictures, val=max(pictures // 6, 8), imgsz=192, seed=1)
    for labels in sorted(drawn.glob("labels/*/*.txt")):
        split = labels.parent.name
        image = cv2.imread(str(drawn / "images" / split / f"{labels.stem}.jpg"))
        for k, (class_id, x, y, *size_wh) in enumerate(np.loadtxt(labels, ndmin=2)):
            side = WIDER * max(size_wh) / 2
            low, high = (np.clip([y + s, x + s], 0, 1) for s in (-side, side))
            (top, left), (bottom, right) = (np.rint(corner * len(image)).astype(int) for corner in (low, high))
            path = folder / split / CLASSES[int(class_id)] / f"{labels.stem}_{k}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), image[top:bottom, left:right])
    shutil.rmtree(drawn)
    return folder


def detect(run: dict[str, Any], weights: Path, folder: Path) -> dict[str, Any]:
    """Train a network for detection and return what came out of it."""
    options, arguments = VARIANTS[run["variant"]]
    options = {"pretrained": str(weights), **options}
    numbers = {"train": run["pictures"], "val": VAL, "imgsz": run["imgsz"]}
    data = write_shapes(folder, f"shapes-{run['pictures']}", **numbers)
    rows = {f"EfficientNetBackbone.{option}": value for option, value in options.items()}
    network = YOLO(str(changed(MODEL, rows, folder)), verbose=False)
    return measured(
        network, cfg=RECIPE, data=str(data), seed=run["seed"], epochs=run["epochs"], imgsz=run["imgsz"], batch=16,
        mosaic=0, scale=0.2, cache="ram", val=False, project=folder, name="detect", **arguments, **QUIET
    )  # fmt: skip


def table(runs: Runs) -> str:
    """What each variant came to."""
    text = "| data | start | mAP50-95 | of each seed | training (CPU s) |\n| --- | --- | ---: | --- | ---: |\n"
    for setting, of_setting in grouped(runs, *SETTING).items():
        for (variant,), same in in_order(of_setting):
            seconds = sum(run["cpu_seconds"] for run in same) / len(same)
            text += f"| {title(*setting)} | {variant} | {mean(same):.3f} | {seeds(same)} | {seconds:.0f} |\n"
    return text


def bars(runs: Runs) -> list[Bar]:
    """What a panel of the plot shows: random weights in another colour."""
    return [Bar(variant, same, COLORS[variant == "random weights"]) for (variant,), same in in_order(runs)]


def in_order(runs: Runs) -> list[tuple[tuple, Runs]]:
    """Return the runs of each variant, in the order of `VARIANTS`."""
    return sorted(grouped(runs, "variant").items(), key=lambda item: list(VARIANTS).index(*item[0]))


def title(pictures: int, imgsz: int, epochs: int) -> str:
    """Name a setting."""
    return f"{pictures} pictures of shapes, {imgsz} px, {epochs} epochs"


if __name__ == "__main__":
    main()
