"""Every export format of Ultralytics with models of the zoo, for docs/exports.md.

python -m benchmarks.exports                          prints the table for four small models
python -m benchmarks.exports --formats onnx ncnn      of these formats only
python -m benchmarks.exports --formats ncnn --write   writes the rows of these formats into docs/exports.md

A format whose packages, hardware or operating system are missing is a row that says so. Formats whose packages exclude
each other are run from an environment each; `--write` replaces the rows of the formats asked for, and leaves others.
The models learn a few drawn pictures by heart, so that they find their boxes. Checkpoints are kept in the folder
`--weights`, and taken from there: NAME.pt of a model NAME.yaml. Every model of the zoo is in benchmarks.exports.zoo.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from importlib import metadata
from pathlib import Path

from benchmarks import child
from benchmarks.exports.checks import label
from benchmarks.exports.models import trained
from benchmarks.page import rows_between, write_between

PAGE, TABLE = "docs/exports.md", "export table"
SMALL = ["yolov5n-effdet.yaml", "yolov5-effb0-bifpn.yaml", "yolov5-effb0-pan.yaml", "yolov5n-effdet-p7.yaml"]
INT8 = {"data": "pictures.yaml"}  # whose pictures calibrate
ASKED: list[dict] = [
    *({"format": "torchscript", **more} for more in ({}, {"nms": True}, {"batch": 4})),
    *({"format": "onnx", **more} for more in ({}, {"dynamic": True}, {"half": True}, {"nms": True}, {"batch": 4})),
    {"format": "onnx", "imgsz": [128, 256]},
    *({"format": "openvino", **more} for more in ({}, {"dynamic": True}, {"half": True}, {"batch": 4})),
    *({"format": format_} for format_ in ("engine", "coreml", "coreai", "saved_model", "pb")),
    {"format": "edgetpu", **INT8},
    *({"format": format_} for format_ in ("litert", "paddle", "mnn")),
    {"format": "mnn", "half": True},
    *({"format": "ncnn", **more} for more in ({}, {"half": True})),
    {"format": "imx", **INT8},
    *({"format": format_} for format_ in ("rknn", "executorch")),
    *({"format": format_, **INT8} for format_ in ("axelera", "deepx", "qnn", "hailo")),
    {"format": "ascend"},
    {"format": "xilinx", **INT8},
]
RUNTIMES = {
    "torchscript": "torch",
    "onnx": "onnxruntime",
    "saved_model": "tensorflow",
    "pb": "tensorflow",
    "litert": "ai-edge-litert",
    "paddle": "paddlepaddle",
    "mnn": "MNN",
    "qnn": "onnxruntime-qnn",
    "xilinx": "onnxruntime",
    **{name: name for name in ("openvino", "ncnn", "executorch")},
}
# The largest deviations, in pixels and in scores, with which boxes count as the same.
FLOAT32, FLOAT16 = (0.1, 0.001), (1.0, 0.02)
MINUTES = 15


def run(weights: Path, folder: Path, options: dict) -> dict:
    """Run one export in a process of its own, which may crash or hang, and return its result."""
    given = {k: str(folder / v) if k == "data" else v for k, v in options.items()}
    command = [sys.executable, "-m", "benchmarks.exports.checks", str(weights), str(folder), json.dumps(given)]
    found, ended = child.results(command, MINUTES, child.environment())
    return found[-1] if found else {"reached": "nothing", "error": ended}


def verdict(options: dict, result: dict) -> str:
    """Say what came of an export."""
    if "error" in result:
        stage = "exported, not run" if result["reached"] == "exported" else "not exported"
        return f"{stage}: {child.first_line(result['error'])}"
    if "data" in options:
        return f"runs, in 8 bits; {result['boxes'] + result['unpaired']} boxes, {result['unpaired']} unlike torch's"
    pixels, scores = FLOAT16 if options.get("half") else FLOAT32
    if result["unpaired"]:
        return f"runs, but {result['unpaired']} boxes are unlike torch's"
    close = result["pixels"] <= pixels and max(result["scores"], result.get("raw scores", 0)) <= scores
    return "same boxes" if close else "same boxes but for larger deviations"


def row(options: dict, results: dict[str, dict]) -> str:
    """Return the line of the table for one export of all models."""
    verdicts: dict[str, list[str]] = {}
    for model, result in results.items():
        verdicts.setdefault(verdict(options, result), []).append(model)
    told = "; ".join(v if len(verdicts) == 1 else f"{', '.join(models)}: {v}" for v, models in verdicts.items())
    done = [r for r in results.values() if "error" not in r]
    how = deviation = ""
    if done:
        package = RUNTIMES.get(options["format"], options["format"])
        models = f"{len(done)} models" if len(done) > 1 else "1 model"
        how = f"{sum(r['boxes'] for r in done)} boxes of {models}, {package} {metadata.version(package)}"
        deviation = f"{max(r['pixels'] for r in done):.1g} px, {max(r['scores'] for r in done):.1g}"
        if any("raw scores" in r for r in done):
            raw = [max(r.get(f"raw {kind}", 0) for r in done) for kind in ("pixels", "scores")]
            deviation += f"; before NMS {raw[0]:.1g} px, {raw[1]:.1g}"
    return f"| `{label(options)}` | {told} | {how} | {deviation} |\n"


def merge(rows: dict[str, str]) -> str:
    """Return the table of the page with these rows in the place of their former ones."""
    return table({**{line.split("`")[1]: line for line in rows_between(PAGE, TABLE)}, **rows})


def table(rows: dict[str, str]) -> str:
    """Return rows as a table, in the order of `ASKED`."""
    text = "| `yolo export` with | result | checked how | largest deviation: box, score |\n| --- | --- | --- | --- |\n"
    return text + "".join(rows[label(options)] for options in ASKED if label(options) in rows)


def main() -> None:
    """Export, run, compare; print the table, or write it into the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    formats = list(dict.fromkeys(options["format"] for options in ASKED))
    parser.add_argument("--formats", nargs="+", choices=formats, default=formats, metavar="FORMAT")
    parser.add_argument("--models", nargs="+", default=SMALL, metavar="MODEL", help="names of detectors of the zoo")
    parser.add_argument("--weights", type=Path, help="folder of the checkpoints, kept for the next time")
    parser.add_argument("--write", action="store_true", help=f"write the rows into {PAGE}")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (arguments.weights or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        weights = {model: trained(model, folder) for model in arguments.models}
        rows = {}
        for options in ASKED:
            if options["format"] in arguments.formats:
                results = {Path(model).stem: run(file, folder, options) for model, file in weights.items()}
                rows[label(options)] = row(options, results)
                print(rows[label(options)], end="", flush=True)
        if arguments.write:
            write_between(PAGE, TABLE, merge(rows))


if __name__ == "__main__":
    main()
