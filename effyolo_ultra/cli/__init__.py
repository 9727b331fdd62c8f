"""The `effyolo` command. Each subcommand is a file of its own here, a thin layer over a Python function."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import shtab

from effyolo_ultra import __version__
from effyolo_ultra.cli import check, fusion, pack, prune, pull, push, unpack
from effyolo_ultra.errors import EffYoloError

COMMANDS = (check, fusion, pack, prune, pull, push, unpack)
EXIT_CODES = "Exit code: 0 for yes and done, 1 for no (check, diff, doctor), 2 for what could not be done."


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command."""
    parser = argparse.ArgumentParser(
        prog="effyolo",
        description="EfficientNet backbones and BiFPN necks for Ultralytics YOLO. Training is `yolo train`.",
        epilog=EXIT_CODES,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    shtab.add_argument_to(parser, help="print the completions of this command for a shell")
    commands = parser.add_subparsers(dest="command", metavar="command", required=True)
    for command in COMMANDS:
        command.add(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        The exit code. What is refused is one message on stderr, and exit code 2.
    """
    given = build_parser().parse_args(arguments)
    try:
        return given.run(given)
    except (EffYoloError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
