"""Every error that this package raises on bad input."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class EffYoloError(Exception):
    """Base class of the errors of this package."""


class ModelYAMLError(EffYoloError, ValueError):
    """A model YAML that describes no network; the message names the file, the row and what to do.

    Attributes:
        problem: What is wrong, without where.
        file: The file, where it is known.
        row: Number of the row, None where it is not about one.
        key: Top-level key of the file, None where it is not about one.
    """

    def __init__(
        self,
        message: str,
        *,
        problem: str | None = None,
        file: str | None = None,
        row: int | None = None,
        key: str | None = None,
    ):
        super().__init__(message)
        self.problem, self.file, self.row, self.key = problem or message, file, row, key

    @classmethod
    def in_row(cls, file: str, row: int, text: str, problem: str) -> ModelYAMLError:
        """Return the error of a row, which `text` shows as it is written."""
        return cls(f"{file}, row {row}: {text}\n  {problem}", problem=problem, file=file, row=row)

    @classmethod
    def in_file(cls, file: str, problem: str, key: str | None = None, colon: bool = True) -> ModelYAMLError:
        """Return the error of a file or of a top-level key; without a colon, the file is the subject of `problem`."""
        return cls(f"{file}{':' if colon else ''} {problem}", problem=problem, file=file, key=key)


class UnknownNameError(EffYoloError, FileNotFoundError):
    """A model or data name that neither the working directory, Ultralytics nor this package has."""


class WeightsError(EffYoloError, ValueError):
    """Pretrained weights that do not exist, cannot be read, or do not fit; the message says what was expected."""


class WeightsUnreachableError(WeightsError, ConnectionError):
    """Pretrained weights that exist, but cannot be fetched from here now."""


class TrainingError(EffYoloError, ValueError):
    """Arguments of a training that ask for something that it cannot do."""


class ModuleRegistrationError(EffYoloError, ValueError):
    """A module that cannot be registered, or whose package or file cannot be loaded."""


class PruningError(EffYoloError, ValueError):
    """A network that cannot be pruned, or what is asked for cannot be done with it."""


class SharingError(EffYoloError, ValueError):
    """A network that cannot be shared, a shared variant that is refused, or a hub that does not give or take one."""


class MissingPackageError(EffYoloError, ImportError):
    """A package of an extra that is not installed; the message says how to install it."""


class UltralyticsVersionError(EffYoloError, RuntimeError):
    """The installed Ultralytics does not have the form that this package extends."""


def nearest(name: str, names: Iterable[str]) -> str:
    """Say which of `names` are near to `name`, as the end of an error message ('' if none is)."""
    cutoff = 0.75 if name.endswith((".yaml", ".yml")) else 0.6  # the suffix alone makes two names alike
    near = difflib.get_close_matches(name, list(dict.fromkeys(names)), n=3, cutoff=cutoff)
    return f" Did you mean {' or '.join(near)}?" if near else ""
