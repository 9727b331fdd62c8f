"""`effyolo fusion`: the learned fusion weights of a checkpoint."""

from __future__ import annotations

import argparse
from typing import Any

from effyolo_ultra.cli._parts import print_json, quiet, subcommand

EXAMPLES = """\
  effyolo fusion runs/detect/train/weights/best.pt
  effyolo fusion best.pt --plot weights.svg
  effyolo fusion best.pt --json"""


def add(commands: Any) -> None:
    """Add the subcommand."""
    parser = subcommand(commands, "fusion", "show the learned fusion weights of a network", EXAMPLES)
    parser.add_argument("model", help="a checkpoint of Ultralytics, such as runs/detect/train/weights/best.pt")
    parser.add_argument("--plot", metavar="FILE", help="draw them too, into a new .png, .svg or .pdf file")
    parser.add_argument("--overwrite", action="store_true", help="let --plot replace a file")
    parser.add_argument("--json", action="store_true", help="print one record for each edge instead of a table")
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Show the weights."""
    with quiet():
        from effyolo_ultra.fusion.edges import fusion_weights, load
        from effyolo_ultra.fusion.plot import plot_fusion_weights
        from effyolo_ultra.fusion.table import fusion_table

        network = load(given.model)
        edges = fusion_weights(network)
        if not edges:
            raise ValueError(f"{given.model} has no weighted fusion (BiFPN, BiFPN_Add or BiFPN_Concat)")
        if given.plot:
            plot_fusion_weights(network, given.plot, overwrite=given.overwrite)
    if given.json:
        print_json([edge._asdict() for edge in edges])
    else:
        print(fusion_table(edges), end="")
    return 0
