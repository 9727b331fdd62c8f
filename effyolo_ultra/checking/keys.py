"""The top-level keys of a model YAML."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from effyolo_ultra._heads import nc_problem
from effyolo_ultra._limits import too_large_keys
from effyolo_ultra._values import nested
from effyolo_ultra.checking.finding import Finding
from effyolo_ultra.checking.source import Source, duplicate_keys
from effyolo_ultra.errors import nearest

# What Ultralytics or this package reads at the top of a model YAML.
KNOWN = frozenset(
    "nc scales backbone head activation depth_multiple width_multiple kpt_shape end2end reg_max text_model channels ch"
    " names task anchors pretrained pruned inplace".split()
)


def check_keys(source: Source) -> Iterator[Finding]:
    """Yield what is wrong with the keys themselves."""
    d = source.d
    for line, key, before in duplicate_keys(source.root):
        yield Finding(
            "warning", line, None, f"'{key}' is there twice, first in line {before}; only the last one counts."
        )
    if "scale" in d:
        message = "'scale' has no effect: the letter in the file's name is the scale. Did you mean scales?"
        yield Finding("warning", source.line_of_key("scale"), None, message)
    named = strings([d.get("backbone"), d.get("head")])
    for key in d:
        if key in KNOWN or key == "scale" or key in named:
            continue
        hint = " Rows of a neck stand in 'head'." if key == "neck" else nearest(str(key), sorted(KNOWN))
        if hint:
            yield Finding("warning", source.line_of_key(str(key)), None, f"nothing reads the key '{key}'.{hint}")


def check_values(source: Source) -> Iterator[Finding]:
    """Yield what is wrong with the numbers at the top."""
    d = source.d
    if not d:
        return
    if problem := nc_problem(d.get("nc")):
        yield Finding("error", source.line_of_key("nc"), None, problem)
    for key, message in too_large_keys(d):
        yield Finding("error", source.line_of_key(key), None, message)


def strings(value: Any) -> set[str]:
    """Return all strings in nested lists and mappings."""
    found: set[str] = set()
    nested(lambda v: found.add(v) if isinstance(v, str) else None, value)
    return found
