"""What runs a model: each runtime gives a call that runs it once, on a batch of images."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import torch

from benchmarks.speed import cuda
from benchmarks.speed.images import natural_images
from benchmarks.speed.models import Model
from benchmarks.speed.settings import Settings

Runtime = Callable[[Model, int, Settings], Callable[[], object]]


def eager(model: Model, batch: int, settings: Settings) -> Callable[[], object]:
    """Run in torch, operation by operation."""
    network = model.inference.to(memory_format=torch.channels_last)
    images = natural_images(batch, model.imgsz).to(memory_format=torch.channels_last)
    return torch.inference_mode()(lambda: network(images))


def compiled(model: Model, batch: int, settings: Settings) -> Callable[[], object]:
    """Run in torch, compiled for this size."""
    torch._dynamo.reset()  # what was compiled before for other models does not count against this one's recompilations
    network = torch.compile(model.inference.to(memory_format=torch.channels_last), dynamic=False)
    images = natural_images(batch, model.imgsz).to(memory_format=torch.channels_last)
    call = torch.inference_mode()(lambda: network(images))
    call()
    return call


def onnxruntime(model: Model, batch: int, settings: Settings) -> Callable[[], object]:
    """Run the ONNX file in ONNX Runtime."""
    from onnxruntime import InferenceSession, SessionOptions

    options = SessionOptions()
    options.intra_op_num_threads = settings.threads
    # Threads that spin while they wait take the processor from the other sessions of this process.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.set_denormal_as_zero", "1")
    session = InferenceSession(model.export("onnx", batch), options, providers=["CPUExecutionProvider"])
    images = {session.get_inputs()[0].name: natural_images(batch, model.imgsz).numpy()}
    return lambda: session.run(None, images)


def openvino(model: Model, batch: int, settings: Settings) -> Callable[[], object]:
    """Run the exported file in OpenVINO."""
    import openvino as ov

    path = model.export("openvino", batch)
    path = next(path.glob("*.xml")) if path.is_dir() else path
    config = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": settings.threads,
        "INFERENCE_PRECISION_HINT": "f32",
        "CPU_DENORMALS_OPTIMIZATION": True,
    }
    request = ov.Core().compile_model(path, "CPU", config).create_infer_request()
    images = natural_images(batch, model.imgsz).numpy()
    return lambda: request.infer([images])


RUNTIMES: dict[str, Runtime] = {
    "torch": eager,
    "torch.compile": compiled,
    "onnxruntime": onnxruntime,
    "openvino": openvino,
    **cuda.RUNTIMES,
}


def available(device: str) -> list[str]:
    """Return the runtimes of this machine's processor, or of its GPU."""
    if device == "cuda":
        return cuda.available()
    names = ["torch", "torch.compile"]
    names += [name for name in ("onnxruntime", "openvino") if importlib.util.find_spec(name)]
    return names
