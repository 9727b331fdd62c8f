"""Runtimes on an NVIDIA GPU."""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Callable

import torch
from torch import nn

from benchmarks.speed.images import natural_images
from benchmarks.speed.models import Model
from benchmarks.speed.settings import Settings


def variant(*, amp: bool = False, channels_last: bool = False, compiled: bool = False, device: str = "cuda"):
    """Return the runtime that runs a copy of the network on the device."""
    layout = torch.channels_last if channels_last else torch.contiguous_format

    def prepare(model: Model, batch: int, settings: Settings) -> Callable[[], object]:
        network: nn.Module = copy.deepcopy(model.inference).to(device, memory_format=layout)
        images = natural_images(batch, model.imgsz).to(device, memory_format=layout)
        if compiled:
            torch._dynamo.reset()
            network = torch.compile(network, dynamic=False)

        @torch.inference_mode()
        def call():
            with torch.autocast(device, torch.float16, enabled=amp):
                network(images)
            if device == "cuda":
                torch.cuda.synchronize()

        call()
        return call

    return prepare


def tensorrt(model: Model, batch: int, settings: Settings) -> Callable[[], object]:
    """Build an engine from the ONNX file, in float32, and run it."""
    import tensorrt as trt

    logger = trt.Logger(trt.Logger.WARNING)
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(model.export("onnx", batch))):
        raise RuntimeError("\n".join(str(parser.get_error(i)) for i in range(parser.num_errors)))
    plan = builder.build_serialized_network(network, builder.create_builder_config())
    engine = trt.Runtime(logger).deserialize_cuda_engine(plan)
    context = engine.create_execution_context()
    tensors = {}
    for name in (engine.get_tensor_name(i) for i in range(engine.num_io_tensors)):
        dtype = getattr(torch, trt.nptype(engine.get_tensor_dtype(name)).__name__)
        tensors[name] = torch.empty(tuple(engine.get_tensor_shape(name)), dtype=dtype, device="cuda")
        context.set_tensor_address(name, tensors[name].data_ptr())
    tensors[engine.get_tensor_name(0)].copy_(natural_images(batch, model.imgsz))
    stream = torch.cuda.Stream()

    def call():
        context.execute_async_v3(stream.cuda_stream)
        stream.synchronize()
        return tensors  # keeps the memory whose addresses the context has

    return call


RUNTIMES = {
    "cuda": variant(),
    "cuda channels_last": variant(channels_last=True),
    "cuda AMP": variant(amp=True),
    "cuda AMP channels_last": variant(amp=True, channels_last=True),
    "cuda compile": variant(compiled=True),
    "tensorrt": tensorrt,
}


def available() -> list[str]:
    """Return the runtimes of the GPU."""
    return [name for name in RUNTIMES if name != "tensorrt" or importlib.util.find_spec("tensorrt")]
