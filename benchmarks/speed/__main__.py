"""Speed of the zoo and of its peers, measured in one process.

python -m benchmarks.speed                                     measures everything, and prints tables
python -m benchmarks.speed --only bars                         measures what the bars need
python -m benchmarks.speed --only latency --models yolov5n-effdet.yaml yolo11n.yaml --runtimes onnxruntime
python -m benchmarks.speed --write                             writes docs/speed.md, .json, .png and the README's table
python -m benchmarks.speed --gpu --batch 32                    latency, throughput and training on an NVIDIA GPU
python -m benchmarks.speed --from docs/speed.json --write      writes them from an earlier run
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tempfile
from pathlib import Path

from benchmarks.page import ROOT, write_between
from benchmarks.speed import bars, heads, plot, report
from benchmarks.speed.by_hand import NAME as BUILT
from benchmarks.speed.run import PARTS, Run, quieten
from benchmarks.speed.runtimes import RUNTIMES, available
from benchmarks.speed.settings import Settings

SMALL = [f"yolov5{name}.yaml" for name in ("n-effdet", "-effb0-bifpn", "-effb0-pan")]
SMALL += ["tf_efficientdet_d0", "yolov5n.yaml", "yolov8n.yaml", "yolo11n.yaml", "yolo26n.yaml"]
LARGE = [BUILT, "yolov5s.yaml"]

# What takes long is measured of few models; compiling one takes most of a minute.
FEW = [SMALL[0], SMALL[1], "tf_efficientdet_d0", "yolov5n.yaml"]
PLAN = {"latency": [*SMALL, *LARGE], "throughput": FEW, "memory": SMALL, "training": FEW, "build": [BUILT]}
PLAN["startup"] = []
GPU_PLAN = {"latency": [*SMALL, *LARGE], "throughput": FEW, "training": FEW}
COMPILED = [SMALL[0], "tf_efficientdet_d0"]
BARS = {"latency": bars.MODELS, "compile": bars.MODELS, "training": bars.MODELS, "build": [BUILT], "startup": []}


def arguments() -> argparse.Namespace:
    """Read the command line."""
    defaults = Settings()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--models", nargs="+", help="YAML names, or tf_efficientdet_* of effdet")
    add("--runtimes", nargs="+", choices=RUNTIMES, help="default: all of this machine")
    add("--only", nargs="+", choices=("bars", *PARTS), help="parts to measure; default: all")
    add("--heads", nargs="+", metavar="ROW", help="YAML rows of heads, or 'Detect' or 'Detect, legacy=False'")
    add("--imgsz", type=int, default=defaults.imgsz, help="height and width; training: half of them")
    add("--threads", type=int, default=defaults.threads)
    add("--repeats", type=int, default=defaults.repeats, help="turns of latency")
    add("--batch", type=int, default=defaults.batch, help="images at a time of throughput")
    add("--batch-repeats", type=int, default=defaults.batch_repeats, help="turns of throughput")
    add("--training-batch", type=int, default=defaults.training_batch)
    add("--training-repeats", type=int, default=defaults.training_repeats)
    add("--processes", type=int, default=defaults.processes, help="fresh processes for start-up and build times")
    add("--from", dest="source", type=Path, help="results of an earlier run, as JSON, in place of measuring")
    add("--json", type=Path, help="where to write the results")
    add("--plot", type=Path, help="where to draw latency over parameters")
    add(
        "--gpu",
        dest="device",
        action="store_const",
        const="cuda",
        default="cpu",
        help="measure on an NVIDIA GPU; --write writes docs/speed_gpu.json and its tables",
    )
    add("--write", action="store_true", help="write docs/speed.md, .json and .png and the table of the README")
    args = parser.parse_args()
    if args.write and args.only:
        parser.error("--write needs all parts, because the pages show them all")
    return args


def measure(args: argparse.Namespace) -> dict:
    """Run what the command line asks for."""
    names = {field.name for field in dataclasses.fields(Settings)} & vars(args).keys()
    settings = Settings(**{name: getattr(args, name) for name in names}, training_imgsz=args.imgsz // 2)
    quieten(settings)
    if args.only == ["bars"]:
        plan, runtimes = BARS, [name for name in ("torch", "onnxruntime", "openvino") if name in available("cpu")]
    else:
        plan = GPU_PLAN if args.device == "cuda" else {**PLAN, "heads": args.heads or heads.default_heads()}
        if args.models:
            plan = {part: args.models if models and part != "heads" else models for part, models in plan.items()}
        plan = {part: names for part, names in plan.items() if not args.only or part in args.only}
        plan["compile"], runtimes = args.models or COMPILED, available(settings.device)
    with tempfile.TemporaryDirectory() as folder:
        return Run(settings, Path(folder)).measure(plan, args.runtimes or runtimes)


def write(results: dict) -> None:
    """Write the pages, the JSON and the plot of this repository."""
    on_gpu = results["settings"]["device"] == "cuda"
    for name, text in report.tables(results).items():
        write_between("docs/gpu.md" if on_gpu else "docs/speed.md", name, text)
    if on_gpu:
        (ROOT / "docs" / "speed_gpu.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
        return
    write_between("README.md", "speed table", report.short_table(results))
    (ROOT / "docs" / "speed.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    plot.draw(results, ROOT / "docs" / "speed.png")


def main() -> None:
    """Measure, print and write."""
    args = arguments()
    results = json.loads(args.source.read_text(encoding="utf-8")) if args.source else measure(args)
    for name, text in report.tables(results).items():
        print(f"{name}\n\n{text}")
    if args.json:
        args.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    if args.plot:
        plot.draw(results, args.plot)
    if args.write:
        write(results)
    sys.exit(1 if results["errors"] else 0)


if __name__ == "__main__":
    main()
