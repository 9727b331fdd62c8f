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
MAX_SCALES = 20  # five letters are in use; each scale is a network to build
MAX_REPEATS = 1000  # of a row, and of all rows, scaled by depth: each is a module that is built in Python
OF_NUMBERS = ("nc", "kpt_shape", "reg_max", "channels", "ch")  # top-level keys that networks are built by
MAX_CHANNELS = 65536  # no layer in use has more than some thousand; a 1x1 convolution of this many takes 17 GB
MAX_PARAMETERS = 2_000_000_000  # 8 GB in float32
WIDE = 1024  # up to this number in args, no module of ours has more parameters than that
MAX_ELEMENTS = 200_000_000  # of what all rows give for a small image: 0.8 GB, and the largest in use has 5 % of that


def too_many_rows(document: ModelDocument) -> str:
    """Say that there are too many rows, '' if there are not."""
    rows = len(document.written)
    return f"there are {rows} rows; more than {MAX_ROWS} are not built." if rows > MAX_ROWS else ""


def too_many_scales(document: ModelDocument) -> str:
    """Say that there are too many scales, '' if there are not."""
    scales = document.d.get("scales")
    many = isinstance(scales, dict) and len(scales) > MAX_SCALES
    return f"there are {len(scales)} scales; more than {MAX_SCALES} are not built." if many else ""


def too_large(row: Row) -> str:
    """Say what number of a row is too large, '' if none is."""
    repeats = row.scaling.repeats(min(row.repeats, MAX_REPEATS + 1))
    if max(repeats, row.repeats) > MAX_REPEATS:
        scaled = f", {repeats} after scaling" if repeats != row.repeats else ""
        return f"repeats must be at most {MAX_REPEATS}, not {row.repeats}{scaled}."
    largest = largest_number(row)
    if largest > MAX_CHANNELS:
        return f"a number in args must be at most {MAX_CHANNELS} after scaling, not {largest:g}."
    return ""


def too_large_keys(d: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the top-level keys with a number that is too large, and say so."""
    for key in OF_NUMBERS:
        largest = max((abs(n) for n in numbers(d.get(key))), default=0)
        if largest > MAX_CHANNELS:
            yield key, f"'{key}' must be at most {MAX_CHANNELS}, not {largest:g}."


def too_many_layers(rows: list[Row]) -> str:
    """Say that the rows stand for too many layers, '' if they do not."""
    layers, _ = layers_and_parameters(rows)
    return f"the rows stand for {layers} layers; more than {MAX_REPEATS} are not built." if layers > MAX_REPEATS else ""


def count_values(value: Any, most: int) -> int:
    """Return the number of values in nested lists and mappings, aliases expanded; it ends at `most`."""
    count, waiting = 0, [value]
    while waiting and count < most:
        item = waiting.pop()
        count += 1
        if isinstance(item, dict):
            item = [*item.keys(), *item.values()]
        if isinstance(item, (list, tuple)):
            waiting.extend(item[: most - count])
    return count


def largest_number(row: Row) -> float:
    """Return the largest number in the args of a row, scaled by width where that makes it larger."""
    return max((abs(n) for n in numbers(row.all_args)), default=0) * max(1.0, row.scaling.width)


def layers_and_parameters(rows: list[Row]) -> tuple[int, float]:
    """Return the number of modules that rows stand for, and a bound of their parameters, as if all were 3x3."""
    widest = max((largest_number(row) for row in rows), default=0)
    repeats = [row.scaling.repeats(row.repeats) for row in rows]
    return sum(repeats), sum(9.0 * n * largest_number(row) * widest for n, row in zip(repeats, rows))


def numbers(value: Any) -> Iterator[float]:
    """Yield the numbers in nested lists and mappings, infinite where they are no sizes; not the truth values."""
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from numbers(item)
    elif isinstance(value, dict):
        yield from numbers(list(value.values()))
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield value if abs(value) < 1e30 else float("inf")  # NaN, and what is too large for a float
