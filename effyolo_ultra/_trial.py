"""A trial run of a module: what it gives for inputs of known shapes, learned without data where that is possible."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from effyolo_ultra.row import Feature, Output, Pyramid

SIZE = 1024  # of the image in pixels: a multiple of every stride in use
REAL_SIZE = 256  # of the image where the module must really compute
UNKNOWN = 16  # assumed stride of an input whose stride is not known


def trial_run(module: nn.Module, inputs: Sequence[Output], is_list: bool) -> Output:
    """Run a module once in eval mode, and return what it gives.

    Args:
        module: The module; it is not changed.
        inputs: What its inputs give.
        is_list: Whether it takes them as a list.

    Raises:
        Exception: Whatever the module raises.
        TypeError: If it gives neither one feature map nor a list of them.
    """
    known = all(isinstance(given, Pyramid) or given.stride for given in inputs)
    try:
        output = run(copy.deepcopy(module).to("meta"), inputs, is_list, SIZE, "meta")
    except Exception:  # what looks at values, or calls a kernel without a meta form, has to compute
        output, size = run(copy.deepcopy(module), inputs, is_list, REAL_SIZE, "cpu"), REAL_SIZE
    else:
        size = SIZE
    if isinstance(output, torch.Tensor):
        return Feature(checked(output).shape[1], stride(output, size) if known else None)
    if not isinstance(output, (list, tuple)) or not output:
        raise TypeError(f"it gives {type(output).__name__}, not a feature map (N, C, H, W) or a list of them")
    levels = {}
    for feature in output:
        s = stride(checked(feature), size) or 0
        if s < 1 or s & (s - 1) or s.bit_length() - 1 in levels:
            raise TypeError("the strides of the feature maps that it gives must be different powers of 2")
        levels[s.bit_length() - 1] = feature.shape[1]
    if list(levels) != sorted(levels):
        raise TypeError("the feature maps of a pyramid are given finest first")
    return Pyramid(levels)


def run(module: nn.Module, inputs: Sequence[Output], is_list: bool, size: int, device: str) -> Any:
    """Run a module on zeros, without a trace in the random state."""
    given = [zeros(output, size, device) for output in inputs]
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        return module.eval()(given if is_list else given[0])


def zeros(output: Output, size: int, device: str) -> Any:
    """Return a feature map, or the list of a pyramid, for an image of this size."""
    if isinstance(output, Pyramid):
        return [zeros(Feature(c, 2**k), size, device) for k, c in output.items()]
    side = size // (output.stride or UNKNOWN)
    return torch.zeros(1, output.channels, side, side, device=device)


def checked(feature: Any) -> torch.Tensor:
    """Return a feature map, or raise a TypeError for what is none."""
    if not isinstance(feature, torch.Tensor) or feature.ndim != 4:
        shape = tuple(feature.shape) if isinstance(feature, torch.Tensor) else type(feature).__name__
        raise TypeError(f"it gives {shape}, not a feature map (N, C, H, W)")
    return feature


def stride(feature: torch.Tensor, size: int) -> int | None:
    """Return the stride of a feature map of an image of this size, None if it does not divide it."""
    side = feature.shape[-2]
    return size // side if side and size % side == 0 else None
