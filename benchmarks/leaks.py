"""Whether networks that are built and used again and again leave memory behind.

    python -m benchmarks.leaks

Builds a network 200 times and predicts 200 times with one, each after 20 times to warm up, and prints the memory of the
process and the modules and tensors alive. The exit code is 1 where memory has grown by more than the slack.
"""

from __future__ import annotations

import argparse
import collections
import gc
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from ultralytics import YOLO

SLACK = (
    20  # MB: what the allocator of the C library keeps or gives back differs by some 15 MB from one time to the next
)
MODEL = "yolov5n-effdet.yaml"
STEPS = 4


class Use(NamedTuple):
    """What a process uses: megabytes, and how many modules and tensors are alive."""

    megabytes: float
    modules: int
    tensors: int


def use() -> Use:
    """Return what this process uses now."""
    gc.collect()
    kinds = collections.Counter(map(type, gc.get_objects()))
    modules, tensors = (
        sum(count for kind, count in kinds.items() if issubclass(kind, cls)) for cls in (torch.nn.Module, torch.Tensor)
    )
    pages = int(Path("/proc/self/statm").read_text().split()[1]) if Path("/proc/self/statm").exists() else 0
    return Use(pages * 4096 / 2**20, modules, tensors)


def course(function: Callable[[], Any], times: int, warm_up: int) -> list[Use]:
    """Call a function, and return what the process uses after the warm-up and then at each quarter of the calls."""
    for _ in range(warm_up):
        function()
    found = [use()]
    for _ in range(STEPS):
        for _ in range(times // STEPS):
            function()
        found.append(use())
    return found


def build() -> weakref.ref[torch.nn.Module]:
    """Build a network and drop it; return what would still reach it."""
    return weakref.ref(YOLO(MODEL, verbose=False).model)


def predictor() -> Callable[[], Any]:
    """Return a function that predicts on a small image."""
    model, image = YOLO(MODEL, verbose=False), np.zeros((64, 64, 3), np.uint8)
    return lambda: model.predict(image, imgsz=64, verbose=False)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what builds and predictions leave behind."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--times", type=int, default=200)
    parser.add_argument("--warm-up", type=int, default=20)
    args = parser.parse_args(arguments)
    grown = False
    for name, function in (("builds", build), ("predictions", predictor())):
        found = course(function, args.times, args.warm_up)
        for i, now in enumerate(found):
            count = args.warm_up + i * (args.times // STEPS)
            print(f"{count:>4} {name:<12} {now.megabytes:7.1f} MB {now.modules:>6} modules {now.tensors:>6} tensors")
        grown = grown or found[-1].megabytes - found[0].megabytes > SLACK or found[-1][1:] != found[0][1:]
    return int(grown)


if __name__ == "__main__":
    raise SystemExit(main())
