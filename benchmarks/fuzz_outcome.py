"""What becomes of a model YAML that somebody has written by mistake: a network, or an error of ours, and no trace."""

from __future__ import annotations

import logging
import os
import random
import re
import resource
import signal
import socket
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import rich.style  # noqa: F401  draws a random number when it is first imported
import torch
from torch import nn
from ultralytics import RTDETR, YOLO
from ultralytics.nn import tasks
from ultralytics.utils import LOGGER

from effyolo_ultra import registry, user_modules
from effyolo_ultra._dry_run import tensors
from effyolo_ultra.document import ModelDocument
from effyolo_ultra.errors import EffYoloError, ModelYAMLError
from effyolo_ultra.nn.light_head import light_heads

SECONDS = 10  # of this process for one file
MEMORY = 2 * 2**30  # bytes for one file
LARGE = 100_000_000  # parameters; a network of more is not built with its data here


YOLO("yolov5n-effdet.yaml")  # imports, and what is made once


class Fault(AssertionError):
    """What must not become of any file."""

    def __init__(self, kind: str, message: str = ""):
        super().__init__(message or kind)
        self.kind = kind


class TooLong(BaseException):
    """Raised where a file takes too long; no code that is tried here catches it."""


def outcome(path: Path, text: str, whole: bool = False) -> tuple[str, str]:
    """Build a model YAML and run it forward and backward.

    Args:
        path: Where to write it.
        text: Its text.
        whole: Whether to build it as YOLO does, with its data, too. Else it is only built without, in a moment; but if
            it does not run so, it is built with its data nevertheless.

    Returns:
        'stock', 'network' or 'refused', and the message of our error.

    Raises:
        Fault: If it is anything else, or leaves a trace.
    """
    path.write_text(text, encoding="utf-8")
    try:
        kind, message, needs_data = attempt(path, without_data)
        if kind == "network" and (whole or needs_data):
            kind, message, _ = attempt(path, with_data)
    finally:
        path.unlink()
    return kind, message


def attempt(
    path: Path, build: Callable[[Path], tuple[str, bool]], may_change: Collection[str] = ()
) -> tuple[str, str, bool]:
    """Try a file, and raise a Fault for what must not be; `may_change` names what of `state` it may change."""
    before, memory, start = state(), peak(), time.process_time()
    kind, message, needs_data = "refused", "", False
    try:
        with silence(), time_limit():
            kind, needs_data = build(path)
    except TooLong as error:
        raise Fault(f"more than {SECONDS} s", "".join(traceback.format_tb(error.__traceback__)[-6:])) from error
    except EffYoloError as error:
        message = str(error)
        check_error(error, path)
    except BaseException as error:
        frames = traceback.extract_tb(error.__traceback__)
        last = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}"
        trace = "".join(traceback.format_exception(type(error), error, error.__traceback__)[-8:])
        short = re.sub(r"\d+", "#", str(error).splitlines()[0] if str(error) else "")[:60]
        raise Fault(f"{type(error).__name__} in {last}: {short}", trace) from error
    if time.process_time() - start > SECONDS:
        raise Fault(f"more than {SECONDS} s", message)
    if peak() - memory > MEMORY:
        raise Fault("more than 2 GB", f"{(peak() - memory) / 2**30:.1f} GiB {message}")
    for name, value in state().items():
        if value != before[name] and name not in may_change and (kind == "refused" or name != "the heads"):
            raise Fault(f"changes {name}", f"{before[name]} became {value} {message}")
    return kind, message, needs_data


def without_data(path: Path) -> tuple[str, bool]:
    """Build the network of a file without data, and run it; also return whether only data can tell if it runs."""
    d = tasks.yaml_model_load(path)
    if not ModelDocument(d).names_any_of([*registry.MODULES, *light_heads(tasks)]):
        return "stock", False
    random_state = torch.get_rng_state()
    with torch.device("meta"):
        layers = tasks.parse_model(d, 3, verbose=False)[0]
    if not torch.equal(random_state, torch.get_rng_state()):
        raise Fault("a build without data changes the random state")
    try:
        run(layers, torch.empty(2, 3, 256, 256, device="meta"))
    except Exception:  # of a layer that has no form without data, or of a network that cannot run
        return "network", True
    return "network", False


def with_data(path: Path) -> tuple[str, bool]:
    """Build the network of a file as YOLO does, and run it."""
    with torch.device("meta"):
        layers = tasks.parse_model(tasks.yaml_model_load(path), 3, verbose=False)[0]
    if sum(p.numel() for p in layers.parameters()) < LARGE:
        network = (RTDETR if "rtdetr" in path.stem else YOLO)(str(path)).model
        size = 2 * max(int(network.stride.max()), 32)
        run(network.model, torch.rand(2, 3, size, size))
    return "network", False


def run(layers: nn.Sequential, image: torch.Tensor) -> None:
    """Run layers forward and backward in training mode."""
    given: list[Any] = []
    x: Any = image
    for layer in layers.train():
        f = layer.f
        x = [given[i] if given else x for i in f] if isinstance(f, list) else given[f] if given else x
        x = layer(x)
        given.append(x)
    outputs = [t for t in tensors(x) if t.requires_grad]
    sum(output.float().sum() for output in outputs).backward()


def check_error(error: EffYoloError, path: Path) -> None:
    """Raise a Fault for an error that does not say where."""
    if str(path) not in str(error):
        raise Fault("an error without the file", str(error))
    if isinstance(error, ModelYAMLError) and error.row is not None and f"row {error.row}" not in str(error):
        raise Fault("an error without the row", str(error))
    if len(str(error)) > 4000:
        raise Fault("an error of more than 4000 characters", str(error)[:300])


def state() -> dict[str, Any]:
    """Return what a build must leave as it is in this process."""
    heads = [cls for cls in vars(tasks).values() if isinstance(cls, type) and hasattr(cls, "legacy")]
    act = tasks.Conv.default_act
    return {
        "the default activation": (id(act), len(act._forward_hooks)),
        "the modules": (sorted(registry.MODULES), sorted(registry.ALIASES), sorted(user_modules.USER_MODULES)),
        "torch's defaults": (torch.get_default_dtype(), str(torch.get_default_device()), torch.is_grad_enabled()),
        "torch's threads": (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()),
        "the safe globals": len(torch.serialization.get_safe_globals()),
        "Python's random state": hash(random.getstate()),
        "NumPy's random state": hash(np.random.get_state()[1].tobytes()),
        "the logger": (list(LOGGER.filters), list(LOGGER.handlers), LOGGER.level, logging.root.manager.disable),
        "the warnings": len(warnings.filters),
        "the environment": (dict(os.environ), os.getcwd(), list(sys.path)),
        "the names of Ultralytics": len(vars(tasks)),
        "the heads": [(cls.__name__, cls.legacy) for cls in heads],
    }


@contextmanager
def silence() -> Iterator[None]:
    """While in this context, nothing is logged and no connection is made."""
    level, connect = LOGGER.level, socket.socket.connect
    LOGGER.setLevel("CRITICAL")

    def refuse(*args: Any) -> None:
        raise Fault("a connection", str(args))

    socket.socket.connect = refuse
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        socket.socket.connect = connect
        LOGGER.setLevel(level)


@contextmanager
def time_limit() -> Iterator[None]:
    """While in this context, this process may take so many seconds."""

    def stop(*_: Any) -> None:
        raise TooLong

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def peak() -> int:
    """Return the most bytes of memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
