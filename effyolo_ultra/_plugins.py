"""Loads the modules of users in every process: those that packages announce, and those of EFFYOLO_ULTRA_MODULES.

What is loaded is chosen by who installs packages and sets the environment, never by a YAML, and no file of the working
directory is run because it lies there. The variable is inherited by workers of a multi-GPU training and of Ray.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from importlib.metadata import entry_points
from pathlib import Path

from effyolo_ultra.errors import ModuleRegistrationError

GROUP = "effyolo_ultra.modules"
VARIABLE = "EFFYOLO_ULTRA_MODULES"

# What could not be loaded and why. It must not stop a stock model, so it is an error only where a YAML needs it.
FAILED: dict[str, str] = {}


def load_user_modules() -> None:
    """Import everything that registers modules, once in a process."""
    for entry in announced():
        load(f"entry point '{entry.name} = {entry.value}'", entry.load)
    items = [item for item in os.environ.get(VARIABLE, "").split(os.pathsep) if item]
    # Absolute for the processes that are started from here, some of them in other directories.
    items = [str(Path(item).absolute()) if item.endswith(".py") else item for item in items]
    if items:
        os.environ[VARIABLE] = os.pathsep.join(items)
    for item in items:
        load(f"{VARIABLE} '{item}'", lambda item=item: load_file(Path(item)) if item.endswith(".py") else import_(item))


def own_modules_hint() -> str:
    """Say what could not be loaded, or how modules of one's own are, as the end of an error message."""
    not_loaded = "".join(f"\n  Not loaded: {what}: {why}" for what, why in FAILED.items())
    return not_loaded or f" For a module of your own, name its file in {VARIABLE} (docs/own_modules.md)."


def announced() -> list:
    """Return the entry points of installed packages."""
    found = entry_points()
    return list(found.select(group=GROUP) if hasattr(found, "select") else found.get(GROUP, ()))  # .get: Python 3.9


def load(what: str, importer) -> None:
    """Import one thing; warn where that fails."""
    try:
        importer()
    except Exception as error:  # of somebody else's code, which may raise anything
        from ultralytics.utils import LOGGER

        FAILED[what] = f"{type(error).__name__}: {error}"
        LOGGER.warning(f"effyolo_ultra: modules of {what} cannot be used: {FAILED[what]}")


def import_(name: str) -> None:
    """Import a module by name, from the working directory too, as `python -m` does."""
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.append(os.getcwd())
    if not all(part.isidentifier() for part in name.split(".")):
        raise ModuleRegistrationError("it is neither a .py file nor the name of a Python module")
    importlib.import_module(name)


def load_file(path: Path) -> None:
    """Import a file as a module of its own name, by which checkpoints will name its classes."""
    if not path.is_file():
        raise ModuleRegistrationError("there is no such file")
    if not path.stem.isidentifier():
        raise ModuleRegistrationError(f"'{path.stem}' is no name of a Python module: rename the file")
    there = sys.modules.get(path.stem)
    if there is not None:
        file = getattr(there, "__file__", None)
        if not (file and Path(file).is_file() and path.samefile(file)):  # spelt in another way perhaps
            raise ModuleRegistrationError(f"there is another module '{path.stem}', {there!r}: rename the file")
        return
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))  # for what it imports from beside it, and for who unpickles its classes
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[path.stem]
        raise
