"""Structured pruning of a trained network: `prune(...)`, or the command `effyolo prune best.pt`.

Of each convolution the outputs with the smallest weights are taken away, with everything that belongs to them in other
layers. torch-pruning finds out what that is, and takes it away (https://arxiv.org/abs/2301.12900). The new network is
described by the model YAML of the old one and one more entry, `pruned`, with the channels of each layer. So Ultralytics
builds it again from the YAML in a checkpoint, as it does when it trains.
"""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from effyolo_ultra._cut import MULTIPLE, cut_channels, outputs
from effyolo_ultra._open import is_for_int8, of_class, open_checkpoint, refusing
from effyolo_ultra._output import check_free, write_checkpoint
from effyolo_ultra.document import image_channels
from effyolo_ultra.errors import MissingPackageError, PruningError
from effyolo_ultra.network import describe
from effyolo_ultra.nn._checks import check_number
from effyolo_ultra.nn.backbone import TimmBackbone
from effyolo_ultra.nn.backbone_state import shapes
from effyolo_ultra.nn.bifpn import BiFPN
from effyolo_ultra.nn.channels import changed_channels
from effyolo_ultra.nn.pretrained import Pretrained


class Pruned(NamedTuple):
    """What became of a network: the checkpoint written, and parameters and GFLOPs (at 640) before and after."""

    path: Path
    parameters: tuple[int, int]
    gflops: tuple[float, float]

    def __str__(self) -> str:
        (p0, p1), (g0, g1) = self.parameters, self.gflops
        return f"{self.path}: {p0:,} parameters -> {p1:,}, {g0:.1f} GFLOPs -> {g1:.1f}"


def prune(
    model: str | os.PathLike[str], output: str | os.PathLike[str], ratio: float = 0.3, *, overwrite: bool = False
) -> Pruned:
    """Take the weakest channels out of a trained network, and save what is left as a checkpoint to fine-tune.

    Args:
        model: A checkpoint of Ultralytics, such as best.pt.
        output: The checkpoint to write, a .pt file.
        ratio: Share of the channels to take out of each layer; what is left is rounded to a multiple of 8.
        overwrite: Whether to replace a file that is there.

    Returns:
        The file, and the size of the network before and after.

    Raises:
        MissingPackageError: If torch-pruning is not installed.
        UnknownNameError: If there is no such checkpoint.
        WeightsError: If the file holds no network.
        PruningError: If the network cannot be pruned, or nothing can be taken away.
        FileExistsError: If the output is there and `overwrite` is not set.
    """
    check_number("ratio", ratio, above=0, below=1)
    output = check_output(output, overwrite)
    check_installed()
    yolo = open_checkpoint(Path(model))
    network = yolo.model
    with refusing(Path(model)):  # where its own YAML does not build
        pruned = prune_network(network, ratio, str(model))
    before, after = describe(network), describe(pruned)
    report = Pruned(output, (before.parameters, after.parameters), (before.gflops, after.gflops))
    yolo.model = pruned
    # What is of the training of the other network: its metrics, and what it could go on with.
    stale = ("best_fitness", "optimizer", "scaler", "updates", "train_metrics", "train_results", "stopper")
    yolo.ckpt = {**{k: v for k, v in yolo.ckpt.items() if k not in stale}, "epoch": -1, "optimizer": None}
    write_checkpoint(yolo.save, output, overwrite)
    return report


def check_output(output: str | os.PathLike[str], overwrite: bool) -> Path:
    """Refuse a path that is no checkpoint's, or in use."""
    path = Path(output)
    if path.suffix != ".pt":
        raise PruningError(f"a checkpoint ends in .pt, not '{path.name}'")
    check_free(path, overwrite)
    return path


def check_installed() -> None:
    """Say how to install torch-pruning where it is missing."""
    try:
        import torch_pruning  # noqa: F401
    except ImportError as error:
        raise MissingPackageError(
            "pruning needs the package torch-pruning: pip install torch-pruning, or this package with its extra"
            f" 'prune' ({error})"
        ) from error


def prune_network(network: nn.Module, ratio: float, name: str) -> nn.Module:
    """Return a pruned copy of a network, built from its own model YAML.

    Args:
        network: A network of Ultralytics, not fused.
        ratio: Share of the channels to take out of each layer.
        name: What to call the network in messages.
    """
    check_network(network, name)
    document = {key: value for key, value in network.yaml.items() if key != "pruned"}
    whole, image = build(network, document), example(network)
    cut = copy.deepcopy(network).float()
    cut_channels(cut, ratio, image)
    try:
        channels = changed_channels(cut.model, shapes(whole.model))
        document["pruned"] = {**channels, **given_channels(cut, image)}
        pruned = build(network, document)
        pruned.load_state_dict(cut.state_dict())
        same = all(agree(a, b) for a, b in zip(outputs(cut, image), outputs(pruned, image)))
    except (ValueError, RuntimeError) as error:
        raise PruningError(f"{name} has layers that cannot be pruned: {error}") from error
    if not same:
        raise PruningError(f"{name} has layers that cannot be pruned: built again, it does not compute the same")
    if count(pruned) == count(network):
        raise PruningError(f"{name} has no layer of which {ratio:g} can be taken away in multiples of {MULTIPLE}")
    for attribute in ("names", "args", "task"):
        if hasattr(network, attribute):
            setattr(pruned, attribute, getattr(network, attribute))
    for module, old in zip(of_class(pruned, Pretrained), of_class(network, Pretrained)):
        module.weights_from, module.given_by = old.weights_from, old.given_by
    return pruned.eval()


def check_network(network: nn.Module, name: str) -> None:
    """Refuse what has no head of kind Detect, as for segmentation too, or is not as it was trained."""
    from ultralytics.nn.modules import Detect

    if not isinstance(getattr(network, "yaml", None), dict) or not isinstance(network.model[-1], Detect):
        raise PruningError(f"{name} is a {type(network).__name__}; only networks with a head of kind Detect are pruned")
    if network.is_fused():
        raise PruningError(f"{name} is fused for inference: prune the checkpoint that a training has written")
    if is_for_int8(network):
        raise PruningError(f"{name} is trained for int8 (quantize=8): prune first, then train for int8")
    for part, module in network.model.named_modules():
        if hasattr(module, "num_heads"):  # torch-pruning does not come to an end on the attention of YOLO11
            raise PruningError(f"{name} has attention ({type(module).__name__}, layer {part}), which cannot be pruned")


def build(network: nn.Module, document: dict[str, Any]) -> nn.Module:
    """Build a network of the same kind from a model YAML, without touching the random state."""
    channels = image_channels(document)
    with torch.random.fork_rng(devices=[]):
        return type(network)(copy.deepcopy(document), ch=channels, nc=document["nc"], verbose=False).eval()


def example(network: nn.Module) -> torch.Tensor:
    """Return an image, not square, of a size that the network takes."""
    side = 2 * int(max(network.stride))
    channels = image_channels(network.yaml)
    return torch.rand(1, channels, side, 2 * side, generator=torch.Generator().manual_seed(0))


def agree(given: torch.Tensor, expected: torch.Tensor) -> bool:
    """Whether two tensors are the same, but for the constants of a backbone: a checkpoint holds them in float16."""
    return bool((given - expected).abs().max() <= 1e-2 * expected.abs().max())


def given_channels(network: nn.Module, image: torch.Tensor) -> dict[str, list[int]]:
    """Return the channels of the levels that backbones and BiFPNs give, {name: channels}; one number for a BiFPN."""
    given = {}

    def note(name: str, pyramid: list[torch.Tensor]) -> None:
        given[name] = [level.shape[1] for level in pyramid]

    hooks = []
    for name, module in network.model.named_modules():
        if isinstance(module, (TimmBackbone, BiFPN)):
            hooks.append(module.register_forward_hook(lambda _, __, pyramid, name=name: note(name, pyramid)))
    with torch.no_grad():
        network(image)
    for hook in hooks:
        hook.remove()
    return {
        name: channels[:1] if isinstance(network.model.get_submodule(name), BiFPN) else channels
        for name, channels in given.items()
    }


def count(network: nn.Module) -> int:
    """Return the number of parameters of a network."""
    return sum(parameter.numel() for parameter in network.parameters())
