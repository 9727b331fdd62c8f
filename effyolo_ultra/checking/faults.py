"""All wrong options of a row: whoever builds it says the first one only."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from effyolo_ultra.checking.rows import caught
from effyolo_ultra.errors import ModelYAMLError
from effyolo_ultra.registry import MODULES
from effyolo_ultra.row import Row


def faults_of(row: Row, attempt: Callable[[Row], Any]) -> list[ModelYAMLError]:
    """Return the error of a row, and those that show once the options to blame are left out, one after another."""
    found: list[ModelYAMLError] = []
    error = attempt(row)
    while isinstance(error, ModelYAMLError):
        for name in row.options if row.module in MODULES else ():
            without = dataclasses.replace(row, options={k: v for k, v in row.options.items() if k != name})
            result = attempt(without)
            if getattr(result, "problem", None) != error.problem:
                break
        else:
            return found or [error]  # one that no option is to blame for may come from those that are left out by now
        found.append(error)
        row, error = without, result
    return found


def in_all(faults: Sequence[Sequence[ModelYAMLError]]) -> list[ModelYAMLError]:
    """Return the errors that are in every list."""
    return [e for e in faults[0] if all(e.problem in {other.problem for other in errors} for errors in faults)]


def names_of_options(row: Row) -> ModelYAMLError | None:
    """Return the error of the names of a row's options, which are right or wrong with any input."""
    cls = MODULES.get(row.module)
    return next(caught(dataclasses.replace(row, args=()).arguments, cls), None) if cls else None
