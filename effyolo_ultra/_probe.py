"""Asking the stock parser about stock rows, in two rows of its own language.

`[-1, 1, Index, [channels, 0]]` declares how many channels a layer gives; `[layer, 1, nn.BatchNorm2d, []]` asks it: the
answer is `num_features`. Both are part of the format that shared YAML files depend on, so they outlast the inner form
of the parser. Networks are built on the meta device, without memory, and run there to learn the strides.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Container, Mapping, Sequence
from functools import cached_property
from types import ModuleType
from typing import Any

import torch
from torch import nn

from effyolo_ultra._activation import default_activation_restored, parse_activation
from effyolo_ultra._dry_run import SIZE, cannot_run, dry_run, numbers_in
from effyolo_ultra._limits import MAX_ELEMENTS, MAX_PARAMETERS
from effyolo_ultra._trial import stride
from effyolo_ultra.document import ModelDocument
from effyolo_ultra.nn.light_head import WITH_TEXT
from effyolo_ultra.row import Feature, Output, Pyramid, Row, no_feature_map


class StockParser:
    """The stock parser, with the rows that it cannot know declared to it.

    Args:
        stock: Ultralytics' own `parse_model`.
        tasks: The module `ultralytics.nn.tasks`.
        document: The model YAML.
        rows: Its rows.
        undeclared: Names of the modules that the stock parser cannot know.
        stands_for: Names that it does not know either, with the stock module that it is to build for each.
        ch: Channels of the image.
    """

    def __init__(
        self,
        stock: Callable[..., Any],
        tasks: ModuleType,
        document: ModelDocument,
        rows: list[Row],
        undeclared: Container[str],
        stands_for: Mapping[str, str],
        ch: int,
    ):
        self.stock, self.tasks, self.document, self.ch = stock, tasks, document, ch
        self.undeclared = {row.index for row in rows if row.module in undeclared}
        self.rows = [lower(row, document, stands_for) for row in rows]
        self._channels: dict[int, int] = {}  # of each row, as far as the stock parser has been asked
        self.sources = {row.index: (row.sources, row.is_list) for row in rows}
        self.given: dict[int, Output] = {-1: Feature(ch, 1)}
        self._ran: dict[int, Any] = {-1: on_meta(self.given[-1])}  # what each row has given, None if not known
        self._parameters = self._numbers = 0  # of all rows that were built, and that they have given
        self._takes_text = bool(rows) and rows[-1].module.startswith(WITH_TEXT)  # and its rows, more than 'from' says

    def declare(self, index: int, module: nn.Module, output: Output) -> None:
        """Tell the stock parser what a row gives that it cannot know."""
        self._channels[index] = counted_channels(output)
        self.rows[index] = declaration(self._channels[index])
        self.given[index] = output
        ran = on_meta(output)
        inputs = [self.given[source] for source in self.sources[index][0]]
        if any(isinstance(given, Feature) and given.stride is None for given in inputs):
            ran = self._given(index, copy.deepcopy(module).to("meta"), lambda: copy.deepcopy(module))
        self._note(index, module, ran)
        self.undeclared.discard(index)

    def output(self, index: int, asked_by: Row) -> Output:
        """Return what a row gives: as declared, or as the stock parser says."""
        if index not in self.given:
            if index not in self._channels:
                self._ask(index, asked_by)
            self.given[index] = Feature(self._channels[index], self._stride(index, asked_by))
        return self.given[index]

    def _ask(self, index: int, asked_by: Row) -> None:
        """Ask for the channels of all rows up to this one; those known already are declared, and so built only once."""
        rows = self._declared(index + 1)
        unknown = [i for i in range(index + 1) if i not in self._channels]
        try:
            layers = self.build_rows([*rows, *([i, 1, "nn.BatchNorm2d", []] for i in unknown)], "meta")
        except Exception:
            self.build_rows(rows, "meta")  # fails too, unless it is a probe that cannot be built
            asked_by.error(no_feature_map(index))
        self._run(layers[: index + 1])
        self._channels.update((i, probe.num_features) for i, probe in zip(unknown, layers[index + 1 :]))

    def try_rest(self) -> None:
        """Run the stock rows that were not asked for either, so that no row fails once memory is taken for it.

        Raises:
            ModelYAMLError: If a row cannot run, or the network is too large.
        """
        self._run(self.build_rows(self._declared(len(self.rows)), "meta"))

    def _declared(self, count: int) -> list[Any]:
        """Return the first rows, declared as far as they are known, so that none is built twice."""
        known = self._channels
        return [declaration(known[i]) if i in known else row for i, row in enumerate(self.rows[:count])]

    def _run(self, layers: Sequence[nn.Module]) -> None:
        """Run the stock layers that have not run yet."""
        for index, layer in enumerate(layers):
            if index not in self._ran:
                rows = self._declared(index + 1)
                self._note(index, layer, self._given(index, layer, lambda rows=rows: self.build_rows(rows, "cpu")[-1]))

    def _given(self, index: int, layer: nn.Module, with_data: Callable[[], nn.Module]) -> Any:
        """Return what a layer gives, None if that is not known."""
        sources, is_list = self.sources[index]
        inputs = [self._ran[source] for source in sources]
        if any(x is None for x in inputs):
            return None
        try:
            return dry_run(layer, with_data, inputs, is_list, is_head=index == len(self.rows) - 1)
        except Exception as error:
            if self._takes_text:
                return None
            self.document.error(index, cannot_run(error), cause=error)

    def _note(self, index: int, layer: nn.Module, ran: Any) -> None:
        """Note what a row has given, and refuse a network that has become too large with it."""
        self._ran[index] = ran
        self._parameters += sum(p.numel() for p in layer.parameters())
        self._numbers += numbers_in(ran)
        for count, most, what in (
            (self._parameters, MAX_PARAMETERS, "parameters"),
            (self._numbers, MAX_ELEMENTS, f"numbers in the feature maps of an image of {SIZE} x {SIZE}"),
        ):
            if count > most:
                self.document.error(
                    index, f"up to this row there are {count:.1e} {what}; more than {most:.0e} are not built."
                )

    def _stride(self, index: int, asked_by: Row) -> int | None:
        ran = self._ran[index]
        if ran is not None and not (isinstance(ran, torch.Tensor) and ran.ndim == 4):
            asked_by.error(no_feature_map(index))
        return None if ran is None else stride(ran, SIZE)

    @cached_property
    def activation(self) -> nn.Module | None:
        """The activation that the file sets for its convolutions, None where it sets none."""
        act = self.document.d.get("activation")
        return parse_activation(act) if act else None

    def build(self, verbose: bool) -> nn.Sequential:
        """Build the lowered rows."""
        return self.build_rows(self.rows, None, verbose)

    def build_rows(self, rows: list[Any], device: str | None, verbose: bool = False) -> nn.Sequential:
        """Build rows that the stock parser knows, on a device."""
        d = {**self.document.d, "backbone": copy.deepcopy(rows), "head": []}
        if device:
            d["scale"] = self.document.scale  # so that only the last build warns where none is given
        with default_activation_restored(), torch.device(device) if device else contextlib.nullcontext():
            return self.stock(d, self.ch, verbose)[0]

    def failing_row(self) -> int | None:
        """Return the first row that the stock parser cannot build, None if it can build all that it knows."""
        for index in range(min(self.undeclared, default=len(self.rows))):
            try:
                self.build_rows(self.rows[: index + 1], "meta")
            except Exception:
                return index
        return None


def declaration(channels: int) -> list[Any]:
    """Return a stock row that says how many channels it gives."""
    return [-1, 1, "Index", [channels, 0]]


def lower(row: Row, document: ModelDocument, stands_for: Mapping[str, str]) -> list[Any]:
    """Return a row as the stock parser takes it: named values looked up, no anchors, which are not used."""
    source, repeats, module, args = copy.deepcopy(document.written[row.index])
    args = [arg for arg in args if not (document.has_anchors and arg == "anchors")]
    return [source, repeats, stands_for.get(module, module), document.named(row.index, args)]


def counted_channels(output: Output) -> int:
    """Return the channels of an output as the stock parser counts them, those of all levels of a pyramid together."""
    return sum(output.values()) if isinstance(output, Pyramid) else output.channels


def on_meta(output: Output) -> Any:
    """Return tensors of the shapes of an output, without memory; None where they are not known."""
    if isinstance(output, Pyramid):
        return [on_meta(Feature(c, 2**k)) for k, c in output.items()]
    if output.stride is None:
        return None
    size = max(SIZE // output.stride, 1)
    return torch.empty(1, output.channels, size, size, device="meta")
