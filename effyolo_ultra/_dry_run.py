"""Running stock layers without data, to learn what they give, and whether they can run at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from effyolo_ultra._limits import MAX_ELEMENTS
from effyolo_ultra._values import nested

SIZE = 256  # of the image in pixels, that with which Ultralytics learns the strides: it runs there if it runs here
MAX_WITH_DATA = 100_000_000  # parameters of a layer, so that a trial with data takes no more than 0.4 GB


def dry_run(
    layer: nn.Module, with_data: Callable[[], nn.Module], inputs: list[Any], is_list: bool, is_head: bool = False
) -> Any:
    """Return what a stock layer gives, without data.

    Args:
        layer: The layer, built on the meta device. It loses its BatchNorms.
        with_data: Returns the same layer with data, if it has any, for one that has no form without.
        inputs: What its sources give, on the meta device.
        is_list: Whether it takes them as a list.
        is_head: Whether it is a head, which gives its feature maps as in a training.

    Returns:
        Tensors on the meta device, or None where that cannot be found out, or would take too much memory.

    Raises:
        Exception: Whatever the layer raises with data.
    """
    try:
        return run_layer(layer, inputs, is_list, is_head)
    except Exception:  # the message is not that of a training, which has data, nor is it always an error there
        if numbers_in(inputs) > MAX_ELEMENTS or sum(p.numel() for p in layer.parameters()) > MAX_WITH_DATA:
            return None
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        layer = with_data()
        if any(p.is_meta for p in layer.parameters()):
            return None
        zeros = map_tensors(lambda t: torch.zeros_like(t, device="cpu"), inputs)
        given = run_layer(layer, zeros, is_list, is_head)
    return map_tensors(lambda t: torch.empty_like(t, device="meta"), given)


def cannot_run(error: Exception) -> str:
    """Say that a layer cannot run, and why."""
    return f"this layer cannot take what 'from' gives it: {type(error).__name__}: {str(error).strip()}"


def run_layer(layer: nn.Module, inputs: list[Any], is_list: bool, is_head: bool) -> Any:
    """Run a layer."""
    drop_batch_norms(layer)  # on the meta device, they would take most of the time
    with torch.no_grad():
        return layer.train(is_head)(inputs if is_list else inputs[0])


def drop_batch_norms(layer: nn.Module) -> None:
    """Leave out what does not change the size of a feature map."""
    for module in list(layer.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, nn.Identity())


def map_tensors(function: Callable[[torch.Tensor], torch.Tensor], value: Any) -> Any:
    """Apply a function to each tensor in nested lists and mappings."""
    return nested(lambda v: function(v) if isinstance(v, torch.Tensor) else v, value)


def tensors(output: Any) -> Iterator[torch.Tensor]:
    """Yield the tensors in nested lists and mappings."""
    if isinstance(output, torch.Tensor):
        yield output
    elif isinstance(output, dict):
        yield from tensors(list(output.values()))
    elif isinstance(output, (list, tuple)):
        for item in output:
            yield from tensors(item)


def numbers_in(output: Any) -> int:
    """Return how many numbers the tensors in nested lists and mappings have."""
    return sum(tensor.numel() for tensor in tensors(output))
