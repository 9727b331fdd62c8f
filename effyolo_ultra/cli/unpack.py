"""`effyolo unpack`: the checkpoint of a shared variant."""

from __future__ import annotations

import argparse
from typing import Any

from effyolo_ultra.cli._parts import quiet, subcommand

EXAMPLES = """\
  effyolo unpack my-variant.zip -o my-variant.pt
  yolo predict model=my-variant.pt source=image.jpg"""


def add(commands: Any) -> None:
    """Add the subcommand."""
    text = "write the checkpoint of a variant that somebody shared, without running anything that is in it"
    parser = subcommand(commands, "unpack", text, EXAMPLES)
    parser.add_argument("variant", help="a .zip file or a folder that `effyolo pack` has written")
    parser.add_argument("-o", "--output", metavar="FILE", required=True, help="the checkpoint to write, a .pt file")
    parser.add_argument("--overwrite", action="store_true", help="replace the output if it is there")
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Unpack, and print what was written."""
    with quiet():
        from effyolo_ultra.sharing.unpack import unpack

        path = unpack(given.variant, given.output, overwrite=given.overwrite)
    print(path)
    return 0
