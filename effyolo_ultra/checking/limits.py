"""How large a file and its network may be, so that a file from anywhere can be checked before anything is built.

Each limit is far above every network in use, and low enough that reaching it costs no more than a moment.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from effyolo_ultra.document import ModelDocument
from effyolo_ultra.row import Row

MAX_BYTES = 256 * 1024  # the largest file of Ultralytics has 5 kB; this much is composed in a fraction of a second
MAX_NODES = 50_000  # with aliases expanded: 1000 rows of some 10 values each, and room
MAX_DEPTH = 50  # of lists and mappings; a row of options in use has 5, and Python's recursion ends before 1000
MAX_ROWS = 1000  # the longest network in use has about 50; Python's recursion and the tables cope with this many
MAX_REPEATS = 1000  # of a row, and of all rows, scaled by depth: each is a module that is built in Python
MAX_CHANNELS = 65536  # no layer in use has more than some thousand; a 1x1 convolution of this many takes 17 GB
MAX_PARAMETERS = 2_000_000_000  # 8 GB in float32, by a bound that is some times above the real number


def too_many_rows(document: ModelDocument) -> str:
    """Say that there are too many rows, '' if there are not."""
    rows = len(document.written)
    return f"there are {rows} rows; more than {MAX_ROWS} are not built." if rows > MAX_ROWS else ""


def too_large(row: Row) -> str:
    """Say what number of a row is too large, '' if none is."""
    repeats = row.scaling.repeats(row.repeats)
    if max(repeats, row.repeats) > MAX_REPEATS:
        scaled = f", {repeats} after scaling" if repeats != row.repeats else ""
        return f"repeats must be at most {MAX_REPEATS}, not {row.repeats}{scaled}."
    largest = largest_number(row)
    if largest > MAX_CHANNELS:
        return f"a number in args must be at most {MAX_CHANNELS} after scaling, not {largest:g}."
    return ""


def largest_number(row: Row) -> float:
    """Return the largest number in the args of a row, scaled by width where that makes it larger."""
    return max((abs(n) for n in numbers(row.all_args)), default=0) * max(1.0, row.scaling.width)


def layers_and_parameters(rows: list[Row]) -> tuple[int, float]:
    """Return the number of modules that rows stand for, and a bound of their parameters, as if all were 3x3."""
    widest = max((largest_number(row) for row in rows), default=0)
    repeats = [row.scaling.repeats(row.repeats) for row in rows]
    return sum(repeats), sum(9.0 * n * largest_number(row) * widest for n, row in zip(repeats, rows))


def numbers(value: Any) -> Iterator[float]:
    """Yield the numbers in nested lists and mappings; not the truth values."""
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from numbers(item)
    elif isinstance(value, dict):
        yield from numbers(list(value.values()))
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield value
