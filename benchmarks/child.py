"""Work in a process of its own, which may crash or hang: it prints its results as lines of JSON."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.page import ROOT

MARK = "RESULT "


def environment(**more: str) -> dict[str, str]:
    """Return the environment of a process that imports this checkout and installs nothing."""
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": paths, "YOLO_AUTOINSTALL": "false", **more}


def report(result: Any) -> None:
    """Print a result, in the process that has it."""
    print(MARK + json.dumps(result), flush=True)


def results(command: Sequence[str], minutes: float, variables: Mapping[str, str]) -> tuple[list[Any], str]:
    """Run a command, and return the results that it has reported, and how it ended."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=variables, timeout=60 * minutes)
    except subprocess.TimeoutExpired:
        return [], f"not ended after {minutes} minutes"
    lines = [line.removeprefix(MARK) for line in done.stdout.splitlines() if line.startswith(MARK)]
    return [json.loads(line) for line in lines], f"the process ended with {done.returncode}\n{done.stderr[-1000:]}"


def first_line(error: str) -> str:
    """Return the first line of an error, fit for a table."""
    return re.sub(r"https?://\S+|(?<!\w)/\S+|\x1b\[\d+m", "...", error.split("\n")[0])[:150].replace("|", "/")
