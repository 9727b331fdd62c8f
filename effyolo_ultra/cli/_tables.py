"""Tables on a terminal, which fold their words and never cut a number."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection
from typing import Any

PIPED_WIDTH = 160  # nothing is folded for a program that reads the lines; COLUMNS says otherwise


def table(*headings: str, numbers: Collection[int] = (), fold: Collection[int] | None = None, gap: int = 2) -> Any:
    """Return an empty table of rich.

    Args:
        headings: The headings of the columns.
        numbers: Which columns hold numbers: aligned to the right, and never broken.
        fold: Which columns break over several lines where the terminal is too narrow; all others by default.
        gap: Spaces between two columns.
    """
    from rich.table import Table

    columns = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0), header_style="bold")
    for index, heading in enumerate(headings):
        breaks = index not in numbers if fold is None else index in fold
        columns.add_column(
            heading, justify="right" if index in numbers else "left", no_wrap=not breaks, overflow="fold"
        )
    return columns


def show(*renderables: Any) -> None:
    """Print tables and lines, with words in brackets as they stand."""
    from rich.console import Console

    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else PIPED_WIDTH
    console = Console(markup=False, highlight=False, emoji=False, width=width)
    for renderable in renderables:
        console.print(renderable)
