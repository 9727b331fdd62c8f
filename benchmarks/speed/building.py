"""Time to build a network, each time in a process that has imported everything and built nothing."""

from __future__ import annotations

import multiprocessing
import statistics
import time
from pathlib import Path

import torch

from benchmarks.speed.by_hand import BY_HAND, NAME, by_hand

IMPORTS = ["ultralytics.nn.tasks", "ultralytics.nn.modules", "timm", "effdet", "effyolo_ultra.parser"]
IMPORTS += ["effyolo_ultra.nn", "effyolo_ultra.zoo", "benchmarks.speed.building"]


def build_ms(name: str, imgsz: int, threads: int) -> float:
    """Return the time of the first build of this process, in milliseconds."""
    from ultralytics.nn.tasks import DetectionModel

    from benchmarks.speed.models import EFFDET, EfficientDetector

    torch.set_num_threads(threads)
    if name == BY_HAND:
        build = by_hand
    elif name.startswith(EFFDET):
        build = EfficientDetector(name, imgsz, Path()).build
    else:
        build = lambda: DetectionModel(name, verbose=False)  # noqa: E731
    start = time.perf_counter()
    build()
    return 1000 * (time.perf_counter() - start)


def build_times(names: list[str], imgsz: int, threads: int, repeats: int) -> dict[str, float]:
    """Return the median time of each; they take turns."""
    names = [*names, BY_HAND] if NAME in names else names
    # A fork of a server that has done the imports: as fresh as a new interpreter, without the seconds that it takes.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(IMPORTS)
    times: dict[str, list[float]] = {name: [] for name in names}
    with context.Pool(1, maxtasksperchild=1) as pool:
        for _ in range(repeats):
            for name in names:
                times[name].append(pool.apply(build_ms, (name, imgsz, threads)))
    return {name: statistics.median(values) for name, values in times.items()}
