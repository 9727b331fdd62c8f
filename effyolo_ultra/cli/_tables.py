"""Tables on a terminal, which fold their words and never cut a number."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any


def table(*headings: str, numbers: Collection[int] = (), fold: Collection[int] | None = None) -> Any:
    """Return an empty table of rich.

    Args:
        headings: The headings of the columns.
        numbers: Which columns hold numbers: aligned to the right, and never broken.
        fold: Which columns break over several lines where the terminal is too narrow; all others by default.
    """
    from rich.table import Table

    columns = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for index, heading in enumerate(headings):
        breaks = index not in numbers if fold is None else index in fold
        columns.add_column(
            heading, justify="right" if index in numbers else "left", no_wrap=not breaks, overflow="fold"
        )
    return columns


def show(*renderables: Any) -> None:
    """Print tables and lines, with words in brackets as they stand."""
    from rich.console import Console

    console = Console(markup=False, highlight=False, emoji=False, soft_wrap=False)
    for renderable in renderables:
        console.print(renderable)
