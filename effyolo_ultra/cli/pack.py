"""`effyolo pack`: a trained network as a zip or folder to share."""

from __future__ import annotations

import argparse
from typing import Any

from effyolo_ultra.cli._parts import quiet, subcommand

EXAMPLES = """\
  effyolo pack runs/detect/train/weights/best.pt -o my-variant.zip
  effyolo pack best.pt -o my-variant/"""


def add(commands: Any) -> None:
    """Add the subcommand."""
    text = "pack a trained network to share it: model YAML, weights as safetensors, metadata, model card, licence"
    parser = subcommand(commands, "pack", text, EXAMPLES)
    parser.add_argument("model", help="a checkpoint of Ultralytics, such as runs/detect/train/weights/best.pt")
    parser.add_argument("-o", "--output", metavar="PATH", required=True, help="the .zip file or the folder to write")
    parser.add_argument("--overwrite", action="store_true", help="replace the output if it is there")
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Pack, and print what was written."""
    with quiet():
        from effyolo_ultra.sharing.contents import read
        from effyolo_ultra.sharing.pack import pack

        path = pack(given.model, given.output, overwrite=given.overwrite)
    print(f"{path}:")
    for name, content in sorted(read(path).items()):
        print(f"  {name:<18} {len(content):>12,} bytes")
    return 0
