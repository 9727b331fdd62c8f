"""`effyolo pull`: a variant from the Hugging Face Hub."""

from __future__ import annotations

import argparse
from typing import Any

from effyolo_ultra.cli._parts import quiet, subcommand

EXAMPLES = """\
  effyolo pull user/my-variant
  effyolo pull user/my-variant -o my.pt --revision v1.0
  yolo predict model=my-variant.pt source=image.jpg"""


def add(commands: Any) -> None:
    """Add the subcommand."""
    text = "fetch a variant from the Hugging Face Hub as a checkpoint, without running anything that is in it"
    parser = subcommand(commands, "pull", text, EXAMPLES)
    parser.add_argument("repo", metavar="user/repo", help="the repository")
    parser.add_argument("-o", "--output", metavar="FILE", help="the checkpoint to write, by default repo.pt")
    parser.add_argument("--revision", help="a branch, a tag or a commit; by default the newest commit")
    parser.add_argument(
        "--token", help="token for a private repository; by default the one of `hf auth login` or HF_TOKEN"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the output if it is there")
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Pull, and print what was written."""
    with quiet():
        from effyolo_ultra.sharing.hub import pull

        path = pull(given.repo, given.output, revision=given.revision, token=given.token, overwrite=given.overwrite)
    print(path)
    return 0
