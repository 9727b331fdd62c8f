"""What a run measures with, and on which machine."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
from dataclasses import dataclass
from pathlib import Path

import torch

PACKAGES = ("torch", "timm", "ultralytics", "effdet", "onnx", "onnxslim", "onnxruntime", "openvino", "tensorrt")


@dataclass(frozen=True)
class Settings:
    """Sizes and counts of a run."""

    device: str = "cpu"  # or "cuda"
    imgsz: int = 640
    threads: int = 2
    repeats: int = 20
    warm_up: int = 3
    batch: int = 8  # of throughput
    batch_repeats: int = 3
    training_imgsz: int = 320
    training_batch: int = 16
    training_repeats: int = 3
    processes: int = 9  # fresh processes for each start-up time


def machine() -> dict[str, object]:
    """Describe the machine and the software."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    found = {"cpu": cpu_model(), "cores": os.cpu_count(), "system": f"{platform.system()} {platform.machine()}"}
    if torch.cuda.is_available():
        found["gpu"] = torch.cuda.get_device_name()
    return {**found, "versions": versions, "date": datetime.date.today().isoformat()}


def cpu_model() -> str:
    """Return the name of the processor."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
