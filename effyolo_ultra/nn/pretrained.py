"""What the modules have in common whose row can ask for weights to start from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

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
        is_fresh: Whether nothing has been loaded into it yet.
    """

    pretrained: bool | str = False
    title = "module"
    weights_from = "random weights"
    is_fresh = True

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

    # Ultralytics loads a checkpoint into a network built from its YAML, which then needs no other weights.
    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        super()._load_from_state_dict(state_dict, prefix, *args)
        if all(f"{prefix}{name}" in state_dict for name in self.state_dict()):
            self.is_fresh = False
