"""What int8 and pruning make of two small models, for docs/compression.md.

python -m benchmarks.compression            trains what is not in the cache yet, and prints the tables
python -m benchmarks.compression --write    writes them into docs/compression.md

The stock command trains, exports and validates. Everything goes into a folder, `--work`, and what is there already is
not done again. Two trainings run at a time, with one thread each; it takes about 20 minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from benchmarks.compression_times import median_times
from benchmarks.page import write_between
from effyolo_ultra import model_path

DATA = ["data=shapes.yaml", "imgsz=128", "device=cpu"]
LEARN = ["batch=8", "nbs=8", "optimizer=AdamW", "warmup_epochs=1", "mosaic=0", "scale=0.2", "hsv_s=0.3", "seed=0"]
FROM_NOTHING = ["epochs=12", "lr0=0.003", "pretrained=False"]
FINE_TUNING = ["epochs=6", "lr0=0.001"]
LONGER = ["epochs=3", "lr0=0.0003"]
FOR_INT8 = [*LONGER, "quantize=8"]
RATIOS = (0.3, 0.5)
BACKBONES = {"b0": "EfficientNet-B0", "lite0": "EfficientNet-Lite0"}
# Name of a file that `yolo export` writes beside best.pt -> its options. best_int8.onnx first: it takes best.onnx away.
EXPORTS = {
    "best_int8.onnx": ["format=onnx", "quantize=8", "data=shapes.yaml"],
    "best.onnx": ["format=onnx"],
    "best_openvino_model": ["format=openvino"],
    "best_int8_openvino_model": ["format=openvino", "quantize=8", "data=shapes.yaml"],
}


class Bench:
    """The folder with what was made so far.

    Args:
        work: The folder.
    """

    def __init__(self, work: Path):
        self.work = work.absolute()
        self.work.mkdir(parents=True, exist_ok=True)

    def run(self, *command: str) -> None:
        """Run a command in the folder, with one thread; show its output where it fails."""
        print("$", *command, flush=True)
        env = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run([sys.executable, "-m", *command], cwd=self.work, env=env, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(done.stdout[-3000:] + done.stderr[-3000:])

    def yolo(self, mode: str, *arguments: str) -> None:
        """Run the stock command."""
        self.run("ultralytics.cfg.__init__", mode, *arguments)

    def best(self, name: str) -> Path:
        """Return the checkpoint of a training."""
        return self.work / name / "weights" / "best.pt"

    def train(self, name: str, model: str | Path, *arguments: str) -> None:
        """Train a model, unless it is done."""
        flag = self.work / name / "trained"
        if not flag.exists():
            places = [f"project={self.work}", f"name={name}", "exist_ok=True", "workers=0", "plots=False"]
            self.yolo("train", f"model={model}", *DATA, *LEARN, *arguments, *places)
            flag.touch()

    def export(self, name: str, *files: str) -> None:
        """Export a checkpoint, unless it is done."""
        for file in files:
            if not (self.best(name).parent / file).exists():
                self.yolo("export", f"model={self.best(name)}", "imgsz=128", "device=cpu", *EXPORTS[file])

    def backbone(self, name: str) -> None:
        """Train a backbone's network, then for int8, and for B0 the pruned ones too; export all."""
        yaml = self.work / f"yolov5-eff{name}-bifpn.yaml"
        text = model_path("yolov5-effb0-bifpn.yaml").read_text(encoding="utf-8")
        yaml.write_text(text.replace("EfficientNetBackbone, [b0]", f"EfficientNetBackbone, [{name}]"), encoding="utf-8")
        self.train(name, yaml, *FROM_NOTHING)
        self.export(name, *EXPORTS)
        for ratio in RATIOS if name == "b0" else ():
            pruned = self.work / f"{name}-{ratio}.pt"
            if not pruned.exists():
                self.run("effyolo_ultra.cli", "prune", str(self.best(name)), "--ratio", str(ratio), "-o", str(pruned))
            self.train(f"{name}-{ratio}", pruned, *FINE_TUNING)
            self.export(f"{name}-{ratio}", *EXPORTS)
        self.train(f"{name}-qat", self.best(name), *FOR_INT8)
        self.export(f"{name}-qat", "best.onnx")
        self.train(f"{name}-longer", self.best(name), *LONGER)

    def map50_95(self, file: Path) -> float:
        """Return the mAP50-95 of a checkpoint or an exported file, as `yolo val` has it."""
        path = self.work / "map.json"
        known = json.loads(path.read_text()) if path.exists() else {}
        key = str(file.relative_to(self.work))
        if key not in known:
            from ultralytics import YOLO

            print("validates", key, flush=True)
            places = {"project": str(self.work), "name": "val", "exist_ok": True, "plots": False, "workers": 0}
            model = YOLO(file, task="detect")
            metrics = model.val(data="shapes.yaml", imgsz=128, device="cpu", verbose=False, **places)
            known[key] = metrics.box.map
            path.write_text(json.dumps(known, indent=1))
        return known[key]


def megabytes(file: Path) -> float:
    """Return the size of a file or folder."""
    return sum(f.stat().st_size for f in ([file] if file.is_file() else file.iterdir())) / 1e6


def int8_table(bench: Bench, times: dict[Path, float]) -> str:
    """mAP, size and time of each backbone in float32 and in int8."""
    text = "| backbone | runtime | precision | mAP50-95 | file (MB) | time, of float32 |\n"
    text += "| --- | --- | --- | ---: | ---: | ---: |\n"
    for name, title in BACKBONES.items():
        folder, qat = bench.best(name).parent, bench.best(f"{name}-qat").parent
        rows = [
            ("PyTorch", "float32", folder / "best.pt", None),
            ("PyTorch", "float32, 3 epochs more", bench.best(f"{name}-longer"), None),
            ("ONNX Runtime", "float32", folder / "best.onnx", folder / "best.onnx"),
            ("ONNX Runtime", "int8", folder / "best_int8.onnx", folder / "best.onnx"),
            ("ONNX Runtime", "int8, 3 epochs for it", qat / "best.onnx", folder / "best.onnx"),
            ("OpenVINO", "float32", folder / "best_openvino_model", folder / "best_openvino_model"),
            ("OpenVINO", "int8", folder / "best_int8_openvino_model", folder / "best_openvino_model"),
        ]
        for runtime, precision, file, whole in rows:
            time = f"{times[file] / times[whole]:.2f}" if whole else ""
            figures = f"{bench.map50_95(file):.3f} | {megabytes(file):.1f} | {time}"
            text += f"| {title} | {runtime} | {precision} | {figures} |\n"
    return text


def pruning_table(bench: Bench, times: dict[Path, float]) -> str:
    """Size, mAP and time of the pruned networks."""
    from ultralytics import YOLO

    text = "| channels taken out | parameters (M) | mAP50-95 before fine-tuning | after | `best.pt` (MB)"
    text += " | time, ONNX Runtime | time, OpenVINO | mAP50-95 in int8, OpenVINO | time of it |\n"
    text += "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n"
    whole = bench.best("b0").parent
    for ratio in (0, *RATIOS):
        best = bench.best(f"b0-{ratio}" if ratio else "b0")
        onnx, openvino = (times[best.parent / f] / times[whole / f] for f in ("best.onnx", "best_openvino_model"))
        int8 = best.parent / "best_int8_openvino_model"
        cells = [
            f"{ratio or 'none'}",
            f"{sum(p.numel() for p in YOLO(best).model.parameters()) / 1e6:.2f}",
            f"{bench.map50_95(bench.work / f'b0-{ratio}.pt'):.3f}" if ratio else "",
            f"{bench.map50_95(best):.3f}",
            f"{megabytes(best):.1f}",
            f"{onnx:.2f}",
            f"{openvino:.2f}",
            f"{bench.map50_95(int8):.3f}",
            f"{times[int8] / times[whole / 'best_openvino_model']:.2f}",
        ]
        text += f"| {' | '.join(cells)} |\n"
    return text


def commands(bench: Bench) -> str:
    """The commands behind the tables, and the versions in use."""
    from importlib.metadata import version

    lines = [
        "```bash",
        f'LEARN="{" ".join([*DATA, *LEARN[:3]])} \\',
        f'  {" ".join(LEARN[3:])} project=$PWD"',
        f"yolo train model=yolov5-effb0-bifpn.yaml $LEARN {' '.join(FROM_NOTHING)} name=b0",
        "yolo export model=b0/weights/best.pt format=openvino imgsz=128 quantize=8 data=shapes.yaml",
        "yolo export model=b0/weights/best.pt format=onnx imgsz=128 quantize=8 data=shapes.yaml",
        f"yolo train model=b0/weights/best.pt $LEARN {' '.join(FOR_INT8)} name=b0-qat",
        "effyolo prune b0/weights/best.pt --ratio 0.3 -o b0-0.3.pt",
        f"yolo train model=b0-0.3.pt $LEARN {' '.join(FINE_TUNING)} name=b0-0.3",
        "```",
    ]
    packages = ("ultralytics", "torch", "timm", "onnxruntime", "openvino", "nncf", "nvidia-modelopt", "torch-pruning")
    versions = ", ".join(f"{package} {version(package)}" for package in packages)
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    cpu = f"{torch.backends.cpu.get_cpu_capability()}, {'with' if 'vnni' in flags else 'without'} VNNI"
    text = f"Versions: {versions}. CPU: {platform.machine()}, {cpu} (instructions for int8)."
    return "\n".join([*lines, "", *textwrap.wrap(text, 120, break_on_hyphens=False)]) + "\n"


def main() -> None:
    """Print the tables, or write them into the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write the tables into docs/compression.md")
    parser.add_argument("--work", type=Path, default=Path("runs/compression"), help="folder for what is made")
    given = parser.parse_args()
    bench = Bench(given.work)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(bench.backbone, BACKBONES))
    times = median_times([*bench.work.glob("*/weights/*.onnx"), *bench.work.glob("*/weights/*_openvino_model")])
    tables = {
        "commands": commands(bench),
        "int8 table": int8_table(bench, times),
        "pruning table": pruning_table(bench, times),
    }
    for name, table in tables.items():
        write_between("docs/compression.md", name, table) if given.write else print(table)


if __name__ == "__main__":
    main()
