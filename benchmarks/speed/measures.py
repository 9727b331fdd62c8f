"""Time, size and memory of networks."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.memory import LiveBytes


def milliseconds(calls: Mapping[str, Callable[[], object]], repeats: int, warm_up: int) -> dict[str, float]:
    """Return the median time of each call; they take turns, so that what else the machine does hits all alike."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for repeat in range(warm_up + repeats):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if repeat >= warm_up:
                times[name].append(1000 * (time.perf_counter() - start))
    return {name: statistics.median(values) for name, values in times.items()}


def parameters(network: nn.Module) -> int:
    """Return the number of parameters."""
    return sum(parameter.numel() for parameter in network.parameters())


def gflops(network: nn.Module, images: torch.Tensor) -> float:
    """Return GFLOPs, two for each multiply-add of a convolution, as torch counts while the network runs."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(images)
    return counter.get_total_flops() / 1e9


def peak_mib(call: Callable[[], object]) -> float:
    """Return the peak of the memory (MiB) of the tensors that a call makes."""
    with LiveBytes() as live:
        call()
    return live.peak / 2**20
