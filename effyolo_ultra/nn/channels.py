"""The channels of the layers of a pruned network, as numbers that a file can hold.

    {"0.body.conv_stem": [24, None], "0.body.bn1": [24], "0": [16, 24, 72], "1": [40], ...}

For a layer they are the leading sizes of its weight, None for one that is not changed: outputs and inputs of a
convolution. So they hold for a network with another number of classes, or for other images, too. For a module of this
package they are the channels that it gives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Optional

import torch
from torch import nn

Channels = Mapping[str, Sequence[Optional[int]]]


LAYERS = (nn.Conv2d, nn.Linear, nn.modules.batchnorm._BatchNorm)


def changed_channels(root: nn.Module, before: Mapping[str, Sequence[int]]) -> dict[str, list[int | None]]:
    """Return the channels of the layers whose weight has another shape than before.

    Args:
        root: A network or a part of one.
        before: The shape of each tensor in its state as it was built.

    Raises:
        ValueError: If its state has other tensors than before, or a layer of another kind has changed.
    """
    state = root.state_dict()
    if state.keys() != before.keys():
        raise ValueError("it has other layers")
    layers = {}
    for name, tensor in state.items():
        if tuple(tensor.shape) == tuple(before[name]):
            continue
        layer = name.rpartition(".")[0]
        if not isinstance(root.get_submodule(layer), LAYERS):
            raise ValueError(f"{layer} is a {type(root.get_submodule(layer)).__name__}")
        if name.endswith(".weight"):
            layers[layer] = [new if new != old else None for new, old in zip(tensor.shape[:2], before[name])]
    return layers


def set_channels(root: nn.Module, channels: Channels) -> None:
    """Give layers other channels, in place and with fresh weights.

    Args:
        root: A network or a part of one.
        channels: The channels of layers in it by their names.

    Raises:
        ValueError: If there is no such layer, or it is of a kind that cannot have such channels.
    """
    modules = dict(root.named_modules())
    for name, sizes in channels.items():
        if name not in modules:
            raise ValueError(f"there is no layer {name!r}")
        listed = isinstance(sizes, (list, tuple)) and len(sizes) > 0
        if not listed or not all(size is None or (type(size) is int and size > 0) for size in sizes):
            raise ValueError(f"{name} must have a list of channels, not {sizes!r}")
        try:
            set_layer(modules[name], sizes)
        except (IndexError, TypeError) as error:
            raise ValueError(f"{name} is a {type(modules[name]).__name__} and cannot have {list(sizes)}") from error


def set_layer(layer: nn.Module, sizes: Sequence[int | None]) -> None:
    """Give one layer other channels."""
    if isinstance(layer, nn.Conv2d):
        is_depthwise = layer.groups == layer.in_channels == layer.out_channels
        resize(layer, "weight", sizes)
        layer.out_channels = layer.weight.shape[0]
        layer.groups = layer.out_channels if is_depthwise else layer.groups
        layer.in_channels = layer.weight.shape[1] * layer.groups
        resize(layer, "bias", sizes[:1])
    elif isinstance(layer, nn.Linear):
        resize(layer, "weight", sizes)
        layer.out_features, layer.in_features = layer.weight.shape
        resize(layer, "bias", sizes[:1])
    elif isinstance(layer, nn.modules.batchnorm._BatchNorm):
        for tensor in ("weight", "bias", "running_mean", "running_var"):
            resize(layer, tensor, sizes)
        layer.num_features = len(layer.weight)
    elif not hasattr(layer, "set_out_channels"):
        raise TypeError
    else:
        layer.set_out_channels(sizes)
        return
    layer.reset_parameters()


def resize(layer: nn.Module, name: str, sizes: Sequence[int | None]) -> None:
    """Replace a parameter or buffer by an empty one whose leading sizes are `sizes`."""
    old = getattr(layer, name)
    if old is None:
        return
    shape = list(old.shape)
    for i, size in enumerate(sizes):
        shape[i] = shape[i] if size is None else size
    new = torch.empty(shape, dtype=old.dtype, device=old.device)
    if isinstance(old, nn.Parameter):
        new = nn.Parameter(new, requires_grad=old.requires_grad)
    setattr(layer, name, new)
