"""Completions of the command for a shell: subcommands, options, and models by name or file."""

from __future__ import annotations

import argparse
from typing import Any

import shtab

from effyolo_ultra.zoo_records import read_index

MODELS = ("model", "file", "first", "second")  # the arguments of all subcommands that take a model
FILES = ("image", "variant", "output")
COMPLETE = {"bash": "_effyolo_models", "zsh": "_effyolo_models"}
FUNCTIONS = {
    "bash": """
_effyolo_models() {{
  compgen -W "{names}" -- "$1"
  for ending in yaml yml pt; do compgen -f -X "!*.$ending" -- "$1"; done
  compgen -d -S / -- "$1"
}}
""",
    "zsh": """
_effyolo_models() {{
  _alternative 'models:model of the zoo:({names})' 'files:file:_files -g "*.(yaml|yml|pt)"'
}}
""",
}


def add_completions(parser: argparse.ArgumentParser, commands: Any) -> None:
    """Add the option --print-completion, when all subcommands are there."""
    names = " ".join(record["name"] for record in read_index())
    preamble = {shell: text.format(names=names) for shell, text in FUNCTIONS.items()}
    shtab.add_argument_to(parser, help="print the completions of this command for a shell", preamble=preamble)
    for command in commands.choices.values():
        for action in command._actions:
            if action.dest in MODELS:
                action.complete = COMPLETE
            elif action.dest in FILES:
                action.complete = shtab.FILE
