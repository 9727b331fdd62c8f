"""The model table that Ultralytics prints, with the real rows in place of their declarations."""

from __future__ import annotations

import contextlib
import logging
import re
import threading
from collections.abc import Container, Iterator, Mapping
from typing import Any

from torch import nn


def table_line(module: nn.Module, repeats: int, args: Any) -> str:
    """Return the line of a built module, in the format of the stock parser."""
    return f"{module.i:>3}{module.f!s:>20}{repeats:>3}{module.np:10.0f}  {module.type:<45}{args!s:<30}"


class _ReplaceLines(logging.Filter):
    def __init__(self, lines: Mapping[int, str], withheld: Container[int]):
        super().__init__()
        self.lines, self.withheld, self.thread = lines, withheld, threading.get_ident()
        self.args: dict[int, str] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Replace or withhold the line of a row, if this thread logs it."""
        line = re.match(r"\s*(\d+)\s.*\d\s+ultralytics\.\S+\s+(.*)", str(record.msg))
        index = int(line[1]) if line and record.thread == self.thread else None
        record.msg = self.lines.get(index, record.msg)
        if index in self.withheld:
            self.args[index] = line[2]
        return index not in self.withheld


@contextlib.contextmanager
def replace_lines(
    logger: logging.Logger, lines: Mapping[int, str], withheld: Container[int] = ()
) -> Iterator[dict[int, str]]:
    """While in this context, let the logger print `lines` for those rows, and nothing for the withheld ones.

    Yields:
        The args in the lines withheld.
    """
    filter_ = _ReplaceLines(lines, withheld)
    logger.addFilter(filter_)
    try:
        yield filter_.args
    finally:
        logger.removeFilter(filter_)
