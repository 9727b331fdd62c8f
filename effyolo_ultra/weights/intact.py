"""Whether a file of torch.save is as it was written: torch reads changed bytes without a word."""

from __future__ import annotations

import zipfile
from pathlib import Path

from effyolo_ultra.errors import WeightsError


def check_intact(path: Path) -> None:
    """Raise a WeightsError for a file of torch.save whose checksums do not fit what it holds.

    What is no such file is not looked at; neither is the form of torch before 1.6, which has no checksums.
    """
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except Exception as error:  # each part of the format has its own
        damaged = f"its list of contents ({error})"
    if damaged:
        raise WeightsError(
            f"'{path}' is damaged: the checksum of {damaged} does not fit. Copy it again from where it comes from."
        )
