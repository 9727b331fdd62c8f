"""What becomes of a backbone after it was built: folded for inference, pruned, copied, and pickled with all that.

A pickle holds the arguments, what was changed and the weights, not timm's own classes, which change from one timm to
the next. Who loads it builds the backbone again, changes it in the same way and gives it the weights.
"""

from __future__ import annotations

import copy
import copyreg
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from effyolo_ultra.nn.channels import changed_channels, set_channels
from effyolo_ultra.nn.folding import fold_batch_norm, foldable, gate_in_place, remove_batch_norm
from effyolo_ultra.nn.pretrained import Pretrained


class BackboneState(Pretrained):
    """A backbone with `body`, `mean` and `std` that can be fused, pruned and pickled.

    Attributes:
        built: The shape of each tensor in its state, as it was built or fused.
        folded: Since `fuse`, the convolutions that do the work of a BatchNorm as well, each with that norm's name.
        pruned: The channels of the layers that had others than as built when it was fused.
    """

    body: nn.Module
    mean: torch.Tensor
    std: torch.Tensor | None  # None where the first convolution divides by it
    built: dict[str, tuple[int, ...]]
    folded: Sequence[tuple[str, str]] = ()
    pruned: Mapping[str, Sequence[int | None]] = {}

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments that it was built with."""
        raise NotImplementedError

    def fuse(self) -> None:
        """Fold the BatchNorms behind convolutions, and the division by `std`, into the convolutions, for inference."""
        if self.folded:
            return
        built, training = self.built, self.training
        try:
            self.pruned, built = changed_channels(self, built), None
        except ValueError:  # with parts of other makers, which a pickle has to hold as they are
            pass
        self.eval()
        side = 2 ** (max(self.levels) + 2)
        pairs, stem = foldable(self.body, self.mean.new_empty(1, self.in_channels, side, side))
        for conv, norm in pairs:
            fold_batch_norm(self.body, conv, norm)
        if stem and self.std is not None:
            conv = self.body.get_submodule(stem)
            conv.weight = nn.Parameter(conv.weight / self.std, conv.weight.requires_grad)
            self.std = None
        gate_in_place(self.body)
        self.folded, self.built = pairs, built or shapes(self)
        self.train(training)

    def _fuse_like(self, folded: Sequence[tuple[str, str]], divides: bool) -> None:
        """Take the form of a fused backbone, for whose weights it is meant."""
        self.std = self.std if divides else None
        for conv, norm in folded:
            conv = self.body.get_submodule(conv)
            conv.bias = nn.Parameter(conv.weight.new_empty(conv.out_channels))
            remove_batch_norm(self.body, norm)
        if folded:
            gate_in_place(self.body)

    def __reduce__(self):
        try:
            pruned = {**self.pruned, **changed_channels(self, self.built)}
        except ValueError:  # with parts of other makers: only a plain pickle brings that back
            return copyreg.__newobj__, (type(self),), self.__dict__
        arguments = self.arguments
        own = {k: v for k, v in self.__dict__.items() if not k.startswith("_") and k not in {*arguments, "built"}}
        state = {
            "attributes": own,
            "pruned": pruned,
            "divides": self.std is not None,
            "weights": self.state_dict(),
            "dtype": self.mean.dtype,
            "fixed": [name for name, parameter in self.named_parameters() if not parameter.requires_grad],
            "eval": [name for name, module in self.named_modules() if not module.training],
        }
        return rebuild, (type(self), arguments), state

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        if "weights" not in state:  # of a copy, or a plain pickle
            return super().__setstate__(state)
        own = state["attributes"]
        set_channels(self, state.get("pruned", {}))
        self._fuse_like(own.get("folded", ()), state.get("divides", True))
        if "folded" in own:
            self.built = shapes(self)
        # For the buffers that are not in the state dict: built on the CPU, while the file may be loaded onto a GPU.
        self.to(next(iter(state["weights"].values())).device, state["dtype"])
        self.load_state_dict(state["weights"], assign=True)
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(name not in state["fixed"])
        for name, module in self.named_modules():
            module.training = name not in state["eval"]
        self.__dict__.update(own)

    def __deepcopy__(self, memo: dict) -> BackboneState:
        clone = self.__class__.__new__(self.__class__)
        memo[id(self)] = clone
        clone.__setstate__(copy.deepcopy(self.__dict__, memo))
        return clone


def rebuild(cls: type[BackboneState], arguments: Mapping[str, Any]) -> BackboneState:
    """Build a pickled backbone again, without touching the random state of the process that loads it."""
    with torch.random.fork_rng(devices=[]):
        return cls(**arguments)


def shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor in a module's state."""
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
