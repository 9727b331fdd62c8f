"""`effyolo doctor`: whether an installation works."""

from __future__ import annotations

import argparse
from itertools import groupby
from typing import TYPE_CHECKING, Any

from effyolo_ultra.cli._parts import print_json, quiet, subcommand

if TYPE_CHECKING:
    from effyolo_ultra.doctor import Finding

EXAMPLES = """\
  effyolo doctor
  effyolo doctor --online
  effyolo doctor --json

The exit code is 1 if something would stop a training."""


def add(commands: Any) -> None:
    """Add the subcommand."""
    text = "look whether this installation works, and say what to do where it does not"
    parser = subcommand(commands, "doctor", text, EXAMPLES)
    parser.add_argument("--online", action="store_true", help="ask the hub of pretrained weights too")
    parser.add_argument("--json", action="store_true", help="print one record for each finding")
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Show the findings."""
    with quiet():
        from effyolo_ultra.doctor import diagnose

        findings = diagnose(given.online)
    return report(findings, given.json)


def report(findings: list[Finding], as_json: bool) -> int:
    """Print the findings, and return the exit code."""
    problems = sum(finding.state == "problem" for finding in findings)
    if as_json:
        print_json([finding._asdict() for finding in findings])
        return 1 if problems else 0
    from effyolo_ultra.cli._tables import show, table

    for topic, group in groupby(findings, key=lambda finding: finding.topic):
        columns = table(topic, "", "", fold=(2,))
        for finding in group:
            text = f"{finding.text}\n-> {finding.advice}" if finding.advice else finding.text
            columns.add_row(f"  {finding.name}", finding.state, text)
        show(columns, "")
    show(f"{problems} of these would stop a training" if problems else "nothing here would stop a training")
    return 1 if problems else 0
