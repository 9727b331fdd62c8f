"""`effyolo features`: what a network sees in a picture."""

from __future__ import annotations

import argparse
import logging
from typing import Any

from effyolo_ultra.cli._parts import quiet, subcommand

EXAMPLES = """\
  effyolo features best.pt image.jpg
  effyolo features best.pt image.jpg --layers 0 5 --top 8 -o maps
  effyolo features best.pt image.jpg --cam eigen
  effyolo features best.pt image.jpg --cam layer --class star"""


def add(commands: Any) -> None:
    """Add the subcommand."""
    parser = subcommand(commands, "features", "draw the feature maps of a network for a picture", EXAMPLES)
    parser.add_argument("model", help="a checkpoint of Ultralytics, such as runs/detect/train/weights/best.pt")
    parser.add_argument("image", help="the picture to look at")
    parser.add_argument("-o", "--output", metavar="FOLDER", help="folder to write into, by default IMAGE-features")
    parser.add_argument(
        "--layers",
        metavar="N",
        type=int,
        nargs="+",
        help="rows of the model YAML but the head; by default all, with --cam none",
    )
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument("--reduce", choices=("mean", "max"), default="mean", help="show the mean or max of the channels")
    shown.add_argument("--top", metavar="N", type=int, help="show the N most active channels one by one instead")
    parser.add_argument(
        "--cam",
        choices=("eigen", "layer", "hires", "grad"),
        help="draw class-activation maps (EigenCAM, LayerCAM, HiResCAM; GradCAM suits classifiers) on the maps that the"
        " head takes, and feature maps for --layers only; needs grad-cam",
    )
    parser.add_argument("--class", metavar="NAME", dest="target", help="the class to explain, for --cam but eigen")
    parser.add_argument(
        "--conf", type=float, default=0.25, help="least score of the predictions to explain, by default 0.25"
    )
    parser.add_argument("--imgsz", metavar="N", type=int, help="size of the input, by default that of the training")
    parser.add_argument("--overwrite", action="store_true", help="replace pictures that are there")
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Draw, and print the files."""
    with quiet(logging.INFO):  # it says what class-activation maps explain
        from effyolo_ultra.feature_maps.pictures import features

        paths = features(
            given.model,
            given.image,
            given.output,
            layers=given.layers,
            reduce=given.reduce,
            top=given.top,
            cam=given.cam,
            target=given.target,
            conf=given.conf,
            imgsz=given.imgsz,
            overwrite=given.overwrite,
        )
    print(*paths, sep="\n")
    return 0
