"""`effyolo check`: everything about a model YAML that can be known without training."""

from __future__ import annotations

import argparse
from typing import Any

from effyolo_ultra.checking.finding import SEVERITIES
from effyolo_ultra.cli._parts import print_json, quiet, subcommand

EXAMPLES = """\
  effyolo check my-model.yaml
  effyolo check yolov5s-effnet-bifpn.yaml --data shapes.yaml --imgsz 320
  effyolo check my-model.yaml --json"""


def add(commands: Any) -> None:
    """Add the subcommand."""
    text = "check a model YAML, all errors at once, each with its line; nothing is trained or downloaded"
    parser = subcommand(commands, "check", text, EXAMPLES)
    parser.add_argument("file", help="a model YAML, by path or name; with a scale letter in the name, that scale only")
    parser.add_argument("--data", metavar="YAML", help="data to train on, which must be on this machine")
    parser.add_argument("--imgsz", type=int, default=640, help="size of the images to train on, by default 640")
    parser.add_argument("--json", action="store_true", help="print one record for each finding instead of lines")
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Check, and print what was found."""
    with quiet():
        from effyolo_ultra.checking.check import check

        findings = check(given.file, given.data, given.imgsz)
    if given.json:
        print_json([finding._asdict() for finding in findings])
    else:
        for line in lines(given.file, findings):
            print(line)
    return int(any(finding.severity == "error" for finding in findings))


def lines(file: str, findings: list[Any]) -> list[str]:
    """Return one line for each finding, as compilers write them, and the count."""
    written = []
    for finding in findings:
        where = file if finding.line is None else f"{file}:{finding.line}"
        row = "" if finding.row is None else f"row {finding.row}: "
        written.append(f"{where}: {finding.severity}: {row}{' '.join(finding.message.split())}")
    counts = [f"{n} {kind}{'' if n == 1 else 's'}" for kind in SEVERITIES if (n := count(findings, kind))]
    return [*written, f"{file}: {', '.join(counts) or 'no errors'}"]


def count(findings: list[Any], severity: str) -> int:
    """Return the number of findings of a severity."""
    return sum(finding.severity == severity for finding in findings)
