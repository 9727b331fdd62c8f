"""Every error that this package raises on bad input."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class EffYoloError(Exception):
    """Base class of the errors of this package."""


class ModelYAMLError(EffYoloError, ValueError):
    """A model YAML that describes no network; the message names the file, the row and what to do."""


class UnknownNameError(EffYoloError, FileNotFoundError):
    """A model or data name that neither the working directory, Ultralytics nor this package has."""


class WeightsError(EffYoloError, ValueError):
    """Pretrained weights that do not exist, cannot be read, or do not fit; the message says what was expected."""


class WeightsUnreachableError(WeightsError, ConnectionError):
    """Pretrained weights that exist, but cannot be fetched from here now."""


class ModuleRegistrationError(EffYoloError, ValueError):
    """A module that cannot be registered, or whose package or file cannot be loaded."""


class PruningError(EffYoloError, ValueError):
    """A network that cannot be pruned, or what is asked for cannot be done with it."""


class MissingPackageError(EffYoloError, ImportError):
    """A package of an extra that is not installed; the message says how to install it."""


class UltralyticsVersionError(EffYoloError, RuntimeError):
    """The installed Ultralytics does not have the form that this package extends."""


def nearest(name: str, names: Iterable[str]) -> str:
    """Say which of `names` are near to `name`, as the end of an error message ('' if none is)."""
    near = difflib.get_close_matches(name, list(dict.fromkeys(names)), n=3, cutoff=0.6)
    return f" Did you mean {' or '.join(near)}?" if near else ""
