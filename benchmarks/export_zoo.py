"""Every file of the zoo through the exports that its users ask for most, for docs/exports.md.

python -m benchmarks.export_zoo --write               writes the table into docs/exports.md
python -m benchmarks.export_zoo --models NAME ...     prints the rows of these models

Each file in its smallest scale, with random weights and the BatchNorm statistics of drawn pictures; what the exported
file gives before NMS, run by its own runtime, is compared with torch. A process each: a runtime can crash.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
from ultralytics import RTDETR, YOLO

from benchmarks import child
from benchmarks.export_checks import outputs
from benchmarks.export_models import IMGSZ, calibrated, draw_pictures, picture_batch
from benchmarks.page import write_between
from effyolo_ultra import list_models
from effyolo_ultra.zoo import split_scale

PAGE, TABLE = "docs/exports.md", "zoo export table"
ASKED = [{"format": "onnx"}, {"format": "onnx", "dynamic": True}, {"format": "torchscript"}, {"format": "openvino"}]
MINUTES = 30
PICTURES = {"train": 4, "val": 1, "imgsz": 160}


def smallest() -> list[str]:
    """Return each file of the zoo once, in its smallest scale."""
    first: dict[str, str] = {}
    for name in sorted(list_models(), key=lambda name: "nsmlx".find(split_scale(name)[1])):
        first.setdefault(split_scale(name)[0], name)
    return sorted(first.values())


def deviation(expected: list[np.ndarray], given: list[np.ndarray]) -> float:
    """Return the largest deviation of a channel, relative to the largest value in it."""
    assert [x.shape for x in expected] == [y.shape for y in given], "the outputs have other shapes"
    return max(
        boxes_apart(x[0], y[0]) if x.shape[-1] == 6 else values_apart(x[0], y[0]) for x, y in zip(expected, given)
    )


def values_apart(x: np.ndarray, y: np.ndarray) -> float:
    """Compare outputs (channels, ...) value by value."""
    axes = tuple(range(1, x.ndim))
    return float((np.abs(x - y).max(axes) / np.abs(x).max(axes).clip(1e-3)).max())


def boxes_apart(x: np.ndarray, y: np.ndarray) -> float:
    """Compare the better half of the boxes (boxes, 6) of a head without NMS: nearly equal scores change places."""
    apart = (np.abs(x[:, None] - y[None]) / np.abs(x).max(0).clip(1e-3)).max(2)
    half = len(x) // 2
    return float(max(apart[:half].min(1).max(), apart[:, :half].min(0).max()))


def check(name: str, folder: Path) -> dict[str, float | str]:
    """Export a model in all ways; return the deviation of each, or its error."""
    weights = calibrated(name, folder, PICTURES, strides=2)
    images = draw_pictures(folder, PICTURES)[:2]
    kind = RTDETR if name.startswith("rtdetr") else YOLO
    # OpenVINO pools no map that is smaller than the kernel; RT-DETR takes the best 300 of more places than that.
    imgsz = 96 if kind is RTDETR else max(IMGSZ, 2 * int(kind(weights).model.stride.max()))
    os.chdir(folder)
    found: dict[str, float | str] = {}
    for options in ASKED:
        label = " ".join(f"{key}={value}" for key, value in options.items())
        try:
            file = Path(kind(weights).export(imgsz=imgsz, device="cpu", verbose=False, **options))
            if label == "format=onnx":
                shapes = sum(node.op_type == "Shape" for node in onnx.load(file).graph.node)
                assert not shapes, f"{shapes} Shape operations in a static graph"
            sizes = [imgsz, 2 * imgsz] if options.get("dynamic") else [imgsz]
            batches = [picture_batch(images, (size, size)) for size in sizes]
            found[label] = max(deviation(outputs(weights, batch), outputs(file, batch)) for batch in batches)
        except Exception as error:  # what ends an export is its result
            found[label] = f"{type(error).__name__}: {error}".strip().splitlines()[0]
    return found


def row(name: str) -> str:
    """Return the line of the table for a model, checked in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "benchmarks.export_zoo", "--check", name, folder]
        found, ended = child.results(command, MINUTES, child.environment())
    if not found:
        return f"| `{name}` | {child.first_line(ended)} {'|  ' * (len(ASKED) - 1)}|\n"
    cells = [f"{x:.0e}" if isinstance(x, float) else x[:100].replace("|", "/") for x in found[-1].values()]
    return f"| `{name}` | {' | '.join(cells)} |\n"


def main() -> None:
    """Check models, and print the table or write it into the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", metavar="MODEL", help="names of the zoo; all files if left out")
    parser.add_argument("--write", action="store_true", help=f"write the table into {PAGE}")
    parser.add_argument("--check", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.check:
        child.report(check(arguments.check[0], Path(arguments.check[1])))
        return
    labels = [" ".join(f"{key}={value}" for key, value in options.items()) for options in ASKED]
    text = f"| model | {' | '.join(f'`{label}`' for label in labels)} |\n|{' --- |' * (1 + len(ASKED))}\n"
    for name in arguments.models or smallest():
        text += (line := row(name))
        print(line, end="", flush=True)
    if arguments.write:
        write_between(PAGE, TABLE, text)


if __name__ == "__main__":
    main()
