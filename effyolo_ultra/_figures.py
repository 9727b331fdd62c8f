"""What the pictures of networks have in common: their formats, their ink, texts that are no formulas, and writing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from effyolo_ultra._output import check_free, replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".svg", ".pdf")
INK = "#222222"


def check_target(path: Path, overwrite: bool) -> None:
    """Refuse a path whose suffix is no picture's, or that cannot be written."""
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"a picture ends in {', '.join(SUFFIXES)}, not '{path.name}'")
    check_free(path, overwrite)


def save_picture(figure: Figure, path: Path, overwrite: bool, dpi: int) -> None:
    """Write a picture, which gets its name when it is complete."""
    with replacing(path, overwrite) as beside:
        figure.savefig(beside, format=path.suffix.lower()[1:], dpi=dpi)


def no_formula(text: str) -> str:
    """Return a text of a user as matplotlib is to be given it: between two dollars it would see a formula."""
    return text.replace("$", r"\$")
