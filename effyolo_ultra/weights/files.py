"""Reading a file with weights, whatever trained it, without running code that it may hold."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import torch

from effyolo_ultra.errors import WeightsError
from effyolo_ultra.nn.backbone import TimmBackbone
from effyolo_ultra.nn.bifpn import BiFPN
from effyolo_ultra.weights import efficientdet, inert, openmmlab
from effyolo_ultra.weights.bifpn import roles, tensors_by_role
from effyolo_ultra.weights.intact import check_intact, plain

READABLE = "timm's layout, OpenMMLab's, efficientdet-pytorch's, or a checkpoint of a network with modules of ours"
# Where training scripts keep the weights, the averaged ones first.
KEYS = ("state_dict_ema", "model_ema", "state_dict", "model_state_dict", "model")


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
    content = read_file(path)
    if isinstance(content, Mapping):
        for key in ("ema", "model"):  # as Ultralytics saves a network
            if isinstance(content.get(key), inert.Inert):
                try:
                    return of_network(content[key], path)
                except WeightsError:
                    raise
                except (AttributeError, LookupError, TypeError, ValueError) as error:  # it is not as networks are
                    raise WeightsError(f"{path} holds a network that cannot be read: {error!r}") from error
    tensors = plain(named_tensors(content), path)
    if not tensors:
        raise WeightsError(f"{path} holds no tensors by name; expected {READABLE}")
    if openmmlab.is_openmmlab(tensors):
        return Weights("OpenMMLab", tensors)
    tensors = efficientdet.without_bench(tensors)
    if any(name.startswith("backbone.") for name in tensors):
        backbone, neck = (efficientdet.part(tensors, prefix) for prefix in ("backbone.", "fpn."))
        return Weights("EfficientDet", backbone, neck=neck)
    return Weights("timm", tensors)


def read_file(path: Path) -> Any:
    """Return what a file holds."""
    from safetensors.torch import load_file

    check_intact(path)
    try:
        return load_file(path) if path.suffix == ".safetensors" else inert.load(path)
    except pickle.UnpicklingError as error:
        first = str(error).partition("\n")[0].partition(". ")[0]
        raise WeightsError(f"{path} is no file with weights, or damaged ({first}){inert.limits(path)}") from error
    except Exception as error:  # each format has its own errors for a damaged file
        raise WeightsError(f"{path} is no file with weights, or damaged: {error}") from error


def named_tensors(content: Any) -> dict[str, torch.Tensor]:
    """Return the tensors of a file by name, those of its moving average where it has one."""
    from timm.models import clean_state_dict

    if not isinstance(content, Mapping):
        return {}
    content = next((content[key] for key in KEYS if isinstance(content.get(key), Mapping)), content)
    named = {
        name: value for name, value in content.items() if isinstance(name, str) and isinstance(value, torch.Tensor)
    }
    return clean_state_dict(named)


def of_network(network: inert.Inert, path: Path) -> Weights:
    """Return the first backbone and BiFPN of a network that Ultralytics saved."""
    backbone = neck = None
    for module in inert.modules(network):
        if module.name == "effyolo_ultra.nn.backbone_state.rebuild":
            backbone = backbone or module
        elif module.name == "effyolo_ultra.nn.bifpn.BiFPN":
            neck = neck or module
    if backbone is None and neck is None:
        kind = network.name.rpartition(".")[2]
        raise WeightsError(f"{path} is a {kind} without a backbone or a BiFPN of this package")
    tensors, model_name, by_roles = {}, "", {}
    if backbone:
        model_name = backbone.args[1]["model"]
        given = plain(backbone.state["weights"], path)
        tensors = {name[len("body.") :]: t.float() for name, t in given.items() if name.startswith("body.")}
    if neck:
        given = plain(inert.state_dict(neck), path)
        extra = len(neck.state["_modules"]["extra_levels"].state["_modules"])
        by_roles = {role: given[name].float() for name, role in roles(given, neck.state["levels"], extra).items()}
    return Weights("Ultralytics", tensors, model_name, by_roles)


def of_module(module: TimmBackbone | BiFPN) -> Weights:
    """Return the weights of a backbone or a BiFPN in memory."""
    if isinstance(module, BiFPN):
        return Weights("Ultralytics", {}, neck=tensors_by_role(module))
    return Weights("Ultralytics", module.body.state_dict(), module.model_name)
