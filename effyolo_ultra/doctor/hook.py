"""Whether a fresh interpreter, such as the one of the `yolo` command, knows the modules of this package."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from effyolo_ultra._autoload import HOOKS, OPT_OUT, opted_out
from effyolo_ultra.doctor.finding import Finding

STARTUP_FILE = "effyolo_ultra.pth"
REINSTALL = "pip install --force-reinstall --no-deps effyolo-ultra, or `import effyolo_ultra` in the script"
# What _ultralytics.py wraps in each module.
WRAPPED = {
    "ultralytics.utils.checks": ("check_yaml",),
    "ultralytics.nn.tasks": (
        "parse_model",
        "yaml_model_load",
        "guess_model_task",
        "BaseModel.load",
        "BaseModel.fuse",
    ),
    "ultralytics.data.utils": ("check_file",),
    "ultralytics.engine.trainer": ("BaseTrainer.setup_model", "BaseTrainer.build_optimizer"),
}
PROBE = f"""
import importlib, json, operator, sys, warnings
warnings.simplefilter("ignore")
found = {{"started": "effyolo_ultra._autoload" in sys.modules, "wrapped": {{}}, "faults": {{}}, "error": ""}}
found["files"] = [p for p in sys.path if __import__("os").path.isfile(p + "/{STARTUP_FILE}")]
try:
    import effyolo_ultra._autoload as ours
    if not found["started"]:
        sys.meta_path[:] = [f for f in sys.meta_path if type(f).__module__ != ours.__name__]
    for name, attributes in {WRAPPED!r}.items():
        module = importlib.import_module(name)
        for attribute in attributes:
            function = operator.attrgetter(attribute)(module)
            found["wrapped"][name + "." + attribute] = hasattr(function, "wrapped_by_effyolo_ultra")
    found["faults"] = {{name: fault for name, fault in ours.hooked.items() if fault}}
except Exception as error:
    found["error"] = f"{{type(error).__name__}}: {{error}}"
print(json.dumps(found))
"""


def look() -> Iterator[Finding]:
    """Yield the findings."""
    yield from of_interpreter(ask(sys.executable, PROBE))
    yield command()


def ask(python: str, script: str) -> dict[str, Any]:
    """Return what a script prints as JSON in a fresh interpreter, started where no folder shadows a package."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run([python, "-c", script], cwd=folder, capture_output=True, text=True, timeout=300)
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        last = (done.stderr.strip().splitlines() or ["it printed nothing"])[-1]
        raise RuntimeError(f"{python} does not run: {last}")
    return json.loads(lines[-1])


def of_interpreter(found: dict[str, Any]) -> Iterator[Finding]:
    """Yield the findings on what a fresh interpreter has told."""
    files = found["files"]
    if files:
        yield Finding("hook", "start-up file", "ok", str(Path(files[0], STARTUP_FILE)))
    else:
        text = f"there is no {STARTUP_FILE} in site-packages, so `yolo` does not know the modules"
        yield Finding("hook", "start-up file", "problem", text, REINSTALL)
    if opted_out():
        text = f"switched off: {OPT_OUT} is set to {os.environ[OPT_OUT]!r}"
        yield Finding("hook", "hook", "problem", text, f"unset {OPT_OUT}, or call effyolo_ultra.register()")
        return
    if found["error"]:
        advice = "pip install --upgrade ultralytics effyolo-ultra"
        yield Finding("hook", "hook", "problem", f"Ultralytics cannot be imported: {found['error']}", advice)
        return
    for name in HOOKS:
        wanted = [attribute for attribute in found["wrapped"] if attribute.startswith(f"{name}.")]
        missing = [attribute for attribute in wanted if not found["wrapped"][attribute]]
        if name in found["faults"]:
            advice = "install the version that the fault names, or a newer effyolo-ultra"
            yield Finding("hook", name, "problem", found["faults"][name], advice)
        elif missing:
            text = f"not extended: {', '.join(missing)}"
            yield Finding("hook", name, "problem", text, REINSTALL)
        else:
            yield Finding("hook", name, "ok", f"{len(wanted)} of {len(wanted)} functions extended")


def command() -> Finding:
    """Return the finding on the `yolo` command that a shell would run."""
    script = shutil.which("yolo")
    own = Path(sys.executable).with_name("yolo")
    if script is None:
        advice = f"activate the environment, or write {own} for it" if own.exists() else "pip install ultralytics"
        return Finding("hook", "yolo command", "warning", "there is no `yolo` on PATH", advice)
    python = interpreter(Path(script))
    if python is None:
        return Finding("hook", "yolo command", "note", f"{script}; which Python runs it is not known")
    if Path(python).parent == Path(sys.executable).parent:
        return Finding("hook", "yolo command", "ok", script)
    probe = "import json, sys; print(json.dumps({'started': 'effyolo_ultra._autoload' in sys.modules}))"
    try:
        started = ask(python, probe)["started"]
    except (OSError, RuntimeError, ValueError, subprocess.TimeoutExpired):
        started = False
    if started:
        return Finding("hook", "yolo command", "note", f"{script} is of another environment, which has the modules too")
    text = f"{script} is of another environment ({python}), which does not know the modules"
    advice = f"activate the environment of {sys.executable}, or put {Path(sys.executable).parent} first on PATH"
    return Finding("hook", "yolo command", "problem", text, advice)


def interpreter(script: Path) -> str | None:
    """Return the Python that runs an installed script: in its first line, or its second where the path is long."""
    with open(script, "rb") as file:
        head = file.read(1000).decode("utf-8", "replace").splitlines()[:2]
    found = re.search(r"(/[^\"'\n]*?/python[\w.]*)", "\n".join(head)) if head and head[0].startswith("#!") else None
    return found[1].removeprefix("/usr/bin/env ").strip() if found else None
