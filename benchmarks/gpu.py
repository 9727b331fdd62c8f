"""What runs on one NVIDIA GPU as it does on a processor, for docs/gpu.md.

python -m benchmarks.gpu            prints the table
python -m benchmarks.gpu --write    writes it into docs/gpu.md

Networks learn a few drawn pictures by heart on the GPU, in AMP as `yolo train` does; their boxes there, in 16 bits,
fused and exported are compared with those on the processor.
"""

from __future__ import annotations

import argparse
import copy
import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from ultralytics import YOLO

from benchmarks.child import first_line
from benchmarks.drawn import write_shapes
from benchmarks.exports.checks import boxes, compare, label
from benchmarks.exports.models import IMGSZ, PICTURES, draw_pictures, network, picture_batch, settle, trained
from benchmarks.exports.zoo import deviation
from benchmarks.page import write_between

PAGE, TABLE = "docs/gpu.md", "gpu checks"
MODELS = ["yolov5n-effdet.yaml", "yolov5-effb0-bifpn.yaml"]
OTHERS = ["yolo11n-effnet-bifpn-seg.yaml", "yolov8n-effnet-bifpn-pose.yaml", "yolov5n-effdet-obb.yaml"]
OTHERS += ["yolo26n-effnet-bifpn.yaml", "yolov5n-effnet-cls.yaml", "rtdetr-effb0-bifpn.yaml"]
DEVICE = 0
FUSED = [f"yolov5-effb{number}-bifpn.yaml" for number in (0, 3, 7)] + ["yolov5n-effdet.yaml", "yolo26n-effnet-pan.yaml"]
PIXELS, SCORES = 4.0, 0.02  # the largest deviations with which boxes count as the same in 16 bits


def same_boxes(expected: list[np.ndarray], given: list[np.ndarray]) -> str:
    """Say how far boxes are from those that are expected; raise where they are others."""
    found = compare(expected, given)
    told = f"{found['boxes']} boxes, {found['pixels']:.1g} px, {found['scores']:.1g}"
    assert found["boxes"] and not found["unpaired"] and found["pixels"] <= PIXELS and found["scores"] <= SCORES, told
    return told


def train(name: str, folder: Path) -> str:
    """Train a detector on the GPU until its boxes are sure."""
    found = boxes(trained(name, folder, device=DEVICE), draw_pictures(folder), IMGSZ)
    return f"{sum(map(len, found))} sure boxes after 60 epochs"


def predict(name: str, folder: Path, **options: object) -> str:
    """Compare the boxes on the GPU with those on the processor."""
    file, pictures = folder / f"{Path(name).stem}.pt", draw_pictures(folder)
    return same_boxes(boxes(file, pictures, IMGSZ), boxes(file, pictures, IMGSZ, device=DEVICE, **options))


def export(name: str, folder: Path, **options: object) -> str:
    """Export on the GPU; run the file there, or on the processor where ONNX Runtime has no GPU."""
    file, pictures = folder / f"{Path(name).stem}.pt", draw_pictures(folder)
    written = YOLO(file).export(imgsz=IMGSZ, device=DEVICE, verbose=False, **options)
    device = DEVICE if options["format"] == "torchscript" else "cpu"
    return same_boxes(boxes(file, pictures, IMGSZ), boxes(Path(written), pictures, IMGSZ, device=device))


def resumed(folder: Path) -> str:
    """Stop a training in its second epoch and resume it."""
    draw_pictures(folder)
    settings = {"data": str(folder / "pictures.yaml"), "imgsz": IMGSZ, "epochs": 4, "batch": 8, "workers": 2}
    model = YOLO(MODELS[0])

    def stop(trainer):
        if trainer.epoch == 1:
            raise KeyboardInterrupt

    model.add_callback("on_model_save", stop)
    try:
        model.train(**settings, device=DEVICE, plots=False, project=str(folder / "runs"), name="resumed")
    except KeyboardInterrupt:
        pass
    last = YOLO(folder / "runs" / "resumed" / "weights" / "last.pt")
    last.train(resume=True, device=DEVICE)
    assert last.trainer.start_epoch == 2 and last.trainer.epoch == 3 and last.trainer.amp
    return "goes on with its third epoch"


def one_epoch(name: str, folder: Path) -> str:
    """Train a network of another task or family for an epoch; its losses are finite."""
    model = network(name)
    if model.task == "classify":
        data = folder / "classes"
        for split in ("train", "val"):
            for number, picture in enumerate(draw_pictures(folder)[:8]):
                (data / split / str(number % 2)).mkdir(parents=True, exist_ok=True)
                shutil.copy(picture, data / split / str(number % 2))
    else:
        data = write_shapes(folder, model.task, task=model.task, **PICTURES)
    settings = {"imgsz": IMGSZ, "epochs": 1, "batch": 8, "workers": 2, "plots": False, "pretrained": False}
    model.train(data=str(data), device=DEVICE, project=str(folder / "runs"), name=Path(name).stem, **settings)
    assert torch.isfinite(model.trainer.loss).all() and model.trainer.amp
    return "an epoch, validated"


def folding(name: str, folder: Path) -> str:
    """Fold a network in float64 on the GPU; the outputs stay the same."""
    torch.manual_seed(0)
    model = YOLO(name).model.to(DEVICE).double()
    side = max(IMGSZ, 2 * int(model.stride.max()))
    images = picture_batch(draw_pictures(folder)[:4], (side, side)).to(DEVICE).double()
    settle(model, images)
    with torch.no_grad():
        outputs = [each(images)[0].cpu().numpy() for each in (model, copy.deepcopy(model).fuse(verbose=False))]
    apart = deviation(*([output] for output in outputs))
    assert apart <= 1e-9, f"{apart:.1g}"
    return f"{apart:.0e}"


def checks(folder: Path) -> Iterator[tuple[str, Callable[[], str]]]:
    """Give what is checked in words, and the check."""
    for name in MODELS:
        file = f"{Path(name).stem}.pt"
        yield f"`yolo train model={name} device=0`, with AMP", partial(train, name, folder)
        yield f"`yolo predict model={file} device=0`", partial(predict, name, folder)
        yield f"`yolo predict model={file} device=0 half=True`", partial(predict, name, folder, half=True)
        for options in ({"format": "torchscript"}, {"format": "onnx"}, {"format": "onnx", "half": True}):
            yield f"`yolo export model={file} device=0 {label(options)}`", partial(export, name, folder, **options)
    yield "`yolo train resume=True device=0`", partial(resumed, folder)
    for name in OTHERS:
        yield f"`yolo train model={name} device=0`", partial(one_epoch, name, folder)
    for name in FUSED:
        yield f"`fuse()` of `{name}` on the GPU, in float64: relative deviation", partial(folding, name, folder)


def main() -> None:
    """Check everything; print the table, or write it into the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help=f"write the table into {PAGE}")
    arguments = parser.parse_args()
    torch.backends.cudnn.allow_tf32 = False  # or a network would be compared with its own rounding
    text = "| what | works | seen |\n| --- | --- | --- |\n"
    with tempfile.TemporaryDirectory() as folder:
        for what, check in checks(Path(folder)):
            try:
                works, seen = "yes", check()
            except Exception as error:  # whatever goes wrong is the result
                works, seen = "no", first_line(f"{type(error).__name__}: {error}")
            text += (line := f"| {what} | {works} | {seen} |\n")
            print(line, end="", flush=True)
    if arguments.write:
        write_between(PAGE, TABLE, text)


if __name__ == "__main__":
    main()
