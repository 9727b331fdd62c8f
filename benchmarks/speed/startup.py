"""What the package costs when Python starts and when Ultralytics is imported, each time in a fresh process."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys

from benchmarks.page import ROOT
from effyolo_ultra._autoload import OPT_OUT

# The line that Python runs at start, in an interpreter that has read no start-up file but, as they all, os and sys.
HOOK = """
import os, sys, time
sys.path.insert(0, sys.argv[1])
line = open(os.path.join(sys.argv[1], "startup", "effyolo_ultra.pth")).read()
start = time.perf_counter()
exec(line)
print(1000 * (time.perf_counter() - start))
assert type(sys.meta_path[0]).__module__ == "effyolo_ultra._autoload"
"""
IMPORT = """
import sys, time
hooked = any(type(finder).__module__ == "effyolo_ultra._autoload" for finder in sys.meta_path)
assert hooked == (sys.argv[1] == "with"), "effyolo_ultra is not installed in this environment"
start = time.perf_counter()
import ultralytics
print(1000 * (time.perf_counter() - start))
from ultralytics import YOLO
print(1000 * (time.perf_counter() - start))
"""


def run(*args: str, **environment: str) -> list[float]:
    """Return the numbers that a Python process prints."""
    done = subprocess.run([sys.executable, *args], env={**os.environ, **environment}, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return [float(line) for line in done.stdout.split()]


def startup_times(processes: int) -> dict[str, float]:
    """Return medians in milliseconds: the hook, `import ultralytics` and `from ultralytics import YOLO`."""
    times: dict[str, list[float]] = {}

    def note(values, *names):
        for name, value in zip(names, values):
            times.setdefault(name, []).append(value)

    for number in range(1 + processes):
        if number == 1:
            times.clear()  # the first of each may have compiled files
        note(run("-I", "-S", "-c", HOOK, str(ROOT)), "hook")
        for way, value in (("with", ""), ("without", "1")):
            note(run("-c", IMPORT, way, **{OPT_OUT: value}), f"import {way}", f"import YOLO {way}")
    return {name: statistics.median(values) for name, values in times.items()}
