"""The check of a model YAML at one scale: its rows one by one, then the network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Union

from torch import nn
from ultralytics.nn import tasks

from effyolo_ultra._heads import valid_keypoints
from effyolo_ultra._limits import MAX_ELEMENTS
from effyolo_ultra.checking.data import Data
from effyolo_ultra.checking.finding import Finding
from effyolo_ultra.checking.isolated import Isolated
from effyolo_ultra.checking.passes import (
    FailedPass,
    build_network,
    coarsest_stride,
    measure,
    trace,
    untrained,
)
from effyolo_ultra.checking.rows import RowChecks, caught, rounded, unused, without_downloads
from effyolo_ultra.document import ModelDocument
from effyolo_ultra.errors import ModelYAMLError, WeightsError
from effyolo_ultra.nn.light_head import WITH_TEXT, light_heads
from effyolo_ultra.nn.pretrained import Pretrained, is_path
from effyolo_ultra.registry import known_modules
from effyolo_ultra.row import Row
from effyolo_ultra.weights.load import find

Found = Union[ModelYAMLError, Finding]


class ScaleCheck:
    """The check at one scale.

    Args:
        d: The model YAML, with the scale.
        data: The data to train on, None for none.
        imgsz: Size of the images.
    """

    def __init__(self, d: dict[str, Any], data: Data | None, imgsz: int):
        if data is not None:
            d = {**d, "nc": data.nc}
            if "kpt_shape" in d and valid_keypoints(data.kpt_shape):
                d["kpt_shape"] = data.kpt_shape
        self.d, self.data, self.imgsz = without_downloads(d), data, imgsz
        self.channels = data.channels if data else 3
        self.document = ModelDocument(self.d)
        self.modules = known_modules(tasks)
        self.light = light_heads(tasks)
        self.checks = RowChecks(self.document, tasks, self.modules, self.light)
        self.folder = str(Path(self.d["yaml_file"]).parent)
        self.faulty: dict[int, list[ModelYAMLError]] = {}
        self.without_weights: set[int] = set()

    def rows(self) -> Iterator[Found]:
        """Yield what is wrong with each row by itself, and with the last one as the head."""
        for index in range(len(self.document.written)):
            self.faulty[index] = self.checks.of(index)
        last = len(self.document.written) - 1
        if not self.faulty[last] and isinstance(self.d.get("head"), list):
            self.faulty[last] += caught(self.document.check_head)
        for errors in self.faulty.values():
            yield from errors
        for row in self.good_rows:
            yield from self._missing_weights(row)
            if message := rounded(row, self.modules):
                yield Finding("note", None, row.index, message)

    @property
    def good_rows(self) -> list[Row]:
        """The rows without an error of their own."""
        return [self.document.row(index) for index, errors in self.faulty.items() if not errors]

    def network(self, whole: bool, traced: bool) -> Iterator[Found]:
        """Yield what is wrong with the network.

        Args:
            whole: Whether nothing else in the file keeps it from being built.
            traced: Whether to trace it too.
        """
        error = None
        if whole and not any(self.faulty.values()):
            size, strides = measure(tasks, self.d, self.channels)
            if size > MAX_ELEMENTS:
                message = f"the rows give {size:.1e} numbers for an image of 256 x 256: too many to run it here."
                yield Finding("warning", None, None, message)
                return
            try:
                network = build_network(tasks, self.d, self.channels, self.data and self.data.nc)
            except Exception as caught_error:  # whatever a training would raise
                error = caught_error
            else:
                if strides != sorted(strides):
                    yield Finding("warning", None, len(self.faulty) - 1, self._order(strides))
                yield from self._passes(network, traced)
                return
        isolated = Isolated(self.document, tasks, self.modules, self.light, self.checks, self.channels)
        errors = isolated.errors(self.faulty)
        yield from errors
        if isinstance(error, ModelYAMLError):
            if error.row is None or error.row not in {e.row for e in errors}:
                yield error
        elif error is not None and not errors:
            yield Finding("error", None, None, f"the network cannot be built: {type(error).__name__}: {error}")

    def _missing_weights(self, row: Row) -> Iterator[ModelYAMLError]:
        """Yield the error of a row that names a file of pretrained weights which is not there."""
        cls, path = self.modules.get(row.module), row.options.get("pretrained", row.pretrained)
        if not (isinstance(cls, type) and issubclass(cls, Pretrained) and is_path(path)):
            return
        try:
            find(path, self.folder)
        except WeightsError as error:
            self.without_weights.add(row.index)
            if "pretrained" in row.options:
                yield from caught(row.error, str(error))
            else:
                yield ModelYAMLError.in_file(row.file, str(error), "pretrained")

    def _order(self, strides: list[int]) -> str:
        """Say what becomes of a head whose layers do not go from fine to coarse."""
        row = self.document.row(len(self.faulty) - 1)
        sources = [source for _, source in sorted(zip(strides, row.sources))]
        return (
            f"its layers have the strides {', '.join(map(str, strides))}, but Ultralytics takes the first one for the"
            " finest: it gives the branches their widths and masks their resolution, and the boxes of RT-DETR get their"
            f" sizes from the order. Write {sources} in 'from'."
        )

    def _passes(self, network: nn.Module, traced: bool) -> Iterator[Finding]:
        """Yield what running the network shows."""
        idle = unused(self.document)
        for row, message in idle.items():
            yield Finding("warning", None, row, message)
        yield from self._size(coarsest_stride(network), int(network.stride.max()))
        yield from self._weights(network)
        try:
            missing = untrained(network, self.channels, self.imgsz)
        except FailedPass as error:
            yield Finding("error", None, error.row, f"a training step fails: {error}")
            return
        for row, names in missing.items():
            if row not in idle:
                some = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
                message = f"{len(names)} parameters get no gradient, because nothing uses them: {some}"
                yield Finding("warning", None, row, message)
        if traced and not type(network.model[-1]).__name__.startswith(WITH_TEXT):  # an export of these needs texts
            try:
                trace(network, self.channels)
            except FailedPass as error:
                yield Finding("warning", None, error.row, f"it cannot be exported, because tracing it fails: {error}")

    def _weights(self, network: nn.Module) -> Iterator[Finding]:
        """Yield what is wrong with the files of pretrained weights that rows name, loaded as in a training."""
        for layer in network.model:
            if isinstance(layer, Pretrained) and is_path(layer.pretrained) and layer.i not in self.without_weights:
                try:
                    layer.load_pretrained(self.folder)
                except WeightsError as error:
                    yield Finding("error", None, layer.i, str(error))

    def _size(self, grid: int, stride: int) -> Iterator[Finding]:
        """Yield what the strides make of the image size."""
        from ultralytics.utils.checks import check_imgsz

        taken = check_imgsz(self.imgsz, stride=grid, floor=grid, max_dim=1)
        if taken != self.imgsz:
            message = f"imgsz {self.imgsz} is no multiple of {grid}: the trainer rounds it to {taken}."
            yield Finding("note", None, None, message)
        if taken < 2 * stride:
            message = f"images of {taken} pixels are smaller than two cells of the coarsest stride, {stride}."
            yield Finding("warning", None, None, message)
