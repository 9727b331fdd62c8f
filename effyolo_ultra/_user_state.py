"""Modules of users in checkpoints: by a name that says whose they are.

A pickle names classes by their modules, and Ultralytics tries to install a package of the name of one that is missing.
"""

from __future__ import annotations

import copyreg
from typing import Any

from torch import nn

from effyolo_ultra._plugins import own_modules_hint
from effyolo_ultra.errors import ModuleRegistrationError


def reduce_user_module(module: nn.Module) -> Any:
    """Return what a pickle holds of a module of a user: as by default, but for how it names the class."""
    made_by, args, *state = module.__reduce_ex__(2)
    if made_by is copyreg.__newobj__ and args == (type(module),):
        made_by, args = rebuild_user_module, (type(module).__module__, type(module).__qualname__)
    return made_by, args, *state


def rebuild_user_module(module: str, name: str) -> nn.Module:
    """Return an empty module of a registered class; nothing is imported.

    Raises:
        ModuleRegistrationError: If there is no such class.
    """
    from effyolo_ultra.user_modules import USER_MODULES

    for cls in (user_module.cls for user_module in USER_MODULES.values()):
        if (cls.__module__, cls.__qualname__) == (module, name):
            return cls.__new__(cls)
    raise ModuleRegistrationError(
        f"the checkpoint needs {module}.{name}, a module of who made it, which is not registered here."
        f"{own_modules_hint()}"
    )
