"""What of a model YAML is refused before anything of it is built."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from pathlib import Path
from types import ModuleType

from torch import nn

from effyolo_ultra._activation import parse_activation
from effyolo_ultra._heads import check_version
from effyolo_ultra._limits import (
    MAX_BYTES,
    MAX_NODES,
    count_values,
    too_large,
    too_large_keys,
    too_many_layers,
    too_many_rows,
)
from effyolo_ultra._plugins import own_modules_hint
from effyolo_ultra.document import ModelDocument, module_name
from effyolo_ultra.errors import ModelYAMLError
from effyolo_ultra.nn.light_head import light_heads
from effyolo_ultra.row import Row


def check_file_size(path: Path, ours: Iterable[str]) -> None:
    """Raise a ModelYAMLError for a file with modules of ours that is too large to be read in a moment."""
    if path.is_file() and path.stat().st_size > MAX_BYTES:
        text = path.read_bytes()
        if any(name.encode() in text for name in ours):
            raise ModelYAMLError.in_file(str(path), f"a model YAML of more than {MAX_BYTES} bytes is not read")


def check_is_data(document: ModelDocument, tasks: ModuleType, modules: Mapping[str, type]) -> None:
    """Raise a ModelYAMLError for what would run as code, or grow without end, where it is built."""
    if count_values(document.d, MAX_NODES) >= MAX_NODES:
        raise ModelYAMLError.in_file(document.file, f"it has more than {MAX_NODES} values, aliases expanded.")
    if message := too_many_rows(document):
        raise ModelYAMLError.in_file(document.file, message)
    for key, message in too_large_keys(document.d):
        raise ModelYAMLError.in_file(document.file, message, key)
    if activation := document.d.get("activation"):
        try:
            parse_activation(activation)
        except ValueError as error:
            raise ModelYAMLError.in_file(document.file, str(error), "activation") from None
    ours = {*modules, *light_heads(tasks)}
    for index in range(len(document.written)):
        check_layer(document, index, tasks, ours)


def check_layer(document: ModelDocument, index: int, tasks: ModuleType, ours: Container[str]) -> None:
    """Raise a ModelYAMLError for a row whose module is no layer: Ultralytics would call whatever has the name."""
    name = module_name(document.written[index])
    if name and name not in ours and not is_layer(tasks, name):
        document.error(index, f"'{name}' is no layer, but something else that Ultralytics has.")


def check_size(document: ModelDocument, rows: list[Row]) -> None:
    """Raise a ModelYAMLError for a network that is larger than any in use."""
    for row in rows:
        if message := too_large(row):
            row.error(message)
    if message := too_many_layers(rows):
        raise ModelYAMLError.in_file(document.file, message)


def check_names(document: ModelDocument, tasks: ModuleType, modules: Mapping[str, type]) -> None:
    """Raise a ModelYAMLError for the first row whose module neither we nor Ultralytics know."""
    ours = [*modules, *light_heads(tasks)]
    if document.names_any_of(ours):
        check_version(document, tasks)
    names = [*ours, *stock_names(tasks)]
    document.check_names(lambda name: name in ours or is_stock(tasks, name), names, own_modules_hint())


def is_stock(tasks: ModuleType, name: str) -> bool:
    """Whether Ultralytics itself knows the module."""
    if name.startswith("nn."):
        return hasattr(nn, name[3:])
    return name.startswith("torchvision.ops.") or name in vars(tasks)


def is_layer(tasks: ModuleType, name: str) -> bool:
    """Whether a stock name is a class of layers, and not a function, a constant, or a network of its own YAML."""
    if name.startswith("torchvision.ops."):
        import torchvision

        cls = getattr(torchvision.ops, name[16:], None)
    else:
        cls = getattr(nn, name[3:], None) if name.startswith("nn.") else vars(tasks).get(name)
    return isinstance(cls, type) and issubclass(cls, nn.Module) and not issubclass(cls, tasks.BaseModel)


def stock_names(tasks: ModuleType) -> list[str]:
    """Return the names of Ultralytics' own modules, to suggest."""
    return [name for name, value in vars(tasks).items() if isinstance(value, type) and issubclass(value, nn.Module)]
