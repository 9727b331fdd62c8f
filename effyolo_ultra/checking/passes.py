"""A network as a training has it: built, run forward and backward at two sizes, and traced as an export does."""

from __future__ import annotations

import copy
import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch
from torch import nn

from effyolo_ultra._activation import default_activation_restored
from effyolo_ultra._dry_run import SIZE, numbers_in, tensors

# Heads that a class of networks of their own goes with; all others go by the task.
OF_HEAD = {
    "RTDETRDecoder": "RTDETRDetectionModel",
    "WorldDetect": "WorldModel",
    "YOLOEDetect": "YOLOEModel",
    "YOLOESegment": "YOLOESegModel",
    "YOLOESegment26": "YOLOESegModel",
}
OF_TASK = {
    "detect": "DetectionModel",
    "segment": "SegmentationModel",
    "classify": "ClassificationModel",
    "pose": "PoseModel",
    "obb": "OBBModel",
    "semantic": "SemanticSegmentationModel",
    "depth": "DepthModel",
}


class FailedPass(Exception):
    """A pass that failed, with the row where it did (None if outside the rows)."""

    def __init__(self, row: int | None, error: Exception):
        super().__init__(f"{type(error).__name__}: {error}")
        self.row = row


def build_network(tasks: ModuleType, d: dict[str, Any], channels: int, nc: int | None) -> nn.Module:
    """Build the network as YOLO and the trainer do; whatever they raise is raised."""
    name = OF_HEAD.get(d["head"][-1][2]) or OF_TASK[tasks.guess_model_task(d)]
    with torch.random.fork_rng(devices=[]), default_activation_restored():
        return getattr(tasks, name)(copy.deepcopy(d), ch=channels, nc=nc, verbose=False)


def measure(tasks: ModuleType, d: dict[str, Any], channels: int) -> tuple[int, list[int]]:
    """Run the rows on an image of SIZE x SIZE, as far as that goes without data.

    Returns:
        How many numbers all rows give, and the strides of the layers that the last row takes, as far as they are known.
    """
    count, given, strides = 0, [], []
    try:
        with default_activation_restored(), torch.device("meta"), torch.no_grad():
            x = torch.empty(1, channels, SIZE, SIZE)
            layers = tasks.parse_model(copy.deepcopy(d), ch=channels, verbose=False)[0].eval()
            for layer in layers:
                f = layer.f
                x = [given[i] if given else x for i in f] if isinstance(f, list) else given[f] if given else x
                if layer is layers[-1]:
                    strides = [SIZE // t.shape[-1] for t in tensors(x)]
                x = layer(x)
                given.append(x)
                count += numbers_in(x)
    except Exception:  # is said when it is built
        pass
    return count, strides


@contextmanager
def silence() -> Iterator[None]:
    """While in this context, Ultralytics and torch say nothing in this thread: it would be of a network for a check."""
    from ultralytics.utils import LOGGER

    thread = threading.get_ident()

    def of_others(record: logging.LogRecord) -> bool:
        return record.thread != thread

    LOGGER.addFilter(of_others)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        LOGGER.removeFilter(of_others)


def coarsest_stride(network: nn.Module) -> int:
    """Return the coarsest stride, as the trainer takes it."""
    return max(int(network.stride.max()), 32)


def untrained(network: nn.Module, channels: int, imgsz: int) -> dict[int, list[str]]:
    """Run forward and backward at two sizes, one of them not square.

    Returns:
        For each row that has some, the names of the parameters that get no gradient.

    Raises:
        FailedPass: If it cannot run.
    """
    stride = coarsest_stride(network)
    large = -(-max(imgsz, stride) // stride) * stride
    try:  # shapes only, at once for any size
        meta = copy.deepcopy(network).to("meta")
        for size in ((large, large), (2 * stride, 3 * stride)):
            train_step(meta, torch.empty(2, channels, *size, device="meta"))
        network = meta
    except Exception:  # what has no form without data is run on data, and only then is an error one
        for size in ((2 * stride, 2 * stride), (2 * stride, 3 * stride)):
            train_step(network, torch.rand(2, channels, *size))
    missing = {
        layer.i: [name for name, p in layer.named_parameters() if p.requires_grad and p.grad is None]
        for layer in network.model[:-1]  # some parts of a head are for its loss alone, or for texts
    }
    return {row: names for row, names in missing.items() if names}


def train_step(network: nn.Module, images: torch.Tensor) -> None:
    """Run forward and backward in training mode."""
    started: list[int] = []
    hooks = [layer.register_forward_pre_hook(lambda m, _: started.append(m.i)) for layer in network.model]
    try:
        outputs = [t for t in tensors(network.train()(images)) if t.requires_grad]
    except Exception as error:
        raise FailedPass(started[-1] if started else None, error) from error
    finally:
        for hook in hooks:
            hook.remove()
    try:
        sum(output.sum() for output in outputs).backward()
    except Exception as error:
        raise FailedPass(None, error) from error


def trace(network: nn.Module, channels: int) -> None:
    """Trace the fused network, as an export begins.

    Raises:
        FailedPass: If it cannot be traced.
    """
    stride = coarsest_stride(network)
    network = copy.deepcopy(network).eval().requires_grad_(False)
    started: list[int] = []
    try:
        network = network.fuse(verbose=False)
        network.model[-1].export, network.model[-1].format = True, "torchscript"
        for layer in network.model:
            layer.register_forward_pre_hook(lambda m, _: started.append(m.i))
        images = torch.zeros(1, channels, 2 * stride, 2 * stride)
        network(images)  # as in an export: the head notes the grid of the size
        torch.jit.trace(network, images, strict=False, check_trace=False)
    except Exception as error:
        raise FailedPass(started[-1] if started else None, error) from error
