"""Whether a file of torch.save is as it was written, and its tensors are plain: torch itself does not ask."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch

from effyolo_ultra.errors import WeightsError

MAX_RATIO = 4  # of the tensors to the file: some share their numbers, and float32 is twice the size of float16


def check_intact(path: Path) -> None:
    """Raise a WeightsError for a file of torch.save whose checksums do not fit what it holds.

    What is no such file is not looked at; neither is the form of torch before 1.6, which has no checksums.
    """
    try:
        if not zipfile.is_zipfile(path):
            return
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except Exception as error:  # each part of the format has its own
        damaged = f"its list of contents ({error})"
    if damaged:
        raise WeightsError(
            f"'{path}' is damaged: the checksum of {damaged} does not fit. Copy it again from where it comes from."
        )


def plain(tensors: Mapping[str, torch.Tensor], path: Path) -> Mapping[str, torch.Tensor]:
    """Return the tensors of a file, or raise a WeightsError if they are no arrays of numbers that are all in it.

    A few bytes can describe a tensor that would take all memory: one number, seen as many.
    """
    for name, t in tensors.items():
        if t.layout is not torch.strided or t.is_quantized or t.is_meta:
            raise WeightsError(f"'{path}' holds no plain numbers: {name} is {t.dtype}, {t.layout}, on {t.device}")
    size, of_file = sum(t.numel() * t.element_size() for t in tensors.values()), path.stat().st_size
    if size > MAX_RATIO * of_file:
        raise WeightsError(f"'{path}' is damaged: its tensors would take {size:,} bytes, and it has {of_file:,}")
    return tensors
