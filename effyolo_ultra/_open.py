"""Opening whatever names a network, a model YAML, a checkpoint or a YOLO, and finding what is in it."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, Union

import torch
from torch import nn

from effyolo_ultra.document import ModelDocument, image_channels
from effyolo_ultra.errors import EffYoloError, ModelYAMLError, UnknownNameError, WeightsError
from effyolo_ultra.weights.intact import check_intact, plain

SIDES = (256, 640)  # of the images that a network is tried on: what Ultralytics builds with, and trains with

Source = Union[str, "os.PathLike[str]", nn.Module, Any]
M = TypeVar("M", bound=nn.Module)


def open_model(source: Source) -> nn.Module:
    """Return the network of a model YAML, a checkpoint, a YOLO, or a network itself.

    Args:
        source: Name or path of a model YAML, path of a .pt file, an `ultralytics.YOLO`, or its `model`.

    Raises:
        UnknownNameError: If there is no such file.
        ModelYAMLError: If a YAML describes no network.
        WeightsError: If a .pt file holds no network or one that does not run, is damaged, or has NaN or infinity in it.
        TypeError: If `source` is something else.
    """
    if isinstance(source, (str, os.PathLike)):
        source = open_file(Path(source))
    inner = student(getattr(source, "model", None))
    network = inner if isinstance(getattr(inner, "model", None), nn.Module) else student(source)
    if not isinstance(network, nn.Module) or not isinstance(getattr(network, "model", None), nn.Sequential):
        raise TypeError(f"expected a model YAML, a .pt file or a network of Ultralytics, not {source!r}")
    return network


def student(network: Any) -> Any:
    """Return the network that a training trains, out of what wraps it for several GPUs or for a teacher."""
    network = getattr(network, "module", network)
    return getattr(network, "student_model", network)


def of_class(network: nn.Module, cls: type[M]) -> list[M]:
    """Return the modules of a class in a network."""
    return [module for module in network.modules() if isinstance(module, cls)]


def is_for_int8(network: nn.Module) -> bool:
    """Whether a network is trained for int8 (quantize=8)."""
    return any(type(module).__name__ == "TensorQuantizer" for module in network.modules())


def open_file(path: Path) -> Any:
    """Return the YOLO of a model YAML or checkpoint, without touching the random state."""
    from ultralytics import RTDETR, YOLO

    check_there(path)
    with torch.random.fork_rng(devices=[]):
        if path.suffix == ".pt":
            return open_checkpoint(path)
        return (RTDETR if "rtdetr" in path.stem else YOLO)(str(path))


def open_checkpoint(path: Path) -> Any:
    """Return the YOLO of a checkpoint.

    Raises:
        UnknownNameError: If there is no such file.
        WeightsError: If it holds no network or one that does not run, is damaged, or has NaN or infinity in it.
    """
    from ultralytics import YOLO

    check_whole(path)
    with refusing(path):
        yolo = YOLO(str(path))
        yolo.model = student(yolo.model)
        check_runs(yolo.model, path)
    return yolo


def check_whole(path: Path) -> None:
    """Raise an error for a checkpoint that is not there or damaged; it is not loaded."""
    if path.suffix != ".pt":
        raise WeightsError(f"expected a .pt file of Ultralytics, such as best.pt, not '{path}'")
    check_there(path)
    check_intact(path)


@contextmanager
def refusing(path: Path) -> Iterator[None]:
    """While in this context, whatever torch, pickle or Ultralytics make of something else is a WeightsError."""
    try:
        yield
    except Exception as error:
        # torch seeks before the start of a file that is cut off: an OSError that names no file.
        is_of_system = isinstance(error, OSError) and error.filename is not None
        if is_of_system or (isinstance(error, EffYoloError) and not isinstance(error, ModelYAMLError)):
            raise
        said = f"{type(error).__name__}: {error}".split("Recommended fix")[0]  # Ultralytics' are other networks
        said = textwrap.shorten(said, 400, placeholder=" ...").rstrip(" .")
        raise WeightsError(
            f"'{path}' holds no network of Ultralytics that runs: {said}. If it should, get it again."
        ) from error


def check_runs(network: nn.Module, path: Path) -> None:
    """Raise an error unless what a file holds is a network as Ultralytics writes it, and runs."""
    from ultralytics.nn.tasks import BaseModel

    if not isinstance(network, BaseModel) or not isinstance(getattr(network, "model", None), nn.Sequential):
        raise TypeError(f"a {type(network).__name__}")
    check_numbers(network, path)
    document = ModelDocument(network.yaml)
    document.check_parts()
    for index in range(len(document.written)):
        document.check_row(index)
    if len(document.written) != len(network.model):
        raise ValueError(f"{len(network.model)} layers, and {len(document.written)} rows in its YAML")
    for attribute, kinds in (("names", (dict, list)), ("stride", torch.Tensor), ("task", str)):
        if not isinstance(value := getattr(network, attribute, None), kinds) and value is not None:
            raise TypeError(f"{attribute} must not be {value!r}")
    try:
        run(network, SIDES[0])
    except Exception:  # such as of a decoder for more boxes than the maps of a small image have places
        run(network, SIDES[1])


def run(network: nn.Module, side: int) -> None:
    """Run a network on a black image."""
    with torch.no_grad():
        network(torch.zeros(1, image_channels(network.yaml), side, side))


def check_numbers(network: nn.Module, path: Path) -> None:
    """Raise a WeightsError for a network of a file that computes nothing any more."""
    plain({**dict(network.named_parameters()), **dict(network.named_buffers())}, path)
    broken = [name for name, parameter in network.named_parameters() if not parameter.isfinite().all()]
    broken += [name for name, buffer in network.named_buffers() if buffer.isnan().any()]  # a mask may be infinite
    if broken:
        more = f" and {len(broken) - 1} more tensors" if len(broken) > 1 else ""
        raise WeightsError(
            f"'{path}' holds NaN or infinity, in {broken[0]}{more}: its training has diverged. Take an earlier file."
        )


def check_there(path: Path) -> None:
    """Raise an error for a model YAML or checkpoint that cannot be found; nothing is built."""
    from ultralytics.nn.tasks import yaml_model_load

    if path.suffix in (".yaml", ".yml"):
        yaml_model_load(path)
    elif path.suffix != ".pt":
        raise UnknownNameError(f"'{path}' is neither a model YAML (.yaml) nor a checkpoint (.pt)")
    elif not path.is_file():
        raise UnknownNameError(f"there is no file '{path}'; give the path of a .pt file, such as best.pt")
