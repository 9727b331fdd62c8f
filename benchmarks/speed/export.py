"""Networks that are not Ultralytics' as ONNX files, made and simplified by what Ultralytics uses."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import nn


def onnx_file(network: nn.Module, images: torch.Tensor, path: Path) -> None:
    """Trace a network into an ONNX file for these images, and simplify it by onnxslim."""
    import onnx
    import onnxslim

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer's, about sizes that become constants: what is wanted here
        torch.onnx.export(network, (images,), path, dynamo=False, opset_version=17, input_names=["images"])
    onnx.save(onnxslim.slim(onnx.load(path)), path)
