"""What is changed in Ultralytics, one function per module of theirs; `_autoload` calls them.

Nothing of Ultralytics is imported at module level: `_autoload` imports this file while Ultralytics itself is still
being imported.
"""

from types import ModuleType


def patch_tasks(tasks: ModuleType) -> None:
    """Extend `ultralytics.nn.tasks`; a second call changes nothing."""


def patch_data_utils(data_utils: ModuleType) -> None:
    """Extend `ultralytics.data.utils`; a second call changes nothing."""


def register() -> None:
    """Make our modules known to Ultralytics, importing it if need be; a second call changes nothing.

    Importing the package and starting the interpreter do it too, unless EFFYOLO_ULTRA_NO_AUTOLOAD is set.
    """
    from importlib import import_module

    patch_tasks(import_module("ultralytics.nn.tasks"))
    patch_data_utils(import_module("ultralytics.data.utils"))
