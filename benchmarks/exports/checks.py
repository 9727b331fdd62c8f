"""One export, in a process of its own: export a checkpoint, run the file by its own runtime, compare with torch.

python -m benchmarks.exports.checks CHECKPOINT FOLDER '{"format": "onnx", "dynamic": true}'    prints the result as JSON
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from ultralytics import YOLO
from ultralytics.engine.results import Results
from ultralytics.nn.autobackend import AutoBackend

from benchmarks.child import report
from benchmarks.exports.models import IMGSZ, draw_pictures, network, picture_batch

CONF = 0.25
SAMPLES = "calibration_image_sample_data_20x128x128x3_float32.npy"  # that the TensorFlow exports would download


def openvino_in_float32() -> None:
    """Make OpenVINO compute as torch does: it rounds to bfloat16 by itself on the processors that have it."""
    import openvino

    class FloatCore(openvino.Core):
        def __init__(self) -> None:
            super().__init__()
            self.set_property("CPU", {"INFERENCE_PRECISION_HINT": openvino.Type.f32})

    openvino.Core = FloatCore  # which Ultralytics takes when it opens a file


if find_spec("openvino"):
    openvino_in_float32()


def label(options: dict) -> str:
    """Return the options as they are typed in the yolo command."""
    return " ".join(f"{k}={','.join(map(str, v)) if isinstance(v, list) else v}" for k, v in options.items())


def boxes(
    file: Path, pictures: list[Path], imgsz: int | list[int], batch: int = 1, task: str = "detect", **options: object
) -> list[np.ndarray]:
    """Return what `rows` makes of each picture, on the processor unless `options` name another device."""
    options = {"device": "cpu", **options, "imgsz": imgsz, "conf": CONF, "rect": False, "verbose": False}
    model = network(file, task)
    groups = [list(map(str, pictures[i : i + batch])) for i in range(0, len(pictures), batch)]
    return [rows(r.cpu()) for group in groups for r in model.predict(group, batch=batch, **options)]


def rows(result: Results) -> np.ndarray:
    """Return the boxes in a picture, one a row: x1, y1, x2, y2, confidence, class, and what belongs to it.

    That is the mask, x and y of the keypoints, or the corners of a rotated box. A picture with a class instead of boxes
    is one row without place, with the probabilities of all classes.
    """
    if result.probs is not None:
        return np.hstack([np.zeros(4), result.probs.top1conf, result.probs.top1, result.probs.data])[None]
    found = result.boxes if result.obb is None else result.obb
    parts = [found.xyxy, found.conf[:, None], found.cls[:, None]]
    if len(found) and result.masks is not None:
        parts.append(result.masks.data.flatten(1))
    if len(found) and result.keypoints is not None:
        parts.append(result.keypoints.xy.flatten(1))
    if result.obb is not None:
        parts.append(result.obb.xyxyxyxy.flatten(1))
    return np.hstack([part.float().numpy() for part in parts])


def compare(expected: list[np.ndarray], given: list[np.ndarray]) -> dict:
    """Pair the boxes of a class that lie nearest, and return the counts and the largest deviations of the pairs.

    Those of masks, keypoints, corners and probabilities, `details`, are summed over a pair: the pixels of the mask that
    differ.
    """
    found = {"boxes": sum(map(len, expected)), "unpaired": 0, "pixels": 0.0, "scores": 0.0, "details": 0.0}
    for first, second in zip(expected, given):
        left = list(second)
        for box in first:
            same_class = [i for i, other in enumerate(left) if other[5] == box[5]]
            if not same_class:
                found["unpaired"] += 1
                continue
            other = left.pop(min(same_class, key=lambda i: np.abs(left[i][:4] - box[:4]).max()))
            found["pixels"] = max(found["pixels"], float(np.abs(other[:4] - box[:4]).max()))
            found["scores"] = max(found["scores"], float(abs(other[4] - box[4])))
            found["details"] = max(found["details"], float(np.abs(other[6:] - box[6:]).sum()))
        found["unpaired"] += len(left)
    return found


def outputs(file: Path, images: torch.Tensor) -> list[np.ndarray]:
    """Return what a network or an exported file gives before NMS, picture by picture."""
    # Ultralytics hands some runtimes a whole batch where the file holds a batch of one.
    backend = AutoBackend(str(file), device=torch.device("cpu"), verbose=False)
    with torch.no_grad():
        return [array for image in images for array in arrays(backend(image[None]))]


def arrays(output: object) -> list[np.ndarray]:
    """Return the arrays that an export keeps: torch's networks add the values of training behind them."""
    if isinstance(output, (list, tuple)):
        first, *rest = output
        return [*arrays(first), *(np.asarray(y, np.float32) for y in rest if getattr(y, "ndim", 0) == 4)]
    return [np.asarray(output, np.float32)]


def raw(file: Path, images: torch.Tensor) -> np.ndarray:
    """Return the output (N, 4 + classes, anchors) of a detector or an exported one, before NMS."""
    return np.concatenate(outputs(file, images))


def raw_deviation(expected: np.ndarray, given: np.ndarray) -> dict:
    """Return the largest deviations of the boxes, in pixels, and of the class scores."""
    difference = np.abs(expected - given)
    return {"raw pixels": float(difference[:, :4].max()), "raw scores": float(difference[:, 4:].max())}


def check(weights: Path, folder: Path, options: dict) -> dict:
    """Export a checkpoint and compare; on an error, return what was reached and the error."""
    pictures = draw_pictures(folder)
    workplace = folder / "exported" / "-".join(Path(str(v)).name for v in options.values())
    workplace.mkdir(parents=True, exist_ok=True)
    copied = Path(shutil.copy(weights, workplace))
    os.chdir(workplace)
    stride = int(YOLO(copied).model.stride.max())
    imgsz = options.pop("imgsz", max(IMGSZ, stride))
    if isinstance(imgsz, list):
        imgsz = [max(stride, side) for side in imgsz]
    if options["format"] in ("saved_model", "pb", "edgetpu"):
        samples = picture_batch(pictures, (128, 128)).permute(0, 2, 3, 1).numpy()
        np.save(SAMPLES, samples[:20])
    result: dict = {"reached": "nothing"}
    try:
        file = Path(YOLO(copied).export(imgsz=imgsz, device="cpu", verbose=False, **options))
        result["reached"] = "exported"
        batch = options.get("batch", 1)
        sizes = [imgsz, 2 * imgsz] if options.get("dynamic") else [imgsz]
        expected = [x for size in sizes for x in boxes(copied, pictures, size)]
        given = [x for size in sizes for x in boxes(file, pictures, size, batch)]
        result |= compare(expected, given)
        if batch == 1 and not options.get("nms"):
            images = picture_batch(pictures[:4], imgsz if isinstance(imgsz, list) else (imgsz, imgsz))
            result |= raw_deviation(raw(copied, images), raw(file, images))
        result["reached"] = "run"
    except BaseException as error:  # whatever ends an export is the result
        result["error"] = f"{type(error).__name__}: {error}".strip()
    return result


if __name__ == "__main__":
    torch.set_num_threads(1)
    outcome = check(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve(), json.loads(sys.argv[3]))
    report(outcome)
