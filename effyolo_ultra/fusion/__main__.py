"""The command `python -m effyolo_ultra.fusion best.pt`: the fusion weights of a checkpoint."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from effyolo_ultra.errors import EffYoloError
from effyolo_ultra.fusion.edges import fusion_weights, load
from effyolo_ultra.fusion.plot import plot_fusion_weights
from effyolo_ultra.fusion.table import fusion_table


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return 0, or 1 for what it refuses, with the reason on stderr."""
    parser = argparse.ArgumentParser(
        prog="python -m effyolo_ultra.fusion", description="Show the learned fusion weights of a network."
    )
    parser.add_argument("model", help="a checkpoint of Ultralytics, such as runs/detect/train/weights/best.pt")
    parser.add_argument("--plot", metavar="FILE", help="draw them too, into a new .png, .svg or .pdf file")
    parser.add_argument("--overwrite", action="store_true", help="let --plot replace a file")
    parser.add_argument("--json", action="store_true", help="print one record for each edge instead of a table")
    given = parser.parse_args(arguments)
    try:
        network = load(given.model)
        edges = fusion_weights(network)
        if given.plot and edges:
            plot_fusion_weights(network, given.plot, overwrite=given.overwrite)
    except (EffYoloError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if not edges:
        print(f"error: {given.model} has no weighted fusion (BiFPN, BiFPN_Add or BiFPN_Concat)", file=sys.stderr)
        return 1
    print(json.dumps([edge._asdict() for edge in edges], indent=1) if given.json else fusion_table(edges), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
