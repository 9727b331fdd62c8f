"""What the subcommands share: their parsers, silence of Ultralytics, and printing."""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import sys
from collections.abc import Iterator
from typing import Any


def subcommand(commands: Any, name: str, text: str, examples: str) -> argparse.ArgumentParser:
    """Add a subcommand whose help ends with examples, one a line."""
    return commands.add_parser(
        name,
        help=text,
        description=f"{text[0].upper()}{text[1:]}.",
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


@contextlib.contextmanager
def quiet(level: int = logging.WARNING) -> Iterator[None]:
    """While in this context, Ultralytics logs from `level` on, to stderr: stdout is for the command's own output.

    What imports Ultralytics is imported in this context too, and what other packages print goes to stderr.
    """
    with contextlib.redirect_stdout(sys.stderr):
        from ultralytics.utils import LOGGER

        before = LOGGER.level
        streams = [(handler, handler.stream) for handler in LOGGER.handlers if type(handler) is logging.StreamHandler]
        LOGGER.setLevel(level)
        for handler, _ in streams:
            handler.stream = sys.stderr
        try:
            yield
        finally:
            LOGGER.setLevel(before)
            for handler, stream in streams:
                handler.stream = stream


def print_json(value: Any) -> None:
    """Print a value as JSON, as a script reads it."""
    print(json.dumps(value, indent=1))
