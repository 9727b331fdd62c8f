"""A model YAML as a checked document: rows, scaling, and names that stand for values."""

from __future__ import annotations

import copy
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any, NoReturn

from torch import nn

from effyolo_ultra._values import as_written, listed, literal, nested
from effyolo_ultra.errors import ModelYAMLError, nearest
from effyolo_ultra.nn.channels import set_channels
from effyolo_ultra.row import Row, Scaling

SCALES = frozenset("nsmlx")
HEADS = ("detect", "segment", "pose", "obb", "classify", "depth", "decoder")  # in the names of Ultralytics' heads


def image_channels(document: Mapping[str, Any]) -> int:
    """Return the channels of the images that the network of a model YAML takes."""
    return document.get("channels", document.get("ch", 3))


class ModelDocument:
    """The rows of a model YAML.

    Args:
        d: The model YAML, as a dictionary.
    """

    def __init__(self, d: dict[str, Any]):
        self.d = d
        self.file = str(d.get("yaml_file") or "model dictionary")
        parts = (d.get("backbone"), d.get("head"))
        self.written = [row for part in parts if isinstance(part, (list, tuple)) for row in part]

    def check_parts(self) -> None:
        """Raise a ModelYAMLError unless there are a backbone and a head, each a list of rows with four parts."""
        if self.d.keys() <= {"scale", "yaml_file"}:
            self.refuse("is empty; a model YAML has a 'backbone' and a 'head', each a list of rows.", colon=False)
        for part in ("backbone", "head"):
            self.check_part(part)
        if not self.d["backbone"]:
            self.refuse("the 'backbone' has no rows.", "backbone")
        for index in range(len(self.written)):
            self.check_form(index)

    def check_part(self, part: str) -> None:
        """Raise a ModelYAMLError unless 'backbone' or 'head' is a list."""
        if not isinstance(self.d.get(part), list):
            given = f"not {self.d[part]!r}" if self.d.get(part) else "but it is missing"
            self.refuse(f"a model YAML has a '{part}', a list of rows [from, repeats, module, args], {given}.", part)

    def check_head(self) -> None:
        """Raise a ModelYAMLError unless the last row can be the head of a network."""
        if not any(word in self.names[-1].lower() for word in HEADS):
            self.error(
                len(self.written) - 1, "the last row must be a head, such as Detect, Segment, Pose, OBB, Classify."
            )

    def names_any_of(self, names: Container[str]) -> bool:
        """Whether a row names one of the modules."""
        return any(name in names for name in self.names)

    def check_names(self, known: Callable[[str], bool], names: Iterable[str], hint: str = "") -> None:
        """Raise a ModelYAMLError for the first row whose module is not known; `names` are those to suggest."""
        for index in range(len(self.written)):
            self.check_name(index, known, names, hint)

    def check_name(self, index: int, known: Callable[[str], bool], names: Iterable[str], hint: str = "") -> None:
        """Raise a ModelYAMLError if the module of a row is not known."""
        name = module_name(self.written[index])
        if name and not known(name):
            self.error(index, f"there is no module '{name}'.{nearest(name, names)}{hint}")

    @property
    def names(self) -> list[str]:
        """The name of the module in each row, '' where it has none."""
        return [module_name(row) for row in self.written]

    def error(self, index: int, message: str, cause: Exception | None = None) -> NoReturn:
        """Raise a ModelYAMLError that names the file and a row."""
        raise ModelYAMLError.in_row(self.file, index, as_written(self.written[index]), message) from cause

    def refuse(self, message: str, key: str | None = None, colon: bool = True) -> NoReturn:
        """Raise a ModelYAMLError that names the file, about one of its top-level keys or the whole."""
        raise ModelYAMLError.in_file(self.file, message, key, colon)

    @property
    def has_anchors(self) -> bool:
        """Whether there are anchors at the top, as in files for the YOLOv5 repository: a list, or a number a level."""
        return isinstance(self.d.get("anchors"), (list, int))

    @cached_property
    def scale(self) -> str:
        """The scale in use: the letter in the file's name, or the first one of `scales`, as Ultralytics has it."""
        scales = self.d.get("scales") or {}
        if not isinstance(scales, dict):
            self.refuse(
                f"'scales' must be a mapping {{letter: [depth, width, max_channels]}}, not {scales!r}.", "scales"
            )
        scale = self.d.get("scale") or next(iter(scales), "")
        if scales and scale not in scales:
            self.refuse(f"has no scale '{scale}'; its scales are {', '.join(map(str, scales))}.", "scales", colon=False)
        return scale

    @cached_property
    def scaling(self) -> Scaling:
        """Depth, width and max_channels of the scale in use."""
        if self.d.get("scales"):
            where, key, factors = f"scale '{self.scale}'", "scales", self.d["scales"][self.scale]
        else:
            where, key = "[depth_multiple, width_multiple]", "width_multiple"
            factors = [self.d.get("depth_multiple", 1.0), self.d.get("width_multiple", 1.0), float("inf")]
        try:
            depth, width, max_channels = (float(factor) for factor in factors)
            if not (0 < depth < 1000 and 0 < width < 1000 and max_channels > 0):
                raise ValueError
        except (TypeError, ValueError):
            error = f"{where} must be [depth, width, max_channels], numbers above 0, not {factors!r}."
            raise ModelYAMLError.in_file(self.file, error, key) from None
        return Scaling(self.scale, depth, width, max_channels)

    def check_form(self, index: int) -> None:
        """Raise a ModelYAMLError unless a row has the four parts of one."""
        row = self.written[index]
        if not isinstance(row, (list, tuple)) or len(row) != 4:
            self.error(index, "a row is a list [from, repeats, module, args].")

    def rows(self) -> Iterator[Row]:
        """Give each row, checked and with its named values looked up."""
        return (self.row(index) for index in range(len(self.written)))

    def row(self, index: int) -> Row:
        """Return one row, checked and with its named values looked up."""
        scaling = self.scaling
        self.check_row(index)
        source, repeats, module, args = row = self.written[index]
        values = [self._value(index, value) for value in args]
        options = values.pop() if values and isinstance(values[-1], dict) else {}
        return Row(
            index=index,
            module=module,
            sources=self.sources(index, source),
            is_list=isinstance(source, (list, tuple)),
            repeats=repeats,
            args=values,
            options=options,
            text=as_written(row),
            file=self.file,
            scaling=scaling,
            pretrained=self._value(index, self.d.get("pretrained")),
        )

    def check_row(self, index: int) -> None:
        """Raise a ModelYAMLError unless a row has its four parts, and repeats, module and args are of their kinds."""
        self.check_form(index)
        _, repeats, module, args = self.written[index]
        self.check_module(index, module)
        self.check_repeats(index, repeats)
        self.check_args(index, args)

    def check_module(self, index: int, module: Any) -> None:
        """Raise a ModelYAMLError unless the module of a row is a name."""
        if not isinstance(module, str):
            self.error(index, f"the module must be a name, not {module!r}.")

    def check_repeats(self, index: int, repeats: Any) -> None:
        """Raise a ModelYAMLError unless the repeats of a row are a whole number above 0."""
        if isinstance(repeats, bool) or not isinstance(repeats, int) or repeats < 1:
            self.error(index, f"repeats must be a whole number, at least 1, not {repeats!r}.")

    def check_args(self, index: int, args: Any) -> None:
        """Raise a ModelYAMLError unless the args of a row are a list."""
        if not isinstance(args, (list, tuple)):
            self.error(index, f"args must be a list, not {args!r}.")

    def sources(self, index: int, source: Any) -> list[int]:
        """Return the absolute index of each layer in a `from`; -1 is the image."""
        sources = listed(source)
        if not sources or any(isinstance(s, bool) or not isinstance(s, int) for s in sources):
            self.error(index, f"'from' must be the number of a layer or a list of them, not {source!r}.")
        absolute = [s if s >= 0 else index + s for s in sources]
        for s, a in zip(sources, absolute):
            if a >= len(self.written):
                self.error(index, f"'from' names layer {s}, but the file has layers 0 to {len(self.written) - 1} only.")
            if a >= index:
                self.error(
                    index, f"'from' must name an earlier layer, but layer {s} comes {'later' if a > index else 'here'}."
                )
            if a < 0 and (index, s) != (0, -1):
                self.error(index, f"'from' {s} reaches before the first layer; the image is -1 of row 0.")
        return absolute

    def _value(self, index: int, value: Any) -> Any:
        """Look up the named values in an arg, and evaluate literals in strings, as Ultralytics does."""
        return nested(lambda v: literal(self._entry(index, v)), value)

    def named(self, index: int, value: Any) -> Any:
        """Look up the named values in an arg."""
        return nested(lambda v: self._entry(index, v), value)

    def _entry(self, index: int, value: Any) -> Any:
        """Return the entry of the scale in use where `value` names a top-level mapping from scales, else `value`."""
        by_scale = self.d.get(value) if isinstance(value, str) and value != "scales" else None
        if not isinstance(by_scale, dict) or not by_scale or not SCALES.issuperset(by_scale):
            return value
        if self.scale not in by_scale:
            self.error(index, f"'{value}' has no entry for the scale {self.scale!r}, only {', '.join(by_scale)}.")
        return copy.deepcopy(by_scale[self.scale])

    def prune(self, layers: nn.Sequential) -> None:
        """Give the layers the channels that the file's `pruned` names, as effyolo_ultra.prune writes it."""
        pruned = self.d["pruned"]
        if not isinstance(pruned, dict):
            self.refuse(f"'pruned' must be a mapping {{layer: channels}}, not {pruned!r}.", "pruned")
        try:
            set_channels(layers, {str(name): channels for name, channels in pruned.items()})
        except ValueError as error:
            problem = f"'pruned' does not fit the rows of the file: {error}."
            raise ModelYAMLError.in_file(self.file, problem, "pruned") from error

    def saved(self, rows: Iterable[Row]) -> list[int]:
        """Return the sorted indices of the layers whose outputs are needed by a layer other than the next one."""
        return sorted(a for row in rows for s, a in zip(listed(self.written[row.index][0]), row.sources) if s != -1)


def module_name(row: Any) -> str:
    """Return the name of the module in a row, '' where it has none."""
    return row[2] if isinstance(row, (list, tuple)) and len(row) > 2 and isinstance(row[2], str) else ""
