"""The `activation` of a file, read without running it: Ultralytics hands its text to Python's eval."""

from __future__ import annotations

import ast
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

# Held by a thread that builds: Ultralytics sets a file's activation, and `legacy` of a head, for the whole process.
BUILDING = threading.RLock()
EXPECTED = (
    "it must be a call of an activation of torch.nn with literal arguments, such as nn.ReLU() or nn.LeakyReLU(0.1)"
)


def parse_activation(text: Any) -> nn.Module:
    """Return the activation that a text such as 'torch.nn.LeakyReLU(0.1)' names.

    Raises:
        ValueError: If it is anything else; nothing of it is run.
    """
    try:
        call = ast.parse(text.strip(), mode="eval").body
        *owner, name = dotted(call.func)
        arguments = [ast.literal_eval(value) for value in call.args]
        options = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}
    except (AttributeError, SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        raise ValueError(
            f"activation {text!r} is refused, because Ultralytics runs it as Python: {EXPECTED}."
        ) from None
    cls = getattr(nn, name, None) if owner in (["nn"], ["torch", "nn"]) else None
    if not is_activation(cls):
        raise ValueError(f"activation {text!r} is no activation of torch.nn: {EXPECTED}.")
    try:
        with torch.device("meta"):  # so that no argument, however large, takes memory
            same_shape = cls(*arguments, **options)(torch.empty(1, 8, 2, 2)).shape == (1, 8, 2, 2)
    except Exception as error:
        raise ValueError(f"activation {text!r} cannot be used: {error}") from error
    if not same_shape:
        raise ValueError(f"activation {text!r} changes the shape of a feature map.")
    return cls(*arguments, **options)


def dotted(node: ast.expr) -> list[str]:
    """Return the parts of a dotted name; an AttributeError if it is none."""
    return [*dotted(node.value), node.attr] if isinstance(node, ast.Attribute) else [node.id]


def is_activation(cls: Any) -> bool:
    """Whether a class is an activation of torch.nn."""
    return cls is nn.Identity or (isinstance(cls, type) and cls.__module__ == nn.ReLU.__module__)


@contextmanager
def default_activation_restored() -> Iterator[None]:
    """Restore the default activation of the process at the end; Ultralytics leaves it changed where a build fails."""
    from ultralytics.nn.modules.conv import Conv

    with BUILDING:
        before = Conv.default_act
        try:
            yield
        finally:
            Conv.default_act = before
