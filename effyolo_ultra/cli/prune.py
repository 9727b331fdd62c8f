"""`effyolo prune`: structured pruning of a trained network."""

from __future__ import annotations

import argparse
from typing import Any

from effyolo_ultra.cli._parts import quiet, subcommand

EXAMPLES = """\
  effyolo prune best.pt --ratio 0.3 -o pruned.pt
  yolo train model=pruned.pt data=... epochs=50"""


def add(commands: Any) -> None:
    """Add the subcommand."""
    text = "take the weakest channels out of a trained network, and save what is left to fine-tune it"
    parser = subcommand(commands, "prune", text, EXAMPLES)
    parser.add_argument("model", help="a checkpoint of Ultralytics, such as runs/detect/train/weights/best.pt")
    parser.add_argument("-o", "--output", metavar="FILE", required=True, help="the checkpoint to write, a .pt file")
    parser.add_argument(
        "--ratio", type=float, default=0.3, help="share of the channels to take out of each layer, by default 0.3"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the output if it is there")
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Prune, and print what was saved."""
    with quiet():
        from effyolo_ultra.pruning import prune

        pruned = prune(given.model, given.output, given.ratio, overwrite=given.overwrite)
    print(pruned)
    return 0
