"""`python -m benchmarks.processes [--write]`: trainings in several processes, as a table in docs/many_machines.md."""

import argparse
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

from benchmarks.page import write_between
from benchmarks.processes.checks import check_group, end, environment, launch, launch_hosts
from benchmarks.processes.folder import write_folder

CASES = [
    ("Ultralytics' own script, from a bare YAML, loader `spawn`", "own.yaml", launch, "spawn"),
    ("the same from a checkpoint, loader `forkserver`", "own.pt", launch, "forkserver"),
    ("a `torchrun` for each of two hosts, both here, from a bare YAML", "own.yaml", launch_hosts, "forkserver"),
    ("the same from a checkpoint", "own.pt", launch_hosts, "spawn"),
]


def group(folder: Path, model: str, start, method: str) -> str:
    """Train in two processes and check them."""
    run = f"runs/{start.__name__}-{Path(model).suffix[1:]}"
    started = start(folder, model, run, method)
    end(*(started if isinstance(started, list) else [started]))
    return check_group(folder, run, method)


def trials(folder: Path, model: str) -> str:
    """Run two trials on Ray."""
    command = [sys.executable, "-m", "benchmarks.processes.ray_trials", model, f"runs/ray-{Path(model).stem}"]
    done = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip().splitlines()[-1]


def main() -> None:
    """Run all, and print or write the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--write", action="store_true", help="write the table into docs/many_machines.md")
    given = parser.parse_args()
    rows = []

    def add(name, function, *arguments):
        before = time.monotonic()
        said = function(*arguments)
        rows.append(f"| {name} | {said} |\n")
        print(f"{name}: {said} ({time.monotonic() - before:.0f} s)", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        write_folder(folder)
        for name, *case in CASES:
            add(name, group, folder, *case)
        if find_spec("ray"):
            add("two trials on Ray, a model of the zoo", trials, folder, "yolov5n-effdet.yaml")
            add("two trials on Ray, with a module of a user", trials, folder, "own.yaml")
    table = "| training | seen |\n| --- | --- |\n" + "".join(rows)
    if given.write:
        write_between("docs/many_machines.md", "processes table", table)


if __name__ == "__main__":
    main()
