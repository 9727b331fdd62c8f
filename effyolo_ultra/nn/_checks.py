"""Checks of constructor arguments; the messages say what was given and what is allowed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from effyolo_ultra.errors import nearest


def check_choice(name: str, value: Any, allowed: Sequence[str]) -> str:
    """Return `value` if it is one of `allowed`."""
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, not {value!r}.{nearest(str(value), allowed)}")
    return value


def check_bool(name: str, value: Any) -> bool:
    """Return `value` if it is true or false."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be true or false, not {value!r}")
    return value


def check_number(
    name: str, value: Any, *, above: float | None = None, least: float | None = None, below: float = float("inf")
):
    """Return `value` if it is a number in the range."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number, not {value!r}")
    if not (value < below and (above is None or value > above) and (least is None or value >= least)):
        lower = f"above {above}" if above is not None else f"at least {least}"
        upper = "" if below == float("inf") else f" and below {below}"
        raise ValueError(f"{name} must be {lower}{upper}, not {value!r}")
    return value


def check_int(name: str, value: Any, least: int = 1, most: int | None = None) -> int:
    """Return `value` if it is a whole number in the range."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be a whole number, not {value!r}")
    if value < least or (most is not None and value > most):
        raise ValueError(
            f"{name} must be at least {least}{'' if most is None else f' and at most {most}'}, not {value}"
        )
    return value


def check_levels(name: str, value: Any, *, consecutive: bool = False) -> tuple[int, ...]:
    """Return `value` as pyramid levels, finest first, such as (3, 4, 5)."""
    if not isinstance(value, (list, tuple)) or not value:
        raise TypeError(f"{name} must be a list of pyramid levels such as [3, 4, 5], not {value!r}")
    levels = tuple(check_int(f"each of {name}", level, 1, 10) for level in value)
    if sorted(set(levels)) != list(levels):
        raise ValueError(
            f"{name} must go from fine to coarse without repetition, such as [3, 4, 5], not {list(levels)}"
        )
    if consecutive and levels[-1] - levels[0] != len(levels) - 1:
        raise ValueError(f"{name} must leave out no level in between, such as [3, 4, 5], not {list(levels)}")
    return levels
