"""Where the stock parser fails, it neither says which row it was nor takes back what it has noted on its classes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from effyolo_ultra._probe import StockParser
from effyolo_ultra.errors import EffYoloError, ModelYAMLError


@contextlib.contextmanager
def failures_explained(parser: StockParser) -> Iterator[None]:
    """While in this context, whatever is raised becomes an error that names the file, and the row where it is known.

    Raises:
        ModelYAMLError: If anything but an error of this package is raised; that is its cause.
    """
    heads = [
        cls for cls in vars(parser.tasks).values() if isinstance(cls, type) and issubclass(cls, parser.tasks.Detect)
    ]
    before = {cls: vars(cls).get("legacy") for cls in heads}  # which class branch is built; of the whole process
    try:
        yield
    except Exception as error:
        try:
            explain(error, parser)
        finally:
            restore(before)


def explain(error: Exception, parser: StockParser) -> None:
    """Raise an error of ours for what the stock parser has raised."""
    if isinstance(error, EffYoloError):
        raise error
    document, said = parser.document, f"{type(error).__name__}: {error}"
    index = parser.failing_row()
    if index is None:
        raise ModelYAMLError.in_file(document.file, f"Ultralytics cannot build this network: {said}") from error
    document.error(index, f"Ultralytics cannot build this row: {said}", cause=error)


def restore(before: dict[type, bool | None]) -> None:
    """Give the classes of heads the attribute `legacy` that they had, None for those that inherited it."""
    for cls, legacy in before.items():
        if legacy is not None:
            cls.legacy = legacy
        elif "legacy" in vars(cls):
            del cls.legacy
