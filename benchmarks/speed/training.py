"""A training step: forward, loss and backward."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch

from benchmarks.speed.images import natural_images
from benchmarks.speed.models import CLASSES, Model
from benchmarks.speed.targets import Targets


def training_step(model: Model, batch: int) -> Callable[[], None]:
    """Return a call that does one step on the same random images and boxes, without the optimizer's part."""
    network = copy.deepcopy(model.network).train().requires_grad_(True).to(memory_format=torch.channels_last)
    criterion = model.criterion(network)
    images = natural_images(batch, model.imgsz).to(memory_format=torch.channels_last)
    targets = Targets.random(batch, CLASSES)

    def step():
        network.zero_grad()
        criterion(images, targets).backward()

    return step
