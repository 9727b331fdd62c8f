"""The `effyolo` command. Each subcommand is a file of its own here, a thin layer over a Python function."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from effyolo_ultra import __version__
from effyolo_ultra.cli import check, diff, doctor, draw, features, fusion, info, new, pack, prune, pull, push, unpack
from effyolo_ultra.cli import list as list_
from effyolo_ultra.cli._completions import add_completions
from effyolo_ultra.errors import EffYoloError

COMMANDS = (
    list_,
    info,
    new,
    check,
    diff,
    draw,
    features,
    fusion,
    prune,
    pack,
    unpack,
    push,
    pull,
    doctor,
)
EPILOG = """\
examples:
  effyolo list effdet
  effyolo info yolov5n-effdet.yaml
  effyolo doctor
  effyolo --print-completion bash > ~/.local/share/bash-completion/completions/effyolo

`effyolo COMMAND --help` shows the options and examples of a command. The exit code is
0 for yes and done, 1 for no (check, diff, doctor), 2 for what could not be done."""
BROKEN_PIPE = 141  # what a shell reports for a command that SIGPIPE has ended


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command."""
    parser = argparse.ArgumentParser(
        prog="effyolo",
        description="EfficientNet backbones and BiFPN necks for Ultralytics YOLO. Training is `yolo train`.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="command", required=True)
    for command in COMMANDS:
        command.add(commands)
    add_completions(parser, commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        The exit code. What is refused is one message on stderr, and exit code 2.
    """
    if hasattr(sys.stdout, "reconfigure"):  # a notebook has other streams
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr: a pipe on Windows has few letters
    try:
        try:
            return run(arguments)
        finally:
            sys.stdout.flush()  # here, and not at the exit of the interpreter, where nobody can handle what it raises
    except BrokenPipeError:  # the reader, such as `head`, has what it wanted
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE


def run(arguments: Sequence[str] | None) -> int:
    """Run the command, and print what it refuses."""
    given = build_parser().parse_args(arguments)
    try:
        return given.run(given)
    except BrokenPipeError:
        raise
    except (EffYoloError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
