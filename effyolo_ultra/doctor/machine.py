"""GPUs, and the folders that Ultralytics writes into."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from effyolo_ultra.doctor.finding import Finding

LITTLE_GB = 5  # a data set and a few runs fill that
TOO_LITTLE_GB = 0.5  # not enough for the checkpoints of one run of a large model


def look() -> Iterator[Finding]:
    """Yield the findings."""
    yield gpu()
    from ultralytics.utils import SETTINGS, USER_CONFIG_DIR

    # Ultralytics itself falls back to a temporary folder where it cannot write its settings.
    yield folder("settings", Path(USER_CONFIG_DIR), "set YOLO_CONFIG_DIR to a folder of yours", "warning")
    for name in ("runs_dir", "datasets_dir"):
        yield folder(name, Path(SETTINGS[name]), f"yolo settings {name}=/a/folder/of/yours", "problem")
    yield disk(Path(SETTINGS["runs_dir"]))


def gpu() -> Finding:
    """Return the finding on GPUs."""
    import torch

    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        kind = f"ROCm {torch.version.hip}" if torch.version.hip else f"CUDA {torch.version.cuda}"
        return Finding("machine", "GPU", "ok", f"{len(names)} with {kind}: {', '.join(names)}")
    if getattr(torch.backends, "mps", None) and torch.backends.mps.is_available():
        return Finding("machine", "GPU", "ok", "Apple's, device=mps")
    if shutil.which("nvidia-smi"):
        built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
        text = f"there is an NVIDIA driver, but torch {torch.__version__} ({built}) finds no GPU"
        return Finding("machine", "GPU", "warning", text, "install the torch that fits the driver: pytorch.org")
    return Finding("machine", "GPU", "note", "none; trainings run on the CPU")


def folder(name: str, path: Path, advice: str, state: str) -> Finding:
    """Return the finding on a folder to write into, which may not be there yet."""
    there = nearest_there(path)
    if there.is_dir() and os.access(there, os.W_OK | os.X_OK):
        return Finding("machine", name, "ok", str(path))
    if not there.exists():
        return Finding("machine", name, state, f"{path} cannot be written: there is no {there}", advice)
    reason = "no permission to write" if there.is_dir() else "there is a file of this name"
    return Finding("machine", name, state, f"{path} cannot be written: {reason} at {there}", advice)


def disk(path: Path) -> Finding:
    """Return the finding on the space that is left where runs are written."""
    there = nearest_there(path)
    if not there.exists():
        return Finding("machine", "disk", "note", f"not looked at: there is no {there}")
    free = shutil.disk_usage(there).free / 1e9
    text = f"{free:.1f} GB free at {there}"
    if free >= LITTLE_GB:
        return Finding("machine", "disk", "ok", text)
    return Finding("machine", "disk", "problem" if free < TOO_LITTLE_GB else "warning", text, "make room on this disk")


def nearest_there(path: Path) -> Path:
    """Return a path, or the nearest of its parents that is there; its root, as of a drive of Windows, may be gone."""
    *nearer, root = (path.absolute(), *path.absolute().parents)
    return next((each for each in nearer if each.exists()), root)
