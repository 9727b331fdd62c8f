"""Checking a model YAML: all that can be known without training, all at once, each with its line."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import torch
from ultralytics.nn import tasks

from effyolo_ultra._activation import parse_activation
from effyolo_ultra._heads import check_version, nc_problem
from effyolo_ultra._limits import (
    MAX_PARAMETERS,
    layers_and_parameters,
    too_many_layers,
    too_many_rows,
    too_many_scales,
)
from effyolo_ultra.checking.data import Data, NoData, check_data, read_data
from effyolo_ultra.checking.finding import Finding, in_order, merge
from effyolo_ultra.checking.keys import check_keys, check_values
from effyolo_ultra.checking.passes import silence
from effyolo_ultra.checking.rows import caught
from effyolo_ultra.checking.scale import Found, ScaleCheck
from effyolo_ultra.checking.source import Source, UnreadableFile, read
from effyolo_ultra.document import ModelDocument
from effyolo_ultra.errors import ModelYAMLError


def check(file: str | os.PathLike[str], data: str | os.PathLike[str] | None = None, imgsz: int = 640) -> list[Finding]:
    """Check a model YAML: that it builds at every scale, trains, exports, and fits the data.

    Nothing is downloaded, and nothing in the file is run as Python. A scale letter in the name checks that scale only.

    Args:
        file: Name or path of a model YAML, as for `YOLO(file)`.
        data: Name or path of the data to train on, as for `model.train(data=...)`.
        imgsz: Size of the images to train on.

    Returns:
        What was found, from the top of the file to its end; none for a file in order.

    Raises:
        UnknownNameError: If there is no such file.
        FileNotFoundError: If there is no such data YAML.
        ValueError: If `imgsz` is no size.

    Example:
        >>> import effyolo_ultra
        >>> effyolo_ultra.check("yolov5n-effdet.yaml")
        []
    """
    if isinstance(imgsz, bool) or not isinstance(imgsz, int) or not 1 <= imgsz <= 8192:
        raise ValueError(f"imgsz must be a whole number from 1 to 8192, not {imgsz!r}")
    from effyolo_ultra._ultralytics import register

    register()
    with silence(), torch.random.fork_rng(devices=[]):  # weights that are thrown away leave no trace
        try:
            source = read(os.fspath(file))
        except UnreadableFile as error:
            return [error.finding]
        return in_order(list(FileCheck(source, None if data is None else os.fspath(data), imgsz).findings()))


class FileCheck:
    """The check of one file.

    Args:
        source: The file.
        data: Name of the data, None for none.
        imgsz: Size of the images.
    """

    def __init__(self, source: Source, data: str | None, imgsz: int):
        self.source, self.data_name, self.imgsz = source, data, imgsz
        self.d: dict[str, Any] = {**source.d, "scale": source.scale, "yaml_file": source.name}
        self.document = ModelDocument(self.d)

    def findings(self) -> Iterator[Finding]:
        """Yield everything that is found."""
        if too_new := list(caught(check_version, self.document, tasks)):
            yield from map(self.at, too_new)
            return
        errors = list(self._structure())
        yield from map(self.at, errors)
        yield from check_keys(self.source)
        if self.document.d.keys() <= {"scale", "yaml_file"}:
            return
        values = list(check_values(self.source))
        yield from values
        refused = list(self._activation())
        yield from refused
        too_many = {"backbone": too_many_rows(self.document), "scales": too_many_scales(self.document)}
        if any(too_many.values()):
            for key, message in too_many.items():
                if message:
                    yield Finding("error", self.source.line_of_key(key), None, message)
            return
        if not self.document.written or not isinstance(self.d.get("backbone"), list):  # no row has its number then
            return
        data = None
        if self.data_name is not None:
            data, found = self._data()
            yield from found
        # A network is built only of what is whole and of a size to build.
        whole = not (errors or refused or any(finding.severity == "error" for finding in values))
        yield from self._scales(whole, data)

    def at(self, found: Found) -> Finding:
        """Return an error, or a finding about a row, with its line."""
        line = None if found.row is None else self.source.line_of_row(found.row)
        if isinstance(found, Finding):
            return found._replace(line=line)
        if found.row is None and found.key:
            line = self.source.line_of_key(found.key)
        return Finding("error", line, found.row, found.problem)

    def _structure(self) -> Iterator[ModelYAMLError]:
        """Yield what is wrong with backbone and head as a whole."""
        errors = [error for part in ("backbone", "head") for error in caught(self.document.check_part, part)]
        if errors and self.d.keys() <= {"scale", "yaml_file"}:
            yield from caught(self.document.check_parts)  # the file is empty
        elif errors or self.d["backbone"]:
            yield from errors
        else:
            yield from caught(self.document.check_parts)  # the backbone is

    def _activation(self) -> Iterator[Finding]:
        """Yield what is wrong with the activation of the file, and take it out, because Ultralytics would run it."""
        try:
            if text := self.d.get("activation"):
                parse_activation(text)
        except ValueError as error:
            del self.d["activation"]
            yield Finding("error", self.source.line_of_key("activation"), None, str(error))

    def _data(self) -> tuple[Data | None, list[Finding]]:
        """Return the data, and what of it does not fit the file."""
        task = tasks.guess_model_task(self.d) or "detect"
        try:
            data = read_data(self.data_name, task)
        except NoData as error:
            return None, [error.finding]
        found = check_data(data, self.d, task)
        return data, [f._replace(line=self.source.line_of_key(key) if key else None) for key, f in found]

    def _scales(self, whole: bool, data: Data | None) -> Iterator[Finding]:
        """Yield what is found at each scale."""
        scales = self.d.get("scales")
        letters = [self.source.scale] if self.source.scale or not isinstance(scales, dict) else [*scales]
        by_scale = {}
        for letter in letters or [""]:
            d = {**self.d, "scale": letter}
            if nc_problem(d.get("nc")):
                d["nc"] = 80  # that it is wrong is said already
            findings = []
            factors = list(caught(lambda d=d: ModelDocument(d).scaling))
            if factors:
                findings += map(self.at, factors)
                d = {k: v for k, v in d.items() if k not in ("scales", "depth_multiple", "width_multiple")}
            scale = ScaleCheck(d, data, self.imgsz)
            findings += map(self.at, scale.rows())
            _, parameters = layers_and_parameters(scale.good_rows)
            if message := too_many_layers(scale.good_rows):
                findings.append(Finding("error", self.source.line_of_row(0), None, message))
            elif parameters > MAX_PARAMETERS:
                message = f"the network can have up to {parameters / 1e9:.0f} billion parameters and is not built."
                findings.append(Finding("warning", None, None, message))
            else:
                traced = letter == (letters or [""])[0]  # what an export refuses, it refuses at every scale
                findings += map(self.at, scale.network(whole and not factors, traced))
            by_scale[str(letter)] = findings
        yield from merge(by_scale)
