"""Reading a file with weights, whatever trained it, without running code that it may hold."""

from __future__ import annotations

import importlib
import pickle
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from effyolo_ultra.errors import WeightsError
from effyolo_ultra.weights import efficientdet, openmmlab
from effyolo_ultra.weights.bifpn import tensors_by_role

# Since torch 2.6, a file can be asked which classes it names before any of it is unpickled.
NETWORKS_ARE_READABLE = hasattr(torch.serialization, "get_unsafe_globals_in_checkpoint")
READABLE = "timm's layout, OpenMMLab's, efficientdet-pytorch's, or a checkpoint of a network with modules of ours"


class Weights(NamedTuple):
    """The backbone and the neck that a file holds.

    Attributes:
        layout: 'timm', 'OpenMMLab', 'EfficientDet' or 'Ultralytics'; the last has the names of `TimmBackbone.body`.
        tensors: The tensors of the backbone by name, none if there is no backbone.
        model_name: The timm model, where the file says it.
        neck: The tensors of the neck: in EfficientDet's layout by its own names, in Ultralytics' by what they do, see
            weights/bifpn.py; in the other layouts none.
    """

    layout: str
    tensors: Mapping[str, torch.Tensor]
    model_name: str = ""
    neck: Mapping[str, torch.Tensor] = MappingProxyType({})


def read(path: Path) -> Weights:
    """Read the backbone and the neck in a .safetensors, .pth, .pt or .bin file.

    Raises:
        WeightsError: If the file cannot be read safely, or holds no weights of them.
    """
    content = read_ultralytics(path) if path.suffix == ".pt" else None
    if content is None:
        content = read_tensors(path)
    if isinstance(content, Weights):
        return content
    if not content:
        raise WeightsError(f"{path} holds no tensors by name; expected {READABLE}")
    if openmmlab.is_openmmlab(content):
        return Weights("OpenMMLab", content)
    content = efficientdet.without_bench(content)
    if any(name.startswith("backbone.") for name in content):
        backbone, neck = (efficientdet.part(content, prefix) for prefix in ("backbone.", "fpn."))
        return Weights("EfficientDet", backbone, neck=neck)
    return Weights("timm", content)


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of a file by name, those of its moving average where it has one."""
    from timm.models import load_state_dict

    try:
        found = load_state_dict(str(path), weights_only=True)
    except (RuntimeError, pickle.UnpicklingError) as error:
        raise WeightsError(
            f"{path} is not read: it is damaged, or holds more than tensors, which could run code. Where you trust it,"
            " save its tensors alone: torch.save({'state_dict': torch.load(path, weights_only=False)['state_dict']},"
            " new_path)."
            + (" A network of Ultralytics is read with torch 2.6 or later." if not NETWORKS_ARE_READABLE else "")
            + f" ({str(error).splitlines()[0]})"
        ) from error
    except Exception as error:  # each format has its own errors for a damaged file
        raise WeightsError(f"{path} is no file with weights, or damaged: {error}") from error
    if not isinstance(found, Mapping):
        return {}
    return {name: value for name, value in found.items() if isinstance(value, torch.Tensor)}


def read_ultralytics(path: Path) -> Weights | None:
    """Return the first backbone and BiFPN of a network that Ultralytics saved, None if the file holds no network."""
    from effyolo_ultra.nn import BiFPN, TimmBackbone

    if not NETWORKS_ARE_READABLE:
        return None
    try:
        with torch.serialization.safe_globals(network_globals(path)):
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        return None  # read_tensors says what is wrong with it
    except Exception as error:  # zip, pickle and torch have their own errors for a damaged file
        raise WeightsError(f"{path} is no checkpoint, or damaged: {error}") from error
    network = (checkpoint.get("ema") or checkpoint.get("model")) if isinstance(checkpoint, dict) else None
    if not isinstance(network, nn.Module):
        return None
    network = network.float()
    backbone, neck = (next((m for m in network.modules() if isinstance(m, cls)), None) for cls in (TimmBackbone, BiFPN))
    if backbone is None and neck is None:
        raise WeightsError(f"{path} is a {type(network).__name__} without a backbone or a BiFPN of this package")
    return Weights(
        "Ultralytics",
        backbone.body.state_dict() if backbone else {},
        backbone.model_name if backbone else "",
        tensors_by_role(neck) if neck else {},
    )


def network_globals(path: Path) -> list[Any]:
    """Return the classes that a checkpoint of Ultralytics names and that are nothing but layers or plain numbers."""
    found = []
    for name in torch.serialization.get_unsafe_globals_in_checkpoint(path):
        module, _, attribute = name.rpartition(".")
        if module.startswith(("torch.nn.modules.", "ultralytics.nn.")):
            cls = getattr(importlib.import_module(module), attribute, None)
            if isinstance(cls, type) and issubclass(cls, nn.Module):
                found.append(cls)
        elif name == "ultralytics.utils.IterableSimpleNamespace":
            found.append(importlib.import_module(module).IterableSimpleNamespace)
        elif module in ("numpy", "numpy.core.multiarray", "numpy._core.multiarray") and attribute in (
            "dtype",
            "scalar",
        ):
            scalar = np.float64(0).__reduce__()[0]
            found += [np.dtype, type(np.dtype(np.float64)), (scalar, name) if attribute == "scalar" else np.dtype]
    return found
