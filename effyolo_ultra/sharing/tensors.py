"""model.safetensors: every tensor of a network, by the name it has there."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from effyolo_ultra.errors import SharingError, nearest
from effyolo_ultra.sharing.contents import WEIGHTS


def tensors_of(network: nn.Module) -> dict[str, torch.Tensor]:
    """Return all parameters and buffers by name: also those that a state dict leaves out, as mean and std are."""
    return {
        name: tensor
        for tensors in (network.named_parameters, network.named_buffers)
        for name, tensor in tensors(remove_duplicate=False)
    }


def to_bytes(network: nn.Module) -> bytes:
    """Return the tensors of a network in the format of safetensors, each with the dtype it has."""
    from safetensors.torch import save

    # Copies, because safetensors refuses tensors that share memory.
    tensors = {
        name: t.detach().cpu().clone(memory_format=torch.contiguous_format) for name, t in tensors_of(network).items()
    }
    return save(tensors, {"format": "pt"})


def from_bytes(content: bytes) -> dict[str, torch.Tensor]:
    """Return tensors by name."""
    from safetensors.torch import load

    try:
        return load(content)
    except Exception as error:  # of the format, or of a dtype that torch does not have
        raise SharingError(f"{WEIGHTS} is damaged, or no file of safetensors: {error}") from error


def check(network: nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
    """Refuse tensors that are not exactly those of a network, which may be without data."""
    own, parameters = tensors_of(network), dict(network.named_parameters())
    for name in sorted(own.keys() - tensors.keys()):
        raise SharingError(f"{WEIGHTS} lacks the tensor {name}{of(own.keys() - tensors.keys())}")
    for name in sorted(tensors.keys() - own.keys()):
        hint = nearest(name, own)
        raise SharingError(f"{WEIGHTS} has a tensor {name!r}, and the network of the model YAML has none such.{hint}")
    for name, tensor in sorted(tensors.items()):
        if tensor.shape != own[name].shape:
            raise SharingError(
                f"{WEIGHTS}: {name} is {tuple(tensor.shape)}, and in the network of the model YAML"
                f" {tuple(own[name].shape)}"
            )
        if tensor.is_floating_point() != own[name].is_floating_point():
            raise SharingError(f"{WEIGHTS}: {name} is {tensor.dtype}, and in the network {own[name].dtype}")
        if tensor.isnan().any() or (name in parameters and tensor.isinf().any()):  # a mask may be infinite
            raise SharingError(f"{WEIGHTS}: {name} holds NaN or infinity, so the network computes nothing any more")


def of(names: set[str]) -> str:
    """Say that a name is one of several."""
    return f" and {len(names) - 1} more" if len(names) > 1 else ""


def put(network: nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
    """Give a network its tensors, in their dtypes."""
    check(network, tensors)
    constants = {name for name, _ in network.named_buffers()} - network.state_dict().keys()
    for name, own in tensors_of(network).items():
        tensor = tensors[name]
        if name in constants and not is_close(tensor, own):
            raise SharingError(
                f"{WEIGHTS}: {name} is a constant of the network, and the packages installed here have another one"
            )
        own.data = tensor.clone()
        own.requires_grad_(False)  # as in a checkpoint of Ultralytics


def is_close(tensor: torch.Tensor, own: torch.Tensor) -> bool:
    """Whether a constant is the same, but for the precision that it is kept in."""
    if not own.is_floating_point():
        return torch.equal(tensor, own)
    precision = 1e-5 if tensor.dtype in (torch.float32, torch.float64) else 1e-2
    return torch.allclose(tensor.float(), own.float(), rtol=precision, atol=precision)
