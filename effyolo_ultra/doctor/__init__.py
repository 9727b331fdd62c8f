"""What of an installation works, what does not, and what to do: `effyolo doctor`."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

from effyolo_ultra.doctor.finding import Finding

__all__ = ["Finding", "diagnose"]


def diagnose(online: bool = False) -> list[Finding]:
    """Look at versions, the hook into Ultralytics, weights, and this machine.

    Args:
        online: Ask the hub of pretrained weights too; otherwise nothing is sent.

    Returns:
        One finding for each thing that was looked at; a `problem` among them would stop a training.
    """
    topics = {"versions": (), "hook": (), "weights": (online,), "machine": ()}
    return [finding for topic, arguments in topics.items() for finding in look(topic, *arguments)]


def look(topic: str, *arguments: bool) -> Iterator[Finding]:
    """Yield the findings on a topic; a broken package, which may fail anywhere, is one too."""
    try:
        yield from import_module(f"effyolo_ultra.doctor.{topic}").look(*arguments)
    except Exception as error:
        text = f"could not be looked at: {type(error).__name__}: {error}"
        advice = "reinstall the package that the error names, in an environment of its own"
        yield Finding(topic, topic, "problem", text, advice)
