"""`effyolo new`: a model YAML from a backbone, a neck and a head."""

from __future__ import annotations

import argparse
from typing import Any

from effyolo_ultra.cli._parts import quiet, subcommand

EXAMPLES = """\
  effyolo new --backbone b3 --neck wpan --head yolov8 -o yolov8-mine.yaml
  effyolo new --backbone convnext_tiny --neck bifpn --channels 96 --repeats 2 --levels 3-6
  effyolo new --head yolo11 --task segment -o yolo11-mine-seg.yaml      # grows with the scale letter
  effyolo new --backbone resnet18 --task classify -o resnet18-cls.yaml"""


def add(commands: Any) -> None:
    """Add the subcommand."""
    text = "compose a model YAML from a backbone, a neck and a head, and build it once to be sure"
    parser = subcommand(commands, "new", text, EXAMPLES)
    parser.add_argument(
        "--backbone",
        metavar="NAME",
        help="b0 to b8, lite0 to lite4, v2-b0 to v2-b3, v2-s, v2-m, v2-l, v2-xl, or another timm model with feature"
        " maps; by default an EfficientNet that grows with the scale letter of the file's name",
    )
    parser.add_argument(
        "--neck",
        metavar="NECK",
        help="wpan (weighted PAN, row by row; the default), pan (plain PAN), or bifpn (stacked BiFPN cells)",
    )
    parser.add_argument(
        "--head",
        metavar="HEAD",
        help="yolov5 (the default), yolov8, yolo11, yolo26 or rtdetr: the head, and the blocks of a PAN",
    )
    parser.add_argument(
        "--task", default="detect", metavar="TASK", help="detect (the default), segment, pose, obb or classify"
    )
    parser.add_argument(
        "--levels", metavar="RANGE", help="finest and coarsest level of neck and head, such as 2-5; by default 3-5"
    )
    parser.add_argument(
        "--scale",
        metavar="LETTER",
        help="n, s, m, l or x: one size, with the neck of this scale; by default that of the EfficientNet nearest to"
        " the backbone in parameters",
    )
    parser.add_argument("--channels", type=int, metavar="N", help="channels of BiFPN; by default those of EfficientDet")
    parser.add_argument(
        "--repeats", type=int, metavar="N", help="cells of BiFPN, 1 to 8; by default as many as in EfficientDet"
    )
    parser.add_argument(
        "--light",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="separable convolutions in the head; by default behind bifpn only",
    )
    parser.add_argument("-o", "--output", metavar="FILE", help="the file to write; by default the YAML is printed")
    parser.add_argument("--overwrite", action="store_true", help="replace the output if it is there")
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Compose, try, and write or print."""
    parts = ("backbone", "neck", "head", "task", "levels", "scale", "channels", "repeats", "light")
    with quiet():
        from effyolo_ultra.composing.files import check_output, try_model, write_model
        from effyolo_ultra.composing.text import compose

        if given.output:
            check_output(given.output, given.overwrite)
        text = compose(**{part: getattr(given, part) for part in parts})
        if given.output:
            write_model(text, given.output, overwrite=given.overwrite)
        else:
            try_model(text, "the composed YAML")
    print(f"wrote {given.output}" if given.output else text, end="\n" if given.output else "")
    return 0
