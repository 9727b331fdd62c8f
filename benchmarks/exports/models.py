"""Checkpoints and pictures for the checks of exports: networks that find boxes, or have realistic numbers at least."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import torch
from torch import nn
from ultralytics import RTDETR, YOLO

from benchmarks.drawn import write_shapes

IMGSZ = 128  # the coarsest stride of most files is 32 or 128, of one 256
# Few pictures, learned by heart: what is asked for is boxes that are sure, not a network that generalises.
PICTURES = {"train": 16, "val": 8, "imgsz": 160}
SETTINGS = {"imgsz": IMGSZ, "epochs": 60, "batch": 8, "nbs": 8, "device": "cpu", "workers": 0, "pretrained": False}
SETTINGS |= {
    "optimizer": "AdamW",
    "lr0": 0.003,
    "warmup_epochs": 3,
    "val": False,
    "save": False,
    "plots": False,
    "verbose": False,
}
SETTINGS |= {"mosaic": 0, "scale": 0, "translate": 0, "fliplr": 0, "hsv_h": 0, "hsv_s": 0, "hsv_v": 0, "erasing": 0}


def draw_pictures(folder: Path, numbers: dict = PICTURES) -> list[Path]:
    """Draw the data set into `folder` once, and return its pictures: those to learn, then others."""
    images = write_shapes(folder, "pictures", **numbers).with_suffix("") / "images"
    return [path for split in ("train", "val") for path in sorted((images / split).iterdir())]


def trained(name: str, folder: Path, numbers: dict = PICTURES, **settings: int) -> Path:
    """Return the checkpoint of a network that has learned the pictures; train it if `folder` has none."""
    weights = folder / f"{Path(name).stem}.pt"
    if not weights.exists():
        pictures = draw_pictures(folder, numbers)[: numbers["train"]]
        learn(name, folder / "pictures.yaml", pictures, weights, **settings)
    return weights


def network(file: str | Path, task: str | None = None) -> YOLO | RTDETR:
    """Open a model YAML, a checkpoint or an exported file of a model of the zoo."""
    return RTDETR(file) if Path(file).name.startswith("rtdetr") else YOLO(file, task=task)


def learn(name: str, data: Path, pictures: list[Path], weights: Path, **settings: float | str) -> None:
    """Train a network on pictures, which `data` describes, until it knows them by heart, and write its checkpoint."""
    settings = {**SETTINGS, "project": str(weights.parent / "runs"), "name": weights.stem, **settings}
    model = network(name)
    model.train(data=str(data), **settings)
    model = YOLO(model.trainer.last)
    # After so few steps the running statistics lag behind the weights.
    settle(model.model.float(), picture_batch(pictures, (settings["imgsz"], settings["imgsz"])))
    model.save(weights)


def calibrated(name: str, folder: Path, numbers: dict = PICTURES) -> Path:
    """Return a checkpoint of a detector with random weights, the statistics of the pictures and scores from 0 to 1."""
    weights = folder / f"{Path(name).stem}-random.pt"
    if not weights.exists():
        torch.manual_seed(0)
        model = YOLO(name)
        imgsz = max(IMGSZ, int(model.model.stride.max()))
        settle(model.model, picture_batch(draw_pictures(folder, numbers), (imgsz, imgsz)))
        for branch in model.model.model[-1].cv3:
            nn.init.normal_(branch[-1].weight, std=0.5)  # no scores equal to 1
            nn.init.zeros_(branch[-1].bias)
        model.save(weights)
    return weights


@torch.no_grad()
def settle(model: nn.Module, images: torch.Tensor) -> None:
    """Set the running statistics of all BatchNorms to those of these images."""
    momenta = {m: m.momentum for m in model.modules() if isinstance(m, nn.BatchNorm2d)}
    for norm in momenta:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches
    model.train()
    for batch in images.split(8):
        model(batch)
    model.eval()
    for norm, momentum in momenta.items():
        norm.momentum = momentum


def picture_batch(pictures: list[Path], size_hw: Sequence[int]) -> torch.Tensor:
    """Return pictures as a batch (N, 3, height, width), RGB in 0..1."""
    height, width = size_hw
    images = [cv2.cvtColor(cv2.resize(cv2.imread(str(p)), (width, height)), cv2.COLOR_BGR2RGB) for p in pictures]
    return torch.stack([torch.from_numpy(image).permute(2, 0, 1) / 255 for image in images])
