"""A data set, read as the trainer reads it but for one thing: nothing is downloaded."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from effyolo_ultra._heads import valid_keypoints
from effyolo_ultra._limits import MAX_CHANNELS
from effyolo_ultra.checking.finding import Finding

LABEL_FILES = 20  # to look at, of the first images; the trainer looks at all of them
WITH_LABELS = ("detect", "segment", "pose", "obb")  # tasks with a text file of labels for each image
MISSING = re.compile(r"missing path '(.+?)'")  # in what Ultralytics says of images that are not there
READING = threading.Lock()  # held by a thread that reads a data YAML: a function of Ultralytics is another one then
MOST_IMAGES = 10_000  # to list, in the order of the folder, before the first ones are taken


class NoData(Exception):
    """A data set that cannot be looked at."""

    def __init__(self, severity: str, message: str):
        super().__init__(message)
        self.finding = Finding(severity, None, None, message)


@dataclass(frozen=True)
class Data:
    """What a data YAML, or a folder of classes, says.

    Attributes:
        name: As it was given.
        nc: Number of classes.
        channels: Channels of the images.
        kpt_shape: Number and dimensions of the keypoints, None where there are none.
        train: Folders or lists of training images.
        absent: Why there are no images, '' if they are there.
        downloads: Whether a training would fetch them.
    """

    name: str
    nc: int
    channels: int
    kpt_shape: Any
    train: tuple[Path, ...]
    absent: str = ""
    downloads: bool = False


def read_data(name: str, task: str) -> Data:
    """Read a data set.

    Args:
        name: Name or path of a data YAML; of a folder for 'classify'.
        task: The task of the model.

    Raises:
        FileNotFoundError: If there is no such data YAML.
        NoData: If it is not on this machine, or not what the trainer accepts.
    """
    if "://" in name:
        raise NoData("error", f"data '{name}' is not looked at, because a check downloads nothing.")
    return read_folder(name) if task == "classify" else read_yaml(name)


def read_yaml(name: str) -> Data:
    """Read a data YAML."""
    from ultralytics.data import utils
    from ultralytics.utils import YAML

    if not Path(name).is_dir() and Path(name).suffix not in ("", ".yaml", ".yml"):
        raise NoData("error", f"data '{name}' is no data YAML; an archive is not unpacked by a check.")
    if Path(name).suffix == "" and not Path(name).is_dir():
        name = f"{name}.yaml"  # a bare name, as 'coco8'
    file = Path(name) if Path(name).is_dir() else Path(utils.check_file(name))
    try:
        with no_font(utils):
            data = utils.check_det_dataset(str(file), autodownload=False)
        absent = ""
    except FileNotFoundError as error:
        if file.is_dir():
            raise NoData("error", f"data '{name}': {error}") from None
        path = MISSING.search(str(error))
        data, absent = YAML.load(file), f"no images at {path[1]}" if path else " ".join(str(error).split())
    except Exception as error:  # each of its refusals is of another class
        raise NoData("error", f"data '{name}': {' '.join(str(error).split())}") from error
    names, channels = data.get("names"), data.get("channels", 3)
    nc = len(names) if isinstance(names, (list, dict)) else data.get("nc")
    for key, value in (("nc", nc), ("channels", channels)):
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_CHANNELS:
            raise NoData("error", f"'{key}' of data '{name}' must be a whole number, at least 1, not {value!r}.")
    train = data.get("train") or []
    return Data(
        name,
        nc,
        channels,
        data.get("kpt_shape"),
        tuple(Path(part) for part in (train if isinstance(train, list) else [train])),
        absent,
        bool(data.get("download")),
    )


def read_folder(name: str) -> Data:
    """Read a folder of pictures, one folder a class, as classification takes it."""
    from ultralytics.utils import DATASETS_DIR

    folder = next((f for f in (Path(name), DATASETS_DIR / name) if f.is_dir()), None)
    if folder is None:
        raise NoData("error", f"data '{name}' is no folder on this machine, and a check downloads nothing.")
    train = folder / "train"
    classes = [f for f in train.iterdir() if f.is_dir()] if train.is_dir() else []
    if not classes:
        raise NoData("error", f"data '{name}' has no folder 'train' with one folder for each class.")
    return Data(name, len(classes), 3, None, (train,))


@contextmanager
def no_font(utils: Any) -> Iterator[None]:
    """While in this context, reading a data YAML does not download the font of Ultralytics' plots."""
    with READING:
        check_font, utils.check_font = utils.check_font, lambda *_, **__: None
        try:
            yield
        finally:
            utils.check_font = check_font


def check_data(data: Data, d: dict[str, Any], task: str) -> Iterator[tuple[str | None, Finding]]:
    """Yield what of a data set does not fit a model YAML, each with the top-level key that it is about."""
    if data.absent:
        severity = "warning" if data.downloads else "error"
        then = (
            "a check downloads nothing; a training would fetch them."
            if data.downloads
            else "a training would fail. Put them there, or correct path, train and val in the file."
        )
        yield None, Finding(severity, None, None, f"data '{data.name}': {data.absent}; {then}")
    if data.nc != d.get("nc"):
        message = f"data '{data.name}' has {data.nc} classes; the trainer takes that instead of nc {d.get('nc')}."
        yield "nc", Finding("note", None, None, message)
    written = d.get("channels", d.get("ch"))
    if written is not None and written != data.channels:
        message = f"data '{data.name}' has images of {data.channels} channels; the trainer takes that, not {written}."
        yield "channels" if "channels" in d else "ch", Finding("note", None, None, message)
    if task == "pose":
        yield from check_keypoints(data, d)
    if task in WITH_LABELS and not data.absent:
        for finding in check_labels(data, task):
            yield None, finding


def check_keypoints(data: Data, d: dict[str, Any]) -> Iterator[tuple[str | None, Finding]]:
    """Yield what of the keypoints does not fit."""
    shape = data.kpt_shape
    if shape is None:
        yield None, Finding("error", None, None, f"No `kpt_shape` in the data '{data.name}', which a pose model needs.")
    elif not valid_keypoints(shape):
        message = f"kpt_shape of data '{data.name}' must be [number of keypoints, 2 or 3], not {shape!r}."
        yield None, Finding("error", None, None, message)
    elif list(shape) != list(d.get("kpt_shape") or ()):
        message = f"data '{data.name}' has kpt_shape {shape}; the trainer takes that, not {d.get('kpt_shape')}."
        yield "kpt_shape", Finding("note", None, None, message)


def check_labels(data: Data, task: str) -> Iterator[Finding]:
    """Yield what the first label files have that is not for the task."""
    from ultralytics.data.utils import img2label_paths

    images = first_images(data.train)
    if not images:
        yield Finding("error", None, None, f"data '{data.name}' has no training images in {data.train[0]}.")
        return
    labels = [Path(label) for label in img2label_paths([str(image) for image in images])]
    found = [label for label in labels if label.is_file()]
    if not found:
        message = (
            f"data '{data.name}': none of the first {len(images)} training images has labels, such as {labels[0]}."
        )
        yield Finding("warning", None, None, message)
    problems: Counter[str] = Counter()
    example: dict[str, Path] = {}
    for label in found:
        lines = label.read_text(encoding="utf-8-sig", errors="replace").splitlines()
        for problem in {p for p in label_problems([line.split() for line in lines if line.strip()], task, data)}:
            problems[problem] += 1
            example.setdefault(problem, label)
    for problem, files in problems.items():
        message = f"{problem} ({files} of the first {len(found)} label files, such as {example[problem]})."
        yield Finding("error" if files == len(found) else "warning", None, None, message)


def label_problems(rows: list[list[str]], task: str, data: Data) -> Iterator[str]:
    """Yield why the trainer does not take the rows of a label file."""
    columns = {len(row) for row in rows}
    if task == "pose" and valid_keypoints(data.kpt_shape):
        expected = 5 + data.kpt_shape[0] * data.kpt_shape[1]
        if columns - {expected}:
            yield f"labels are not for pose: each needs {expected} numbers (class, box, {data.kpt_shape} keypoints)"
    elif task == "detect" and any(n != 5 and (n < 7 or n % 2 == 0) for n in columns):
        yield "labels are not for detect: each needs 5 numbers (class, x, y, width, height), or an outline"
    elif task == "segment" and any(n < 7 or n % 2 == 0 for n in columns):
        yield "labels are not for segment: each needs a class and an outline of 3 points or more"
    elif task == "obb" and any(n < 7 or n % 2 == 0 for n in columns):
        yield "labels are not for obb: each needs 9 numbers, a class and four corners"
    classes = [row[0] for row in rows]
    if not all(c.replace(".", "", 1).isdecimal() for c in classes):
        yield "labels do not begin with the number of a class"
    elif classes and max(float(c) for c in classes) >= data.nc:
        yield f"labels have a class beyond the {data.nc} of the data (0 to {data.nc - 1})"


def first_images(train: tuple[Path, ...]) -> list[Path]:
    """Return the first images of folders or lists of images."""
    from ultralytics.data.utils import IMG_FORMATS

    found: list[Path] = []
    for part in train:
        if part.is_file() and part.suffix == ".txt":
            lines = part.read_text(encoding="utf-8-sig", errors="replace").split("\n", LABEL_FILES)[:LABEL_FILES]
            found += [part.parent / line.strip() for line in lines if line.strip()]
        elif part.is_dir():
            files = (f for f, _ in zip(part.rglob("*.*"), range(MOST_IMAGES)))
            found += sorted(f for f in files if f.suffix[1:].lower() in IMG_FORMATS)[:LABEL_FILES]
    return found[:LABEL_FILES]
