"""Values in the rows of a model YAML: nested ones, literals in strings, and how they are written."""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Callable
from typing import Any

import yaml


def nested(function: Callable[[Any], Any], value: Any) -> Any:
    """Apply a function to a value, or to each value in nested lists and mappings."""
    if isinstance(value, (list, tuple)):
        return [nested(function, v) for v in value]
    if isinstance(value, dict):
        return {k: nested(function, v) for k, v in value.items()}
    return function(value)


def literal(value: Any) -> Any:
    """Return the literal that a string spells, such as None or 1e-3, else the value."""
    if isinstance(value, str):
        with contextlib.suppress(ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            return ast.literal_eval(value)
    return value


def listed(value: Any) -> list[Any]:
    """Return a list as it is, anything else as a list of one."""
    return list(value) if isinstance(value, (list, tuple)) else [value]


def as_written(row: Any) -> str:
    """Return a row as one line of YAML."""
    try:
        return yaml.safe_dump(row, default_flow_style=True, width=1000).strip().removesuffix("...").strip()
    except yaml.YAMLError:  # a dictionary made in Python can hold what YAML cannot
        return repr(row)
