"""One row `[from, repeats, module, args]` of a model YAML, as a registered module sees it when it is built."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, NoReturn, Union

from torch import nn

from effyolo_ultra.errors import ModelYAMLError, nearest


class Feature(NamedTuple):
    """What a row gives: one tensor (N, channels, H / stride, W / stride); stride is None where it is not known."""

    channels: int
    stride: int | None = None


class Pyramid(dict):
    """What a row gives: a list of tensors, finest first, as {level k: channels} with level Pk at stride 2^k."""


Output = Union[Feature, Pyramid]


class Built(NamedTuple):
    """What a registered module makes of a row: itself, what it gives, and the args to show in the model table."""

    module: nn.Module
    output: Output
    args: Sequence[Any]


@dataclass(frozen=True)
class Scaling:
    """Compound scaling of a model YAML, by the rules that Ultralytics has for its own layers."""

    scale: str = ""
    depth: float = 1.0
    width: float = 1.0
    max_channels: float = float("inf")

    def channels(self, channels: int) -> int:
        """Scale a number of channels by width, below max_channels, to a multiple of 8."""
        return math.ceil(min(channels, self.max_channels) * self.width / 8) * 8

    def repeats(self, repeats: int) -> int:
        """Scale a number of repeats by depth."""
        return max(round(repeats * self.depth), 1) if repeats > 1 else repeats


@dataclass(frozen=True)
class Row:
    """One checked row, with what its sources give.

    Attributes:
        index: Number of the row, as in the model table.
        module: Name of its module.
        sources: Absolute index of each source row; -1 is the image.
        is_list: Whether `from` is written as a list.
        repeats: Repeats as written, not scaled.
        args: Positional args; values named by a string are already looked up.
        options: Keyword options, the mapping at the end of args.
        text: The row as written, for messages.
        file: The file it stands in, for messages.
        inputs: What each source gives.
        scaling: Depth, width and max_channels in use.
        activation: The file's own `activation`, None where it has none.
        pretrained: The file's own `pretrained`, for modules whose row has no such option; None where it has none.
    """

    index: int
    module: str
    sources: Sequence[int]
    is_list: bool
    repeats: int
    args: Sequence[Any]
    options: Mapping[str, Any]
    text: str
    file: str
    inputs: Sequence[Output] = ()
    scaling: Scaling = field(default_factory=Scaling)
    activation: nn.Module | None = None
    pretrained: Any = None

    def error(self, message: str, cause: Exception | None = None) -> NoReturn:
        """Raise a ModelYAMLError that names the file and this row."""
        raise ModelYAMLError.in_row(self.file, self.index, self.text, message) from cause

    def arguments(self, function: Any, *names: str) -> dict[str, Any]:
        """Bind positional args to `names` and options to the keyword-only parameters of `function`.

        Returns:
            Keyword arguments for `function`, only those that the row gives, and the file's `pretrained`.
        """
        if len(self.args) > len(names):
            expected = f"[{', '.join((*names, '{options}'))}]"
            self.error(f"{self.module} takes the args {expected}, but there are {len(self.args)} before the options.")
        parameters = inspect.signature(function).parameters.values()
        options = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
        for name, value in self.options.items():
            if name not in options:
                allowed = ", ".join(options) or "none"
                hint = nearest(str(name), options)
                self.error(f"{self.module} has no option '{name}'; its options are: {allowed}.{hint}")
            if value is None and options[name] is not None:
                self.error(f"option '{name}' has no value; leave it out for its default, {options[name]!r}.")
        of_file = {"pretrained": self.pretrained} if "pretrained" in options and self.pretrained is not None else {}
        return {**of_file, **dict(zip(names, self.args)), **self.options}

    @property
    def all_args(self) -> list[Any]:
        """Positional args, then the options where there are any."""
        return [*self.args, *([self.options] if self.options else [])]

    def no_repeats(self) -> None:
        """Refuse repeats other than 1, for modules that cannot be stacked."""
        if self.repeats != 1:
            self.error(f"repeats must be 1 for {self.module}, not {self.repeats}: it cannot be stacked.")

    def one_input(self) -> Output:
        """Return the only input of a row whose `from` is one int."""
        if self.is_list:
            self.error(f"'from' must be one layer for {self.module}, not a list of {len(self.sources)}.")
        return self.inputs[0]

    def one_tensor(self) -> Feature:
        """Return the only input, which is one tensor."""
        self.one_input()
        return self.tensors()[0]

    def tensors(self, at_least: int = 1) -> list[Feature]:
        """Return the inputs, each of which is one tensor."""
        if len(self.inputs) < at_least:
            self.error(f"{self.module} needs a list of at least {at_least} layers in 'from', not {len(self.inputs)}.")
        for source, given in zip(self.sources, self.inputs):
            if isinstance(given, Pyramid):
                self.error(pyramid_needs_level(source, given))
        return list(self.inputs)

    def same_size(self) -> list[Feature]:
        """Return the inputs, two tensors or more, of one stride; it is known for all where it is for one."""
        features = self.tensors(at_least=2)
        strides = {f.stride for f in features if f.stride is not None}
        if len(strides) > 1:
            sizes = ", ".join(f"layer {s} has stride {f.stride}" for s, f in zip(self.sources, features))
            self.error(f"inputs of {self.module} must have the same height and width, but {sizes}: resize before.")
        stride = next(iter(strides), None)
        return [Feature(f.channels, stride) for f in features]


def pyramid_needs_level(source: int, given: Pyramid) -> str:
    """Say that `source` gives a pyramid where one tensor is needed, and what to do."""
    levels = ", ".join(f"P{level}" for level in given)
    return (
        f"layer {source} gives a pyramid ({levels}), not one tensor: put a row "
        f"[{source}, 1, PyramidLevel, [{next(iter(given))}]] between, and take that."
    )


def no_feature_map(source: int) -> str:
    """Say that `source` gives neither one tensor nor a pyramid."""
    return f"layer {source} gives no single feature map (N, C, H, W)."
