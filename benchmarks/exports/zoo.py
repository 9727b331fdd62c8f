"""Every file of the zoo through the exports that its users ask for most, for docs/exports.md.

python -m benchmarks.exports.zoo --write               writes each row into docs/exports.md, as soon as it is there
python -m benchmarks.exports.zoo --models NAME ...     of these models only
python -m benchmarks.exports.zoo --jobs 2              two models at a time, each on its share of the processor

Each file in its smallest scale learns eight real pictures by heart, so that its boxes are sure. What the exported file,
run by its own runtime, finds in them is compared with torch. A process for each model: a runtime can crash.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import numpy as np
import onnx

from benchmarks import child
from benchmarks.exports.checks import boxes, compare, label, outputs
from benchmarks.exports.models import IMGSZ, learn, network, picture_batch
from benchmarks.exports.pictures import write_pictures
from benchmarks.page import rows_between, write_between
from effyolo_ultra import list_models
from effyolo_ultra.zoo import split_scale

PAGE, TABLE = "docs/exports.md", "zoo export table"
ASKED = [{"format": "onnx"}, {"format": "onnx", "dynamic": True}, {"format": "torchscript"}, {"format": "openvino"}]
MINUTES = 60
STEPS, FEW_STEPS = 60, 30  # of a training; the latter for networks of more parameters than LARGE, which are slow
LARGE = 20_000_000
DETAILS = {"segment": "masks", "pose": "keypoints", "obb": "corners", "classify": "probabilities"}
HEAD = f"| model | known | {' | '.join(f'`{label(options)}`' for options in ASKED)} |\n|{' --- |' * (2 + len(ASKED))}\n"


def smallest() -> list[str]:
    """Return each file of the zoo once, in its smallest scale."""
    first: dict[str, str] = {}
    for name in sorted(list_models(), key=lambda name: "nsmlx".find(split_scale(name)[1])):
        first.setdefault(split_scale(name)[0], name)
    return sorted(first.values())


def deviation(expected: list[np.ndarray], given: list[np.ndarray]) -> float:
    """Return the largest deviation of a channel, relative to the largest value in it in all pictures."""
    assert [x.shape for x in expected] == [y.shape for y in given], "the outputs have other shapes"
    found = []
    for shape in {x.shape for x in expected}:
        x, y = (np.concatenate([part for part in parts if part.shape == shape]) for parts in (expected, given))
        if x.ndim == 3 and x.shape[1] > x.shape[2]:
            found += map(boxes_apart, x, y)
        else:
            axes = tuple(axis for axis in range(x.ndim) if axis != 1)
            found.append(float((np.abs(x - y).max(axes) / np.abs(x).max(axes).clip(1e-3)).max()))
    return max(found)


def boxes_apart(x: np.ndarray, y: np.ndarray) -> float:
    """Compare the better half of the rows of a head without NMS, one a box: nearly equal scores change places."""
    apart = (np.abs(x[:, None] - y[None]) / np.abs(x).max(0).clip(1e-3)).max(2)
    half = len(x) // 2
    return float(max(apart[:half].min(1).max(), apart[:, :half].min(0).max()))


def check(name: str, folder: Path) -> dict:
    """Train a model, export it in all ways, and return how well it knows the pictures and what came of each export."""
    model = network(name)
    task = model.task
    # OpenVINO pools no map that is smaller than the kernel; RT-DETR takes the best 300 of more places than that.
    imgsz = 96 if name.startswith("rtdetr") else max(IMGSZ, 2 * int(model.model.stride.max()))
    data, pictures = write_pictures(folder / "pictures", task, 8 * IMGSZ // imgsz)
    weights = folder / f"{Path(name).stem}.pt"
    steps = FEW_STEPS if sum(p.numel() for p in model.model.parameters()) > LARGE else STEPS
    lr0 = 0.0005 if name.startswith("rtdetr") else 0.003
    learn(name, data, pictures, weights, imgsz=imgsz, epochs=steps, lr0=lr0, auto_augment="")
    os.chdir(folder)
    learned = network(weights).val(data=str(data), imgsz=imgsz, device="cpu", rect=False, plots=False, verbose=False)
    found = {"task": task, "known": next(v for k, v in learned.results_dict.items() if "mAP50(B)" in k or "top1" in k)}
    sizes = {imgsz: pictures, 2 * imgsz: pictures[:2]}
    expected = {size: run(weights, some, size, task) for size, some in sizes.items()}
    for options in ASKED:
        try:
            file = Path(network(weights).export(imgsz=imgsz, device="cpu", verbose=False, **options))
            if options == {"format": "onnx"}:
                shapes = sum(node.op_type == "Shape" for node in onnx.load(file).graph.node)
                assert not shapes, f"{shapes} Shape operations in a static graph"
            asked = sizes if options.get("dynamic") else [imgsz]
            found[label(options)] = same([(expected[size], run(file, sizes[size], size, task)) for size in asked])
        except Exception as error:  # what ends an export is its result
            found[label(options)] = child.first_line(f"{type(error).__name__}: {error}".strip())
    return found


def run(file: Path, pictures: list[Path], imgsz: int, task: str) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return what a network or an exported file finds in pictures, and what it gives before NMS."""
    return boxes(file, pictures, imgsz, task=task), outputs(file, picture_batch(pictures, (imgsz, imgsz)))


def same(pairs: list) -> dict:
    """Compare what `run` gives for torch and for the exported file, at each size."""
    expected, given = ([picture for side in sides for picture in side[0]] for sides in zip(*pairs))
    return {**compare(expected, given), "raw": max(deviation(one[1], other[1]) for one, other in pairs)}


def cell(result: dict | str, task: str) -> str:
    """Say what came of an export."""
    if isinstance(result, str):
        return result
    told = f"{result['boxes']} {'classes' if task == 'classify' else 'boxes'}"
    if result["unpaired"]:
        told += f", {result['unpaired']} unlike"
    if task != "classify":
        told += f", {result['pixels']:.1g} px"
    if task in DETAILS:
        told += f", {DETAILS[task]} {result['details']:.1g}"
    return f"{told}, {result['scores']:.1g}; {result['raw']:.1g}"


def row(name: str, jobs: int) -> str:
    """Return the line of the table for a model, checked in a process of its own."""
    threads = str(max(1, (os.cpu_count() or 1) // jobs))
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "benchmarks.exports.zoo", "--check", name, folder]
        found, ended = child.results(command, MINUTES, child.environment(OMP_NUM_THREADS=threads))
    if not found:
        return f"| `{name}` | {child.first_line(ended)} |{'  |' * len(ASKED)}\n"
    task, known, *exports = found[-1].values()
    return f"| `{name}` | {known:.2f} | {' | '.join(cell(result, task) for result in exports)} |\n"


def merge(name: str, line: str) -> str:
    """Return the table of the page with this row in the place of its former one."""
    rows = {**{line.split("`")[1]: line for line in rows_between(PAGE, TABLE)}, name: line}
    return HEAD + "".join(rows[name] for name in smallest() if name in rows)


def main() -> None:
    """Check models, and print each row or write it into the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", metavar="MODEL", help="names of the zoo; all files if left out")
    parser.add_argument("--jobs", type=int, default=1, help="models at a time")
    parser.add_argument("--write", action="store_true", help=f"write the rows into {PAGE}")
    parser.add_argument("--check", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.check:
        child.report(check(arguments.check[0], Path(arguments.check[1])))
        return
    with ThreadPoolExecutor(arguments.jobs) as pool:
        names = {pool.submit(row, name, arguments.jobs): name for name in arguments.models or smallest()}
        for done in as_completed(names):
            print(done.result(), end="", flush=True)
            if arguments.write:  # at once: all of them take long
                write_between(PAGE, TABLE, merge(names[done], done.result()))


if __name__ == "__main__":
    main()
