"""`effyolo push`: a variant to the Hugging Face Hub."""

from __future__ import annotations

import argparse
from typing import Any

from effyolo_ultra.cli._parts import quiet, subcommand

EXAMPLES = """\
  effyolo push my-variant.zip user/my-variant
  effyolo push best.pt user/my-variant --private
log in once with `hf auth login`, or set HF_TOKEN"""


def add(commands: Any) -> None:
    """Add the subcommand."""
    parser = subcommand(commands, "push", "send a variant to the Hugging Face Hub", EXAMPLES)
    parser.add_argument("variant", help="what `effyolo pack` has written, or a checkpoint, which is packed first")
    parser.add_argument("repo", metavar="user/repo", help="the repository; it is made if there is none")
    parser.add_argument("--private", action="store_true", help="make the repository private")
    parser.add_argument(
        "--token", help="token with the right to write; by default the one of `hf auth login` or HF_TOKEN"
    )
    parser.add_argument("--overwrite", action="store_true", help="commit on top of a variant that the repository holds")
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Push, and print the address of the repository."""
    with quiet():
        from effyolo_ultra.sharing.hub import push

        address = push(given.variant, given.repo, private=given.private, token=given.token, overwrite=given.overwrite)
    print(address)
    return 0
