"""`effyolo diff`: how two networks differ."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from effyolo_ultra.cli._parts import print_json, quiet, subcommand

if TYPE_CHECKING:
    from collections.abc import Iterator

    from effyolo_ultra.comparison import Comparison, RowChange
    from effyolo_ultra.info import Share

EXAMPLES = """\
  effyolo diff yolov5-effb0-bifpn.yaml yolov5-effb0-pan.yaml
  effyolo diff yolov5n-effdet.yaml mine.yaml
  effyolo diff first/weights/best.pt second/weights/best.pt --json

The exit code is 0 if they are the same, 1 if they differ, 2 for trouble. Weights are not compared."""


def add(commands: Any) -> None:
    """Add the subcommand."""
    parser = subcommand(commands, "diff", "show how two networks differ: rows, keys, sizes", EXAMPLES)
    parser.add_argument("first", help="name or path of a model YAML, or a checkpoint (.pt)")
    parser.add_argument("second", help="the same of the other network")
    parser.add_argument(
        "--imgsz", type=int, default=640, help="height and width of the image to count GFLOPs for, by default 640"
    )
    parser.add_argument("--json", action="store_true", help="print all of it as one record")
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Show the differences."""
    with quiet():
        from effyolo_ultra.comparison import compare

        found = compare(given.first, given.second, given.imgsz)
    if given.json:
        print_json(as_json(found, given))
    else:
        from effyolo_ultra.cli._tables import show

        show(*text(found, given), sizes(found))
    return 0 if found.same else 1


def as_json(found: Comparison, given: argparse.Namespace) -> dict[str, Any]:
    """Return the comparison as plain values."""
    return {
        "first": given.first,
        "second": given.second,
        "same": found.same,
        "rows": [change._asdict() for change in found.rows],
        "keys": [change._asdict() for change in found.keys],
        "parts": [
            {
                "part": a.part,
                "parameters": [a.parameters, b.parameters, b.parameters - a.parameters],
                "gflops": [a.gflops, b.gflops, b.gflops - a.gflops],
            }
            for a, b in zip(found.first_parts, found.second_parts)
        ],
    }


def text(found: Comparison, given: argparse.Namespace) -> Iterator[str]:
    """Yield the lines for rows and keys, with - and + as diff has them."""
    if found.same:
        yield "the networks are the same\n"
        return
    yield f"- {given.first}\n+ {given.second}"
    for key, before, after in found.keys:
        values = (("-", before), ("+", after))
        yield "\n".join(f"{sign} {key}: {shown(key, value)}" for sign, value in values if value is not None)
    part = ""
    for change in found.rows:
        if change.part != part:
            part = change.part
            yield f"{part}:"
        yield "\n".join(row_lines(change))
    yield ""


def shown(key: str, value: Any) -> Any:
    """Return a value as text, of a pruned network's hundreds of channels only how many: the sizes say the rest."""
    return f"the channels of {len(value)} layers" if key == "pruned" and isinstance(value, dict) else value


def row_lines(change: RowChange) -> Iterator[str]:
    """Yield the lines for one row."""
    if change.first is not None:
        yield f"- row {change.first}: {change.before}"
    if change.second is not None:
        yield f"+ row {change.second}: {change.after}"


def sizes(found: Comparison) -> Any:
    """Return the table of sizes."""
    from effyolo_ultra.cli._tables import table

    headings = ("part", "parameters", "", "difference", "GFLOPs", "", "difference")
    columns = table(*headings, numbers=range(1, 7))
    for a, b in zip(found.first_parts, found.second_parts):
        add_part(columns, a.part, a, b)
    add_part(columns, "all", found.first, found.second)
    return columns


def add_part(columns: Any, name: str, a: Share | Any, b: Share | Any) -> None:
    """Add a row for a part of both networks, or for the whole networks."""
    columns.add_row(
        name,
        f"{a.parameters:,}",
        f"{b.parameters:,}",
        f"{b.parameters - a.parameters:+,}",
        f"{a.gflops:.2f}",
        f"{b.gflops:.2f}",
        f"{b.gflops - a.gflops:+.2f}",
    )
