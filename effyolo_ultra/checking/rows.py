"""What is wrong with each row by itself: its form, its names, its numbers, and where it takes its input."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import ModuleType
from typing import Any

from effyolo_ultra._heads import check_head_args
from effyolo_ultra._limits import too_large
from effyolo_ultra._plugins import own_modules_hint
from effyolo_ultra._refusals import check_layer, is_stock, stock_names
from effyolo_ultra._values import nested
from effyolo_ultra.document import ModelDocument
from effyolo_ultra.errors import ModelYAMLError
from effyolo_ultra.nn.bifpn import BiFPN
from effyolo_ultra.row import Row

BY_THE_NETWORK = ("ImagePoolingAttn",)  # what it gives is no row's input: YOLO-World's network hands it to the head


class RowChecks:
    """The checks of single rows.

    Args:
        document: The model YAML, with a scale.
        tasks: The module `ultralytics.nn.tasks`.
        modules: Our modules by name.
        light: The light heads, each with its stock head.
    """

    def __init__(
        self, document: ModelDocument, tasks: ModuleType, modules: Mapping[str, type], light: Mapping[str, str]
    ):
        self.document, self.tasks = document, tasks
        self.ours = [*modules, *light]
        self.names = [*self.ours, *stock_names(tasks)]

    def of(self, index: int) -> list[ModelYAMLError]:
        """Return all that is wrong with a row, without what its inputs give."""
        errors = list(caught(self.document.check_form, index))
        if errors:
            return errors
        source, repeats, module, args = self.document.written[index]
        for check, *given in (
            (self.document.check_module, module),
            (self.check_name,),
            (self.document.sources, source),
            (self.document.check_repeats, repeats),
            (self.document.check_args, args),
        ):
            errors += caught(check, index, *given)
        if not errors:
            errors += caught(self.document.row, index)  # the values that its args name
        if not errors:
            errors += caught(self.check_size, index)
        if not errors and index == len(self.document.written) - 1:
            errors += caught(check_head_args, self.document, self.tasks)
        return errors

    def check_name(self, index: int) -> None:
        """Raise a ModelYAMLError unless the module is a layer."""
        self.document.check_name(
            index, lambda name: name in self.ours or is_stock(self.tasks, name), self.names, own_modules_hint()
        )
        check_layer(self.document, index, self.tasks, self.ours)

    def check_size(self, index: int) -> None:
        """Raise a ModelYAMLError for a number that is too large."""
        if message := too_large(self.document.row(index)):
            self.document.error(index, message)


def caught(check: Callable[..., Any], *given: Any) -> Iterator[ModelYAMLError]:
    """Yield the error that a check raises."""
    try:
        check(*given)
    except ModelYAMLError as error:
        yield error


def unused(document: ModelDocument) -> dict[int, str]:
    """Return {row: message} for the rows whose output does not reach the last row."""
    rows = list(document.rows())
    used = {len(rows) - 1, *(row.index for row in rows if row.module in BY_THE_NETWORK)}
    takers = {source for row in rows for source in row.sources}
    for row in reversed(rows):
        if row.index in used:
            used.update(row.sources)
    return {
        row.index: "it is not used: no row takes its output."
        if row.index not in takers
        else "it is not used: only rows that are not used themselves take its output."
        for row in rows
        if row.index not in used
    }


def rounded(row: Row, modules: Mapping[str, Any]) -> str:
    """Say that the channels of a row become others by rounding, '' if they do not."""
    module = modules.get(row.module)
    scaled = module is BiFPN or getattr(module, "channels", None) == "first_arg"
    if not scaled or not row.args or type(row.args[0]) is not int or row.args[0] % 8 == 0:
        return ""
    return (
        f"its {row.args[0]} channels become {row.scaling.channels(row.args[0])}: they are scaled by the file's width"
        " and rounded up to a multiple of 8, as Ultralytics does for its rows."
    )


def without_downloads(d: dict[str, Any]) -> dict[str, Any]:
    """Return a model YAML whose TorchVision rows have no weights: building them would download those."""

    def clean(row: Any) -> Any:
        if not isinstance(row, (list, tuple)) or len(row) != 4 or row[2] != "TorchVision":
            return row
        args = row[3]
        return [*row[:3], [*args[:2], None, *args[3:]] if isinstance(args, (list, tuple)) and len(args) > 1 else args]

    d = nested(lambda value: value, d)
    for part in ("backbone", "head"):
        if isinstance(d.get(part), list):
            d[part] = [clean(row) for row in d[part]]
    return d
