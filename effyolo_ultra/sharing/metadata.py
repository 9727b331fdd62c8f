"""variant.json: what is known of a variant besides its network and weights."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

from effyolo_ultra.checking.passes import OF_TASK
from effyolo_ultra.errors import SharingError
from effyolo_ultra.sharing.contents import LIMITS, METADATA

FORMAT, VERSION = "effyolo_ultra variant", 1
MAX_CLASSES = 65536  # ImageNet-21k has 21841
SHA256 = re.compile(r"[0-9a-f]{64}")
BARE_NAME = re.compile(r"\w[\w .+-]*")  # of a file, without a folder

# The arguments of a training that mean something on another machine: no paths, devices or names of runs.
TRAIN_ARGS = frozenset(
    """
    task data epochs time patience batch imgsz optimizer seed deterministic single_cls rect cos_lr close_mosaic amp
    fraction freeze multi_scale overlap_mask mask_ratio dropout lr0 lrf momentum weight_decay warmup_epochs
    warmup_momentum warmup_bias_lr box cls cls_pw dfl pose kobj rle angle dlog dgrad dlam nbs hsv_h hsv_s hsv_v degrees
    translate scale shear perspective flipud fliplr bgr mosaic mixup cutmix copy_paste copy_paste_mode auto_augment
    erasing max_det iou classes pretrained
    """.split()
)
NAMES_OF_FILES = ("data", "pretrained")  # shared without the folder


@dataclass(frozen=True)
class Metadata:
    """What is known of a variant.

    Attributes:
        task: 'detect', 'segment', ...
        names: Names of the classes.
        stride: Strides of the network.
        train_args: Arguments of the training that mean something elsewhere.
        metrics: Metrics of the training's validation.
        date: When it was trained, '' if that is not known.
        license: Under which licence it is.
        versions: The packages that trained and packed it.
        weights_from: The weights that layers started from, by number of the layer.
        modules: The classes of users' modules that rows name, by that name; their code is not in the variant.
        files: SHA-256 of each file, but for this one and the model card, which may be edited on the Hub.
        kpt_names: Names of the keypoints of each class.
        kpt_oks_sigmas: Tolerances of the keypoints.
    """

    task: str
    names: dict[int, str]
    stride: list[float]
    train_args: dict[str, Any]
    metrics: dict[str, float]
    date: str
    license: str
    versions: dict[str, str]
    weights_from: dict[str, str]
    modules: dict[str, str]
    files: dict[str, str]
    kpt_names: dict[int, list[str]] | None = None
    kpt_oks_sigmas: list[float] | None = None
    format: str = field(default=FORMAT)
    format_version: int = field(default=VERSION)

    def to_json(self) -> bytes:
        """Return it as JSON."""
        return json.dumps(dataclasses.asdict(self), indent=1, sort_keys=True, allow_nan=False).encode() + b"\n"


def from_json(content: bytes) -> Metadata:
    """Read the JSON of a stranger.

    Raises:
        SharingError: If it is not what `to_json` writes.
    """
    try:
        values = json.loads(content.decode("utf-8"), parse_constant=no_number)
    except (ValueError, RecursionError) as error:
        raise SharingError(f"{METADATA} is no JSON: {error}") from error
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise SharingError(f"{METADATA} does not describe a shared variant: 'format' must be {FORMAT!r}")
    if values.get("format_version") != VERSION:
        raise SharingError(
            f"{METADATA} has format_version {values.get('format_version')!r}, and this effyolo_ultra reads {VERSION}:"
            " install the newest one"
        )
    known = {f.name for f in dataclasses.fields(Metadata)}
    for key in sorted(values.keys() ^ known):
        raise SharingError(f"{METADATA} {'has an unknown key' if key in values else 'lacks the key'} {key!r}")
    for key, (is_valid, expected) in CHECKS.items():
        if not is_valid(values[key]):
            raise SharingError(f"{METADATA}: {key!r} must be {expected}, not {shortened(values[key])}")
    check_train_args(values["train_args"])
    for key in ("names", "kpt_names"):
        if values[key] is not None:
            values[key] = {int(number): name for number, name in values[key].items()}
    return Metadata(**values)


def no_number(text: str) -> None:
    """Refuse NaN and Infinity."""
    raise ValueError(f"{text} is no number of JSON")


def shortened(value: Any) -> str:
    """Return a value as it can stand in a message."""
    text = repr(value)
    return text if len(text) < 80 else f"{text[:77]}..."


def check_train_args(args: Mapping[str, Any]) -> None:
    """Refuse arguments of a training that Ultralytics would not take, or that name a file."""
    from ultralytics.cfg import check_cfg

    for key, value in args.items():
        if key not in TRAIN_ARGS or not is_argument(value):
            raise SharingError(f"{METADATA}: {key}={shortened(value)} in 'train_args' is no argument to share")
    for key in NAMES_OF_FILES:
        value = args.get(key)
        is_answer = value is None or (key == "pretrained" and isinstance(value, bool))
        if not is_answer and not (isinstance(value, str) and BARE_NAME.fullmatch(value)):
            raise SharingError(f"{METADATA}: {key}={shortened(value)} in 'train_args' must be the name of a file")
    try:
        check_cfg(dict(args))
    except (TypeError, ValueError) as error:
        raise SharingError(f"{METADATA}, 'train_args': {error}") from error


def is_text(value: Any, most: int = 200) -> bool:
    """Whether a value is a line of text that a terminal can show."""
    return isinstance(value, str) and len(value) <= most and value.isprintable()


def is_number(value: Any) -> bool:
    """Whether a value is a finite number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300


def is_argument(value: Any) -> bool:
    """Whether a value can be one of a training's arguments: no mapping, no path."""
    if isinstance(value, list):
        return len(value) <= 1000 and all(is_number(item) or is_layer_name(item) for item in value)
    return value is None or isinstance(value, bool) or is_number(value) or (is_text(value) and not is_path(value))


def is_layer_name(value: Any) -> bool:
    """Whether a value is the name of a part of a network, as 'freeze' takes it."""
    return isinstance(value, str) and re.fullmatch(r"[\w.]{1,200}", value) is not None


def is_path(text: str) -> bool:
    """Whether a text looks like a path or an address."""
    return "/" in text or "\\" in text or text.startswith(("~", ".."))


def mapping_of(is_key: Callable[[str], Any], is_value: Callable[[Any], Any]) -> Callable[[Any], bool]:
    """Return a check for mappings."""
    return lambda value: isinstance(value, dict) and all(is_key(k) and is_value(v) for k, v in value.items())


def list_of(is_item: Callable[[Any], Any], most: int) -> Callable[[Any], bool]:
    """Return a check for lists."""
    return lambda value: isinstance(value, list) and len(value) <= most and all(map(is_item, value))


def counts(is_value: Callable[[Any], Any]) -> Callable[[Any], bool]:
    """Return a check for mappings whose keys are the numbers from 0, as text."""

    def is_valid(value: Any) -> bool:
        if not isinstance(value, dict) or not 0 < len(value) <= MAX_CLASSES:
            return False
        return value.keys() == {str(i) for i in range(len(value))} and all(map(is_value, value.values()))

    return is_valid


def optional(is_valid: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """Return a check that takes None too."""
    return lambda value: value is None or is_valid(value)


TEXTS = (mapping_of(is_text, is_text), "a mapping of names to texts")
CHECKS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "task": (lambda value: isinstance(value, str) and value in OF_TASK, f"one of {', '.join(OF_TASK)}"),
    "names": (counts(is_text), "the names of the classes by number, {0: name, 1: name, ...}"),
    "stride": (list_of(lambda v: is_number(v) and 0 < v <= 4096, 16), "a list of strides"),
    "train_args": (mapping_of(is_text, lambda value: True), "a mapping"),
    "metrics": (mapping_of(is_text, is_number), "a mapping of names to numbers"),
    "date": (is_text, "a text"),
    "license": (is_text, "a text"),
    "versions": TEXTS,
    "weights_from": TEXTS,
    "modules": TEXTS,
    "files": (
        mapping_of(LIMITS.__contains__, lambda value: isinstance(value, str) and SHA256.fullmatch(value)),
        "a mapping of file names to SHA-256 in hexadecimal",
    ),
    "kpt_names": (optional(counts(list_of(is_text, 10_000))), "the names of the keypoints of each class, or null"),
    "kpt_oks_sigmas": (optional(list_of(is_number, 10_000)), "a list of numbers, or null"),
}


def shareable_args(args: Mapping[str, Any], task: str) -> dict[str, Any]:
    """Return the arguments of a training that mean something on another machine, files by their bare names."""
    shared = {}
    for key in sorted(TRAIN_ARGS & args.keys()):
        value = args[key]
        value = list(value) if isinstance(value, tuple) else value
        if key in NAMES_OF_FILES and isinstance(value, str):
            value = re.split(r"[/\\]", value.rstrip("/\\"))[-1]
        try:
            check_train_args({key: value})
        except SharingError:
            continue
        shared[key] = value
    return {**shared, "task": task}


def shareable_metrics(metrics: Any) -> dict[str, float]:
    """Return the metrics that are finite numbers."""
    given = metrics.items() if isinstance(metrics, Mapping) else ()
    numbers = {str(name): float(value) for name, value in given if isinstance(value, Real)}  # numpy's are Real too
    return {name: value for name, value in numbers.items() if math.isfinite(value)}
