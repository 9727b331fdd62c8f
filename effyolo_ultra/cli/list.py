"""`effyolo list`: the models of the zoo."""

from __future__ import annotations

import argparse
from typing import Any

from effyolo_ultra.cli._parts import print_json, subcommand

EXAMPLES = """\
  effyolo list
  effyolo list effdet
  effyolo list "yolov5n-*" --json"""


def add(commands: Any) -> None:
    """Add the subcommand."""
    parser = subcommand(commands, "list", "list the models of the zoo, GFLOPs at 640 x 640", EXAMPLES)
    parser.add_argument("pattern", nargs="?", default="", help="a part of the names, or a pattern such as '*-seg'")
    parser.add_argument("--task", default="", help="only models for a task: detect, segment, pose, obb, classify")
    parser.add_argument("--json", action="store_true", help="print one record for each model instead of a table")
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """List the models."""
    from effyolo_ultra.zoo_records import model_records

    records = model_records(given.pattern, given.task)
    if given.json:
        print_json([record._asdict() for record in records])
        return 0
    from effyolo_ultra.cli._tables import show, table

    columns = table(
        "model", "task", "backbone", "neck", "head, strides", "params", "GFLOPs", numbers=(5, 6), fold=(2, 3, 4), gap=1
    )
    for r in records:
        name, backbone = r.name[: -len(".yaml")], r.backbone.removeprefix("tf_efficientnet")
        strides = f"{r.strides[0]}..{r.strides[-1]}" if len(r.strides) > 1 else str(r.strides[0])
        size = f"{r.parameters / 1e6:.1f}M", f"{r.gflops:.1f}"
        columns.add_row(name, r.task, backbone.removeprefix("_"), r.neck, f"{r.head} {strides}", *size)
    show(columns)
    return 0
