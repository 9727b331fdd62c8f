"""The YAML files that this package ships: model YAMLs (the zoo), dataset YAMLs and recipes of trainings."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from types import ModuleType

import yaml

from effyolo_ultra.document import SCALES
from effyolo_ultra.errors import UnknownNameError, nearest

PACKAGE = Path(__file__).parent


def folder(name: str) -> Path:
    """Return the folder `recipes`, or `models` or `datasets`, which are beside the package in a checkout."""
    installed = PACKAGE / name
    return installed if installed.is_dir() else PACKAGE.parent / name


def list_models() -> list[str]:
    """Return the names of all model YAMLs, by file, with every scale letter that a file has, the smallest first."""
    return [name for path in sorted(folder("models").rglob("*.yaml"), key=lambda p: p.stem) for name in names(path)]


def list_files(kind: str) -> list[str]:
    """Return the names of all files in the folder `datasets` or `recipes`."""
    return sorted(path.name for path in folder(kind).rglob("*.yaml"))


def model_path(name: str) -> Path:
    """Return the path of a model YAML of the zoo.

    Args:
        name: Its name, such as 'yolov5-effb3-bifpn.yaml' or, with a scale letter, 'yolov5s-effnet-bifpn.yaml'.

    Raises:
        UnknownNameError: If the zoo has no such file; the message names the nearest ones.
    """
    base, _ = split_scale(name)
    path = find(name, "models") or find(base, "models")
    if path is None:
        raise UnknownNameError(f"there is no model '{name}'.{nearest(name, list_models())}")
    check_scale_letter(name)
    return path


def check_scale_letter(name: str) -> None:
    """Raise an UnknownNameError for a model of the zoo whose name has a scale letter that the file does not know."""
    base, letter = split_scale(name)
    path = find(base, "models")
    if letter and path and letter not in scales(path) and not Path(name).exists() and not Path(base).exists():
        size = f"the scales {', '.join(scales(path))}" if scales(path) else f"one size only, and is called '{base}'"
        raise UnknownNameError(f"there is no model '{name}': it has {size}.")


def nearest_models(name: str, tasks: ModuleType) -> str:
    """Say which models are near to a name: of the zoo, of its folder, of Ultralytics; '' if none is."""
    stock = Path(tasks.__file__).parents[1] / "cfg" / "models"
    files = [file.name for file in (*Path(name).parent.glob("*.y*ml"), *stock.rglob("*.yaml"))]
    return nearest(Path(name).name, [*list_models(), *files])


def find(name: str, *kinds: str) -> Path | None:
    """Return the path of a shipped file of these kinds by its bare name, None if there is none."""
    if not re.fullmatch(r"[\w.+-]+\.ya?ml", name):
        return None
    return next((path for kind in kinds for path in sorted(folder(kind).rglob(name))), None)


def names(path: Path) -> list[str]:
    """Return the names of a model YAML: one for each of its scales, or its own."""
    stem = re.match(r"yolov?\d+", path.name)
    letters = scales(path) if stem else ()
    return [f"{stem[0]}{letter}{path.name[stem.end() :]}" for letter in letters] or [path.name]


@cache
def scales(path: Path) -> tuple[str, ...]:
    """Return the scale letters of a model YAML, none for a file of one size."""
    return tuple(yaml.safe_load(path.read_text(encoding="utf-8")).get("scales") or ())


def split_scale(name: str) -> tuple[str, str]:
    """Split 'yolov5s-effnet-bifpn.yaml' into the file's name 'yolov5-effnet-bifpn.yaml' and the scale letter 's'."""
    match = re.match(rf"(yolov?\d+)([{''.join(SCALES)}])(?=[-_.])", name)
    return (f"{match[1]}{name[match.end() :]}", match[2]) if match else (name, "")
