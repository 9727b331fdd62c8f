"""The dataset folder: pictures and label files of all scenes, and a manifest that says how they were made."""

from __future__ import annotations

import json
import operator
import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from effyolo_ultra.errors import nearest
from effyolo_ultra.shapes.folder import new_folder, only_one, remove_leftovers
from effyolo_ultra.shapes.labels import TASKS, label_lines
from effyolo_ultra.shapes.paint import paint_scene
from effyolo_ultra.shapes.scenes import random_scene

GENERATOR = "effyolo_ultra.shapes"
VERSION = 1  # of pictures and labels: one more whenever the same arguments give others
MANIFEST = "effyolo_shapes.json"
SPLITS = ("train", "val")
JPEG_QUALITY = 92

_RANGES = {"train": (1, 1_000_000), "val": (1, 1_000_000), "imgsz": (32, 4096), "seed": (0, 2**32 - 1)}


def make_shapes(
    path: str | os.PathLike[str],
    task: str = "detect",
    train: int = 400,
    val: int = 100,
    imgsz: int = 320,
    seed: int = 0,
) -> Path:
    """Draw the shapes dataset into a folder, which appears complete or not at all.

    Picture k of a split depends on the seed, the split, k and the image size alone: not on the task, and not on how
    many pictures there are. The same arguments give the same files with the same versions of NumPy and OpenCV.
    A folder that this function has made with the same arguments is left as it is. No other file is ever replaced.

    Args:
        path: Folder to make, with its parents; it may exist if it is empty.
        task: What the labels are for: "detect", "segment", "pose" or "obb".
        train: Number of training pictures.
        val: Number of validation pictures.
        imgsz: Side of the square pictures in pixels.
        seed: Another seed gives other pictures.

    Returns:
        The absolute path of the folder, with images/train, images/val, labels/train and labels/val.

    Raises:
        TypeError: If a number is not an integer, or the path not a path.
        ValueError: If an argument is out of its range.
        FileExistsError: If the path holds anything else than the dataset of these very arguments.

    Example:
        >>> make_shapes("datasets/shapes", train=40, val=10)  # doctest: +SKIP
        PosixPath('/home/me/datasets/shapes')
    """
    numbers = {"train": train, "val": val, "imgsz": imgsz, "seed": seed}
    arguments = {"task": _checked_task(task), **{name: _checked(name, number) for name, number in numbers.items()}}
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"make_shapes: path must be a str or a path, not {type(path).__name__}")
    target = Path(path).expanduser().resolve()  # so that a link is kept and what it points to is written
    if _is_made(target, arguments):
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with only_one(target.with_name(f".{target.name}.lock")) as held:
        if _is_made(target, arguments):  # by the process that held the lock before
            return target
        if held:  # else a folder beside this one may be somebody's who is still at work
            remove_leftovers(target, contents={MANIFEST, "images", "labels"})
        try:
            with new_folder(target) as folder:
                _write(folder, arguments)
        except OSError:
            if not _is_made(target, arguments):  # without locks another process may have been first
                raise
    return target


def _checked_task(task: str) -> str:
    if task not in TASKS:
        hint = nearest(str(task), TASKS)
        raise ValueError(f"make_shapes: task must be one of {', '.join(TASKS)}, not {task!r}.{hint}")
    return task


def _checked(name: str, number: int) -> int:
    low, high = _RANGES[name]
    try:
        number = operator.index(None if isinstance(number, bool) else number)
    except TypeError:
        raise TypeError(f"make_shapes: {name} must be an integer from {low} to {high}, not {number!r}") from None
    if not low <= number <= high:
        raise ValueError(f"make_shapes: {name} must be from {low} to {high}, not {number}")
    return number


def _files(arguments: dict) -> Iterator[tuple[int, int, str, str]]:
    """Split, index, picture and label file (relative) of every picture."""
    for split, name in enumerate(SPLITS):
        for k in range(arguments[name]):
            yield split, k, f"images/{name}/{k:06d}.jpg", f"labels/{name}/{k:06d}.txt"


def _is_made(target: Path, arguments: dict) -> bool:
    """True if the folder is there and complete, False if there is nothing yet, FileExistsError if there is another."""
    if not os.path.lexists(target) or (target.is_dir() and not any(target.iterdir())):
        return False
    try:
        manifest = json.loads((target / MANIFEST).read_text(encoding="utf-8"))
        made = manifest["arguments"]
        ours = manifest["generator"] == GENERATOR and isinstance(made, dict)
    except (OSError, ValueError, TypeError, KeyError):
        ours = False
    if not ours:
        raise FileExistsError(
            f"make_shapes: {target} exists and was not made by this package, so nothing is written there; "
            "move it away or choose another path (in a dataset YAML: the key `path`)"
        )
    remedy = "delete that folder to have it made anew, or choose another path"
    if manifest.get("version") != VERSION:
        raise FileExistsError(
            f"make_shapes: {target} was made by version {manifest.get('version')} of the shapes, and this is version "
            f"{VERSION}; {remedy}"
        )
    differences = [f"{k} is {made.get(k)!r} there, {v!r} asked for" for k, v in arguments.items() if made.get(k) != v]
    if differences:
        raise FileExistsError(
            f"make_shapes: {target} was made with other arguments: {', '.join(differences)}; {remedy}"
        )
    missing = [
        file for *_, image, label in _files(arguments) for file in (image, label) if not (target / file).is_file()
    ]
    if missing:
        raise FileExistsError(
            f"make_shapes: {target} lacks {len(missing)} of its files, such as {missing[0]}; {remedy}"
        )
    return True


def _write(folder: Path, arguments: dict) -> None:
    manifest = {"generator": GENERATOR, "version": VERSION, "arguments": arguments}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    for split in SPLITS:
        (folder / "images" / split).mkdir(parents=True)
        (folder / "labels" / split).mkdir(parents=True)
    for split, k, image_file, label_file in _files(arguments):
        scene_rng, paint_rng = (np.random.default_rng((arguments["seed"], split, k, part)) for part in range(2))
        scene = random_scene(scene_rng)
        image = paint_scene(scene, paint_rng, arguments["imgsz"])
        # Encoded here and written by Python: cv2.imwrite does not raise, and knows no non-ASCII path on Windows.
        _, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        (folder / image_file).write_bytes(encoded.tobytes())
        lines = label_lines(scene, arguments["task"])
        (folder / label_file).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
