"""`effyolo draw`: a network as a picture."""

from __future__ import annotations

import argparse
from typing import Any

from effyolo_ultra.cli._parts import quiet, subcommand

EXAMPLES = """\
  effyolo draw yolov5n-effdet.yaml -o network.svg
  effyolo draw runs/detect/train/weights/best.pt -o network.pdf
  effyolo draw yolo11n.yaml -o yolo11n.png --title YOLO11n"""


def add(commands: Any) -> None:
    """Add the subcommand."""
    parser = subcommand(commands, "draw", "draw a network, with a row for each pyramid level", EXAMPLES)
    parser.add_argument("model", help="name or path of a model YAML, or a .pt file, whose fusion weights are drawn too")
    parser.add_argument("-o", "--output", metavar="FILE", required=True, help="the .svg, .pdf or .png file to write")
    parser.add_argument("--title", default="", help="what to write above the picture")
    parser.add_argument("--overwrite", action="store_true", help="replace the output if it is there")
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Draw, and print the file."""
    with quiet():
        from effyolo_ultra.drawing import draw

        path = draw(given.model, given.output, title=given.title, overwrite=given.overwrite)
    print(path)
    return 0
