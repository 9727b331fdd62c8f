"""Times of exported networks in their own runtime, one thread, in turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

REPEATS, WARM_UP = 60, 10


def session(file: Path) -> Callable[[np.ndarray], object]:
    """Return the function that runs a file, in ONNX Runtime or in OpenVINO."""
    if file.suffix == ".onnx":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        run = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"]).run
        return lambda image: run(None, {"images": image})
    import openvino

    settings = {"INFERENCE_NUM_THREADS": 1, "PERFORMANCE_HINT": "LATENCY"}
    compiled = openvino.Core().compile_model(next(file.glob("*.xml")), "CPU", settings)
    return lambda image: compiled([image])


def median_times(files: Sequence[Path]) -> dict[Path, float]:
    """Return the median time of a pass of each file, in milliseconds; they take turns."""
    sessions = {file: session(file) for file in files}
    image = np.random.default_rng(0).random((1, 3, 128, 128), dtype=np.float32)
    times: dict[Path, list[float]] = {file: [] for file in files}
    for repeat in range(REPEATS + WARM_UP):
        for file, run in sessions.items():
            start = time.perf_counter()
            run(image)
            if repeat >= WARM_UP:
                times[file].append(1000 * (time.perf_counter() - start))
    return {file: statistics.median(values) for file, values in times.items()}
