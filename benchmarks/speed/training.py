"""A training step: forward, loss and backward."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch

from benchmarks.speed.images import natural_images
from benchmarks.speed.models import CLASSES, Model
from benchmarks.speed.targets import Targets


def training_step(model: Model, batch: int, device: str) -> Callable[[], None]:
    """Return a call that does one step on the same random images and boxes, without the optimizer's part.

    On a GPU it is one of AMP, as in `yolo train`.
    """
    network = copy.deepcopy(model.network).train().requires_grad_(True).to(device, memory_format=torch.channels_last)
    criterion = model.criterion(network)
    images = natural_images(batch, model.imgsz).to(device, memory_format=torch.channels_last)
    targets = Targets.random(batch, CLASSES).to(device)
    scaler = torch.amp.GradScaler(device, enabled=device == "cuda")

    def step():
        network.zero_grad()
        with torch.autocast(device, torch.float16, enabled=device == "cuda"):
            loss = criterion(images, targets)
        scaler.scale(loss).backward()
        if device == "cuda":
            torch.cuda.synchronize()

    return step
