"""Taking the weakest channels out of a network, with what belongs to them in other layers, by torch-pruning."""

from __future__ import annotations

import torch
from torch import nn

from effyolo_ultra._dry_run import tensors
from effyolo_ultra._open import of_class
from effyolo_ultra.nn.fusion import FusionWeights
from effyolo_ultra.nn.light_head import SeparableConv

MULTIPLE = 8  # of channels that are left in a layer: what processors compute at a time


def cut_channels(network: nn.Module, ratio: float, image: torch.Tensor) -> None:
    """Take the weakest channels out of each layer of a network, in place."""
    import torch_pruning
    from torch_pruning.ops import OPTYPE

    learning = {name: parameter.requires_grad for name, parameter in network.named_parameters()}
    # The graph is traced through gradients. Fusion weights belong to feature maps, not to channels.
    network.requires_grad_(True)
    for weights in of_class(network, FusionWeights):
        weights.requires_grad_(False)
    graph = torch_pruning.DependencyGraph().build_dependency(network, image, forward_fn=outputs, verbose=False)
    importance = torch_pruning.importance.GroupMagnitudeImportance(p=2)
    # The last convolutions of the head: their channels are what the loss and the decoding expect.
    kept = [module for module in network.model[-1].modules() if is_output(module, network.model[-1])]
    # Halves of a split, heads of an attention and groups of a convolution must stay of one size.
    simple = (OPTYPE.CONV, OPTYPE.DEPTHWISE_CONV, OPTYPE.BN, OPTYPE.LINEAR, OPTYPE.CONCAT, OPTYPE.ELEMENTWISE)
    for group in graph.get_all_groups(ignored_layers=kept, root_module_types=[nn.Conv2d]):
        nodes = [dependency.target for dependency, _ in group]
        if any(node.type not in (*simple, OPTYPE.OUTPUT) or is_rigid(node.module) for node in nodes):
            continue
        channels = len(group[0].idxs)
        left = max(MULTIPLE, round(channels * (1 - ratio) / MULTIPLE) * MULTIPLE)
        if left < channels:
            weakest = importance(group).argsort()[: channels - left]
            group.prune(sorted(weakest.tolist()))
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(learning[name])


def is_output(module: nn.Module, head: nn.Module) -> bool:
    """Whether a convolution of a head stands outside the blocks of convolution, BatchNorm and activation."""
    from ultralytics.nn.modules import Conv

    blocks = {id(block.conv) for cls in (Conv, SeparableConv) for block in of_class(head, cls)}
    return isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)) and id(module) not in blocks


def is_rigid(module: nn.Module) -> bool:
    """Whether a convolution is transposed, or has groups and is not depthwise."""
    grouped = isinstance(module, nn.Conv2d) and 1 < module.groups and module.groups != module.in_channels
    return grouped or isinstance(module, nn.ConvTranspose2d)


def outputs(network: nn.Module, image: torch.Tensor) -> list[torch.Tensor]:
    """Return what the head of a network in eval mode predicts before it is decoded."""
    return list(tensors(network(image)[1]))
