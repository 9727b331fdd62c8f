"""What a check has to say, and collecting it over the scales of a file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

SEVERITIES = ("error", "warning", "note")


class Finding(NamedTuple):
    """One thing that a check found.

    Attributes:
        severity: 'error': a training would fail; 'warning': it would not do what the file seems to mean; 'note': what
            the trainer changes by itself.
        line: Line of the model YAML, from 1, None where it is about no line.
        row: Number of the row, as in the model table, None where it is about no row.
        message: What is wrong and what to do, as a training would say it.
    """

    severity: str
    line: int | None
    row: int | None
    message: str


def merge(by_scale: dict[str, Sequence[Finding]]) -> list[Finding]:
    """Return the findings of all scales, each once; one that not every scale has says which have it."""
    scales_of: dict[Finding, list[str]] = {}
    for scale, findings in by_scale.items():
        for finding in dict.fromkeys(findings):
            scales_of.setdefault(finding, []).append(scale)
    return [
        finding
        if len(scales) == len(by_scale)
        else finding._replace(message=f"{finding.message} (scale {', '.join(scales)})")
        for finding, scales in scales_of.items()
    ]


def in_order(findings: Sequence[Finding]) -> list[Finding]:
    """Return findings from the top of the file to its end; those about no line come last."""
    return sorted(dict.fromkeys(findings), key=lambda f: (f.line is None, f.line or 0, SEVERITIES.index(f.severity)))
