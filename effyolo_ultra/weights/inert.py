"""Reading a file of torch.save without building any object that it describes.

A pickle names classes and functions, and calls them. torch's own restriction, `weights_only=True`, lets through those
on a list; to put layers or networks on it would let a file build them with arguments of its choice, and some of them
evaluate text or open other files. Here whatever a file names becomes an `Inert`, which keeps what it is given.
"""

from __future__ import annotations

import threading
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

# Since torch 2.6, a file can be asked what it names before any of it is read.
IS_COMPLETE = hasattr(torch.serialization, "get_unsafe_globals_in_checkpoint")
# Torch has one list of safe globals for the whole process.
LISTING = threading.Lock()


class Inert:
    """Stands for an object of a file.

    Attributes:
        name: What the file calls its class or function, with the module.
        args: The arguments that the file gives to it.
        state: What the file says of its attributes, a mapping for most objects.
    """

    name = ""
    args: tuple[Any, ...] = ()
    state: Any = None

    def __new__(cls, *args: Any) -> Inert:
        """Keep the arguments."""
        made = super().__new__(cls)
        made.args = args
        return made

    def __init__(self, *args: Any):
        pass

    def __setstate__(self, state: Any) -> None:
        """Keep the state."""
        self.state = state


def load(path: Path) -> Any:
    """Return what a file of torch.save holds, its tensors on the CPU and other objects as Inert.

    Under torch before 2.6, or written by torch before 1.6, a file with other objects is an error
    (pickle.UnpicklingError).
    """
    if not IS_COMPLETE:
        return torch.load(path, map_location="cpu", weights_only=True)
    with only_safe() as safe:
        if zipfile.is_zipfile(path):  # else torch before 1.6 wrote it, and cannot be asked; tensors alone are read
            names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
            safe += [(type(name, (Inert,), {"name": name}), name) for name in names]
            torch.serialization.add_safe_globals(safe)
        return torch.load(path, map_location="cpu", weights_only=True)


@contextmanager
def only_safe() -> Iterator[list[Any]]:
    """While in this context, torch's list of safe globals is empty, but for what is put into this one too.

    What others have on the list would be built. It is back at the end, with what they have added meanwhile. A load with
    `weights_only=True` that needs it in another thread has to be tried again; torch has no list for a thread.
    """
    with LISTING:
        registered, safe = torch.serialization.get_safe_globals(), []
        try:
            torch.serialization.clear_safe_globals()
            yield safe
        finally:
            added = [item for item in torch.serialization.get_safe_globals() if item not in safe]
            torch.serialization.clear_safe_globals()
            torch.serialization.add_safe_globals([*registered, *added])


def limits(path: Path) -> str:
    """Return what is to be done where a file cannot be read because it holds more than tensors."""
    if zipfile.is_zipfile(path):
        return "" if IS_COMPLETE else "; torch 2.6 or later reads files that hold more than tensors"
    return "; if torch before 1.6 has written it, open it by torch.load and save its state_dict alone"


def modules(network: Inert) -> Iterator[Inert]:
    """Yield the modules of a network, itself first, as `nn.Module.modules` does."""
    yield network
    if isinstance(network.state, Mapping):
        for child in network.state.get("_modules", {}).values():
            if isinstance(child, Inert):
                yield from modules(child)


def state_dict(module: Inert, prefix: str = "") -> dict[str, torch.Tensor]:
    """Return the tensors of a module by name, as `nn.Module.state_dict` does."""
    tensors = {}
    own = {**module.state.get("_parameters", {}), **module.state.get("_buffers", {})}
    for name, tensor in own.items():
        if isinstance(tensor, torch.Tensor) and name not in module.state.get("_non_persistent_buffers_set", ()):
            tensors[f"{prefix}{name}"] = tensor.detach()
    for name, child in module.state.get("_modules", {}).items():
        if isinstance(child, Inert):
            tensors.update(state_dict(child, f"{prefix}{name}."))
    return tensors
