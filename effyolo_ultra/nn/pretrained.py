"""What the modules have in common whose row can ask for weights to start from."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from effyolo_ultra.weights.load import Report


class Pretrained(nn.Module):
    """A module with the option `pretrained`.

    Building never loads weights: Ultralytics' trainer does it when a training starts from a YAML, and `load_pretrained`
    at any time.

    Attributes:
        pretrained: The weights to start from, as the row asks for them.
        title: What the log calls the module.
        weights_from: Where its weights are from.
        loaded: Whether it has the weights that it asks for, or those of a checkpoint; a buffer (), torch.bool.
    """

    pretrained: bool | str = False
    title = "module"
    weights_from = "random weights"

    def __init__(self):
        super().__init__()
        # In the state dict: Ultralytics loads checkpoints, and networks just built, into a network from its YAML.
        self.register_buffer("loaded", torch.tensor(False))

    @property
    def wanted_weights(self) -> str:
        """Whose weights fit, in words."""
        raise NotImplementedError

    def load_pretrained(self, folder: str = "") -> Report:
        """Load the weights that `pretrained` names.

        Args:
            folder: Where to look for a relative path that the working directory does not have.

        Returns:
            Where the weights are from, what was loaded, what is missing and what was not used.

        Raises:
            WeightsError: If they do not exist, do not fit or, unless `pretrained` is 'auto', cannot be fetched.
        """
        from effyolo_ultra.weights.load import load_pretrained

        return load_pretrained(self, folder)

    # Of a network of another size, Ultralytics loads only what fits, and the flag would be among it.
    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        before = self.loaded.clone()
        super()._load_from_state_dict(state_dict, prefix, *args)
        if not all(f"{prefix}{name}" in state_dict for name in self.state_dict()):
            self.loaded.copy_(before)

    # A pickle is a checkpoint, a copy is not.
    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.loaded.fill_(True)

    def __deepcopy__(self, memo: dict) -> Pretrained:
        clone = self.__class__.__new__(self.__class__)
        memo[id(self)] = clone
        nn.Module.__setstate__(clone, copy.deepcopy(self.__dict__, memo))
        return clone
