"""The model table that Ultralytics prints, with the real rows in place of their declarations."""

from __future__ import annotations

import contextlib
import logging
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import nn


def table_line(module: nn.Module, repeats: int, args: Sequence[Any]) -> str:
    """Return the line of a built module, in the format of the stock parser."""
    return f"{module.i:>3}{module.f!s:>20}{repeats:>3}{module.np:10.0f}  {module.type:<45}{args!s:<30}"


class _ReplaceLines(logging.Filter):
    def __init__(self, lines: Mapping[int, str]):
        super().__init__()
        self.lines, self.thread = lines, threading.get_ident()

    def filter(self, record: logging.LogRecord) -> bool:
        """Replace the line of a declaration, if this thread logs it."""
        line = re.match(r"\s*(\d+)\s.*\.Index\s", str(record.msg))
        if line and record.thread == self.thread:
            record.msg = self.lines.get(int(line[1]), record.msg)
        return True


@contextlib.contextmanager
def replace_lines(logger: logging.Logger, lines: Mapping[int, str]) -> Iterator[None]:
    """While in this context, let the logger print `lines` for the declarations of those rows."""
    filter_ = _ReplaceLines(lines)
    logger.addFilter(filter_)
    try:
        yield
    finally:
        logger.removeFilter(filter_)
