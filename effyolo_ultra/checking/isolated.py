"""Building each row by itself, so that an error in one does not hide those in others.

A row is built from what its inputs give, declared to the stock parser as in _probe.py. What a row with an error gives
is not known, so it is guessed, in several worlds: an error of a row that depends on the guess counts only if it is the
same in every world, for then it does not come from the guess.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import nn

from effyolo_ultra._dry_run import SIZE, cannot_run, dry_run
from effyolo_ultra._probe import StockParser, counted_channels, declaration, on_meta
from effyolo_ultra._refusals import is_layer
from effyolo_ultra._trial import stride
from effyolo_ultra.checking.faults import faults_of, in_all, names_of_options
from effyolo_ultra.checking.rows import RowChecks
from effyolo_ultra.document import ModelDocument
from effyolo_ultra.errors import ModelYAMLError
from effyolo_ultra.nn.backbone import TimmBackbone
from effyolo_ultra.nn.bifpn import BiFPN
from effyolo_ultra.parser import build
from effyolo_ultra.registry import MODULES
from effyolo_ultra.row import Feature, Output, Pyramid, Row, no_feature_map, pyramid_needs_level

WORLDS = 3


class Value(NamedTuple):
    """What a row gives.

    Attributes:
        channels: As the stock parser counts them.
        output: As our modules take it, None where it is no feature map.
        ran: The tensors of a run, None where they are not known.
    """

    channels: Any
    output: Output | None
    ran: Any


def value_of(output: Output) -> Value:
    """Return the value of a known output."""
    return Value(counted_channels(output), output, on_meta(output))


TENSORS = tuple(value_of(Feature(*guess)) for guess in ((64, 8), (96, 16), (128, 32)))
PYRAMIDS = tuple(
    value_of(Pyramid(guess)) for guess in ({3: 40, 4: 80, 5: 160}, {2: 24, 3: 48}, {4: 96, 5: 192, 6: 192})
)
EITHER = (*TENSORS[:2], PYRAMIDS[0])  # where not even this is known


class Isolated:
    """The rows of a model YAML, each built by itself.

    Args:
        document: The model YAML, with a scale.
        tasks: The module `ultralytics.nn.tasks`.
        modules: Our modules by name.
        light: The light heads, each with its stock head.
        checks: The checks of single rows.
        channels: Channels of the image.
    """

    def __init__(
        self,
        document: ModelDocument,
        tasks: ModuleType,
        modules: Mapping[str, type],
        light: Mapping[str, str],
        checks: RowChecks,
        channels: int,
    ):
        self.document, self.modules, self.light, self.checks = document, modules, light, checks
        self.parser = StockParser(tasks.parse_model.__wrapped__, tasks, document, [], (), light, channels)
        self.image = value_of(Feature(channels, 1))

    def errors(self, faulty: Mapping[int, Sequence[ModelYAMLError]]) -> list[ModelYAMLError]:
        """Return the errors of building the rows, but for those that are `faulty` by themselves."""
        found = []
        values: dict[int, Sequence[Value]] = {-1: [self.image]}  # one, or one guess for each world
        for index in range(len(self.document.written)):
            if faulty.get(index):
                values[index] = self._guesses(index, self._repaired(index), values)
                continue
            row = self.document.row(index)
            inputs = [values[source] for source in row.sources]
            worlds = range(max(len(given) for given in inputs))
            given_in = [[given[w % len(given)] for given in inputs] for w in worlds]
            tried = [self._try(row, given) for given in given_in]
            errors = [result for result in tried if isinstance(result, ModelYAMLError)]
            if errors:
                faults = [faults_of(row, lambda row, given=given: self._try(row, given)) for given in given_in]
                found += in_all(faults) or faults_of(row, names_of_options)
            if errors or None in tried:
                guesses = self._guesses(index, row, values)
                tried = [
                    result if isinstance(result, Value) else guess
                    for result, guess in zip(tried if len(tried) == WORLDS else [None] * WORLDS, guesses)
                ]
            values[index] = tried
        return found

    def _repaired(self, index: int) -> Row | None:
        """Return a row that is faulty by itself as it is likely meant, None if that is not clear."""
        document = ModelDocument({**self.document.d, "backbone": list(self.document.written), "head": []})
        row = document.written[index]
        if not isinstance(row, (list, tuple)) or len(row) != 4:
            return None
        source, repeats, module, args = row
        near = difflib.get_close_matches(str(module), self.checks.names, n=1)
        repeats = repeats if isinstance(repeats, int) and repeats > 0 else 1
        document.written[index] = [source, repeats, near[0] if near else module, args]
        checks = RowChecks(document, self.parser.tasks, self.modules, self.light)
        return None if checks.of(index) else document.row(index)

    def _guesses(self, index: int, row: Row | None, values: Mapping[int, Sequence[Value]]) -> Sequence[Value]:
        """Return what a row with an error could give: as if its options were right, else what its module can."""
        if row is not None:
            inputs = [values[source][0] for source in row.sources]
            for candidate in (row, dataclasses.replace(row, options={})):
                result = self._try(candidate, inputs)
                if isinstance(result, Value) and result.output is not None:
                    return [result, *(variant(result.output, by) for by in (2, 3))]
        written = self.document.written[index]
        name = (
            row.module if row is not None else written[2] if isinstance(written, list) and len(written) == 4 else None
        )
        if not isinstance(name, str):
            return EITHER
        if name in MODULES:
            return PYRAMIDS if issubclass(MODULES[name], (TimmBackbone, BiFPN)) else TENSORS
        return TENSORS if is_layer(self.parser.tasks, name) else EITHER

    def _try(self, row: Row, inputs: Sequence[Value]) -> Value | ModelYAMLError | None:
        """Return what a row gives, its error, or None if that cannot be found out."""
        try:
            return self._registered(row, inputs) if row.module in self.modules else self._stock(row, inputs)
        except ModelYAMLError as error:
            return error

    def _registered(self, row: Row, inputs: Sequence[Value]) -> Value:
        for source, value in zip(row.sources, inputs):
            if value.output is None:
                row.error(no_feature_map(source))
        row = dataclasses.replace(row, inputs=[value.output for value in inputs], activation=self.parser.activation)
        return value_of(build(self.modules[row.module], row).output)

    def _stock(self, row: Row, inputs: Sequence[Value]) -> Value | None:
        for source, value in zip(row.sources, inputs):
            if isinstance(value.output, Pyramid):
                row.error(pyramid_needs_level(source, value.output))
        if any(value.channels is None for value in inputs):
            return None
        before = [] if row.index == 0 else [declaration(value.channels) for value in inputs]
        source = [-1] * len(inputs) if row.index == 0 else list(range(len(inputs)))
        module = self.light.get(row.module, row.module)
        args = [arg for arg in row.all_args if not (self.document.has_anchors and arg == "anchors")]
        rows = [*before, [source if row.is_list else source[0], row.repeats, module, args]]
        try:
            *_, layer, probe = self.parser.build_rows([*rows, [len(before), 1, "nn.BatchNorm2d", []]], "meta")
            channels = probe.num_features
        except Exception:  # of the row, or because no probe can be built on what it gives
            channels = None
            try:
                *_, layer = self.parser.build_rows(rows, "meta")
            except Exception as error:  # of the stock parser, which does not say where
                if of_meta(error):
                    return None
                row.error(f"Ultralytics cannot build this row: {type(error).__name__}: {error}", cause=error)
        return self._run(row, rows, layer, channels, inputs)

    def _run(self, row: Row, rows: list[Any], layer: nn.Module, channels: Any, inputs: Sequence[Value]) -> Value:
        """Run a stock layer on its inputs; not a head, which nothing comes after."""
        known = isinstance(channels, int)
        ran = [value.ran for value in inputs]
        given = None
        if row.index != len(self.document.written) - 1 and all(x is not None for x in ran):
            try:
                given = dry_run(layer, lambda: self.parser.build_rows(rows, "cpu")[-1], ran, row.is_list)
            except Exception as error:
                row.error(cannot_run(error), cause=error)
        if given is None:
            return Value(channels, Feature(channels) if known else None, None)
        if not (known and isinstance(given, torch.Tensor) and given.ndim == 4):
            return Value(channels, None, given)
        return Value(channels, Feature(channels, stride(given, SIZE)), given)


def variant(output: Output, by: int) -> Value:
    """Return another output of the same kind, with other channels and at another stride."""
    if isinstance(output, Pyramid):
        return value_of(Pyramid((level, c + 8 * by) for level, c in zip(range(by, by + 6), [*output.values()] * 6)))
    return value_of(Feature(output.channels * by, (output.stride or 8) * 2 ** (by - 1)))


def of_meta(error: Exception) -> bool:
    """Whether an error is only about the device without memory."""
    return isinstance(error, NotImplementedError) or "meta" in str(error).lower()
