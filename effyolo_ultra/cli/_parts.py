"""What the subcommands share: their parsers, silence of Ultralytics, and printing."""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
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
def quiet() -> Iterator[None]:
    """While in this context, Ultralytics logs warnings only: stdout is for the command's own output."""
    from ultralytics.utils import LOGGER

    level = LOGGER.level
    LOGGER.setLevel(logging.WARNING)
    try:
        yield
    finally:
        LOGGER.setLevel(level)


def print_json(value: Any) -> None:
    """Print a value as JSON, as a script reads it."""
    print(json.dumps(value, indent=1))
