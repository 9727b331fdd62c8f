"""Folding the BatchNorms of a timm model into its convolutions, for inference.

Ultralytics' `fuse` does it for its own `Conv`; timm names and nests its layers in a hundred other ways. So the model is
run once without memory, on the meta device, and the autograd graph of that pass says which BatchNorm is the only one to
take what a convolution gives.
"""

from __future__ import annotations

import contextlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.func import functional_call

from effyolo_ultra.nn.same_padding import SameConv2d

BatchNorm = nn.modules.batchnorm._BatchNorm  # of one process or synchronised, with an activation of timm's or without


class Folding(NamedTuple):
    """What can be folded: pairs of a convolution and its BatchNorm, and the convolution that takes the image."""

    pairs: list[tuple[str, str]]
    stem: str | None


def foldable(network: nn.Module, image: torch.Tensor) -> Folding:
    """Return the names of the layers of a network that can be folded.

    Args:
        network: A network in eval mode that gives a list of tensors.
        image: An image for it (N, C, H, W), of which only shape and type matter.
    """
    try:
        return foldable_on("meta", network, image)
    except Exception:  # of an operation that the meta device does not have
        return foldable_on(image.device, network, image)


def foldable_on(device: torch.device | str, network: nn.Module, image: torch.Tensor) -> Folding:
    """Run the network on a device and return what can be folded."""
    calls: dict[str, list[Call]] = defaultdict(list)

    def record(name: str) -> Callable[..., None]:
        # The node now, since what comes next may work in place.
        return lambda _, inputs, output: calls[name].append(Call(inputs[0], output, output.grad_fn))

    layers = {k: m for k, m in network.named_modules() if is_plain_conv(m) or isinstance(m, BatchNorm)}
    with contextlib.ExitStack() as stack:
        for name, layer in layers.items():
            stack.callback(layer.register_forward_hook(record(name)).remove)
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        tensors = {**dict(network.named_parameters()), **dict(network.named_buffers())}
        image = torch.zeros_like(image, device=device, requires_grad=True)
        outputs = functional_call(network, {name: tensor.to(device) for name, tensor in tensors.items()}, (image,))

    users = count_users(outputs)
    once = {name: called[0] for name, called in calls.items() if len(called) == 1}
    convs = {id(call.output): name for name, call in once.items() if isinstance(layers[name], nn.Conv2d)}
    pairs = []
    for name, call in once.items():
        conv = convs.get(id(call.input))
        if conv and isinstance(layers[name], BatchNorm) and users[once[conv].node] == 1:
            pairs.append((conv, name))
    stems = [name for name in convs.values() if once[name].input is image]
    is_only_taker = stems and sum(n for node, n in users.items() if getattr(node, "variable", None) is image) == 1
    return Folding(pairs, stems[0] if is_only_taker else None)


class Call(NamedTuple):
    """One call of a layer."""

    input: torch.Tensor
    output: torch.Tensor
    node: Any


def is_plain_conv(module: nn.Module) -> bool:
    """Whether a module is a convolution by its weight as it is, not by a standardised one as in a NFNet."""
    from timm.layers import Conv2dSame

    return isinstance(module, nn.Conv2d) and type(module).forward in {
        cls.forward for cls in (nn.Conv2d, SameConv2d, Conv2dSame)
    }


def count_users(outputs: Iterable[torch.Tensor]) -> Counter:
    """Return how many operations take what each node of the autograd graph gives; an output counts as one."""
    users = Counter(output.grad_fn for output in outputs)
    waiting, seen = list(users), set(users)
    while waiting:
        for node, _ in waiting.pop().next_functions:
            users[node] += 1
            if node is not None and node not in seen:
                seen.add(node)
                waiting.append(node)
    return users


def fold_batch_norm(network: nn.Module, conv_name: str, norm_name: str) -> None:
    """Let a convolution do what the BatchNorm behind it does, in place; of a BatchNorm of timm the activation stays."""
    conv, norm = network.get_submodule(conv_name), network.get_submodule(norm_name)
    conv.weight, conv.bias = nn.utils.fuse_conv_bn_weights(
        conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    )
    remove_batch_norm(network, norm_name)


def remove_batch_norm(network: nn.Module, name: str) -> None:
    """Replace a BatchNorm by nothing, or by the activation that it holds."""
    norm = network.get_submodule(name)
    rest = [part for part in (getattr(norm, "drop", None), getattr(norm, "act", None)) if part is not None]
    rest = [part for part in rest if not isinstance(part, nn.Identity)]
    parent, _, leaf = name.rpartition(".")
    setattr(network.get_submodule(parent), leaf, rest[0] if len(rest) == 1 else nn.Sequential(*rest))


def gate_in_place(network: nn.Module) -> None:
    """Let the squeeze-and-excitation of timm's EfficientNets write over its input, which nothing else reads."""
    from timm.models._efficientnet_blocks import SqueezeExcite

    for module in network.modules():
        if type(module) is SqueezeExcite:
            module.__class__ = SqueezeExciteInPlace


class SqueezeExciteInPlace(nn.Module):
    """timm's SqueezeExcite, without a second copy of its large input."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scale the channels of (N, C, H, W)."""
        gate = self.conv_expand(self.act1(self.conv_reduce(x.mean((2, 3), keepdim=True))))
        # ReLU needs what it gave for its gradient, which an export or a prediction does not ask for.
        return x * self.gate(gate) if x.requires_grad else x.mul_(self.gate(gate))
