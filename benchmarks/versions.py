"""The quick tests under other versions of Python, torch, timm and Ultralytics, for docs/versions.md.

python -m benchmarks.versions --write                 runs all rows and writes the table; takes hours
python -m benchmarks.versions --rows 0 3 --write      runs these rows, and leaves the others in the table as they are
python -m benchmarks.versions --list                  prints the rows with their numbers

Rows that share Python and torch share a virtual environment, in the folder `--folder`; the interpreters are found on
PATH as python3.9 and so on. A row that does not install says so.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.page import ROOT, rows_between, write_between

PAGE, TABLE = "docs/versions.md", "versions table"
SETUP = (ROOT / "setup.cfg").read_text(encoding="utf-8")
LOWEST = {name: re.search(rf"^    {name}>=(.+)$", SETUP, re.MULTILINE)[1] for name in ("ultralytics", "timm")}
OLD = {"opencv-python": "4.6.0.66", "pyyaml": "6.0", "numpy": "1.26.4", "torchvision": "0.16.0"}
ROWS: list[tuple[str, str, dict[str, str]]] = [
    ("3.9", "2.1.0", {**LOWEST, **OLD}),
    ("3.11", "", LOWEST),
    ("3.11", "", {"ultralytics": "8.3.200"}),
    ("3.11", "", {"ultralytics": "8.4.0"}),
    ("3.11", "", {"ultralytics": "8.4.100"}),
    ("3.11", "", {}),
    ("3.9", "", {}),
    ("3.10", "", {}),
    ("3.12", "", {}),
    ("3.13", "", {}),
]
TOOLS = ["pytest", "pytest-timeout", "pytest-xdist", "cloudpickle", "effdet", "onnx", "onnxruntime", "hypothesis"]
TESTS = [f"tests/test_{name}.py" for name in ("parser", "errors", "zoo", "wild_yaml", "processes", "training", "init")]
SHOWN = ("torch", "ultralytics", "timm")


def environment(folder: Path, python: str, torch: str) -> Path:
    """Return the interpreter of a virtual environment with the project and its newest dependencies; make it once."""
    interpreter = folder / f"{python}-{torch or 'newest'}" / "bin" / "python"
    if not (interpreter.parent / "pytest").exists():
        subprocess.run([f"python{python}", "-m", "venv", interpreter.parent.parent], check=True)
        pip(interpreter, *([f"torch=={torch}"] if torch else []), "-e", ROOT, *TOOLS)
    return interpreter


def pip(interpreter: Path, *packages: str | Path) -> None:
    """Install packages, or raise an error with the last line of pip."""
    command = [interpreter, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or ["pip failed"])[-1])


def run(folder: Path, python: str, torch: str, pins: dict[str, str]) -> str:
    """Return the line of the table for one row."""
    if not shutil.which(f"python{python}"):
        return row(python, {}, "not run: no such Python on this machine")
    try:
        interpreter = environment(folder, python, torch)
        wanted = {"ultralytics": "", "timm": "", **pins}
        pinned = [f"{name}=={version}" if version else name for name, version in wanted.items()]
        pip(interpreter, "--upgrade", *pinned)
    except (RuntimeError, subprocess.CalledProcessError) as error:
        return row(python, {}, f"not installed: {str(error)[:150]}")
    code = f"from importlib.metadata import version; print(*map(version, {SHOWN}))"
    printed = subprocess.run([interpreter, "-c", code], capture_output=True, text=True, check=True).stdout
    tests = [interpreter, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", *TESTS]
    with tempfile.TemporaryDirectory() as settings:
        variables = {**os.environ, "YOLO_CONFIG_DIR": settings}
        done = subprocess.run(tests, cwd=ROOT, capture_output=True, text=True, env=variables)
    lines = done.stdout.strip().splitlines() or done.stderr.strip().splitlines() or ["no output"]
    print(*(line for line in lines if line.startswith(("FAILED", "ERROR"))), sep="\n", file=sys.stderr)
    return row(python, dict(zip(SHOWN, printed.split())), re.sub(r",? ?\d+ warnings?| in .*|=", "", lines[-1]).strip())


def row(python: str, versions: dict[str, str], result: str) -> str:
    """Return a line of the table."""
    return f"| {python} | {' | '.join(versions.get(name, '').split('+')[0] for name in SHOWN)} | {result} |\n"


def main() -> None:
    """Run rows; print the table, or write it into the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", type=int, choices=range(len(ROWS)), default=range(len(ROWS)), metavar="N")
    parser.add_argument("--folder", type=Path, help="of the environments, 6 GB each, kept for the next time")
    parser.add_argument("--list", action="store_true", help="print the rows")
    parser.add_argument("--write", action="store_true", help=f"write the table into {PAGE}")
    arguments = parser.parse_args()
    if arguments.list:
        print(*(f"{number}: {asked}" for number, asked in enumerate(ROWS)), sep="\n")
        return
    lines = {int(line.split("|")[1]): line for line in rows_between(PAGE, TABLE)}
    with tempfile.TemporaryDirectory() as temporary:
        folder = (arguments.folder or Path(temporary)).resolve()
        for number in arguments.rows:
            lines[number] = f"| {number} {run(folder, *ROWS[number])}"
            print(lines[number], end="", flush=True)
    if arguments.write:
        head = "| row | Python | torch | ultralytics | timm | quick tests |\n| --- | --- | --- | --- | --- | --- |\n"
        write_between(PAGE, TABLE, head + "".join(lines[number] for number in sorted(lines)))


if __name__ == "__main__":
    main()
