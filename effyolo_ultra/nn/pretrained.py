"""What the modules have in common whose row can ask for weights to start from."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from torch import nn

if TYPE_CHECKING:
    from effyolo_ultra.weights.load import Report

STARTED_FROM = ", which started from "  # between a file and what had given it the weights


def is_path(pretrained: Any) -> bool:
    """Whether `pretrained` is the path of a file: with something in it that no name or tag has."""
    return isinstance(pretrained, str) and "://" not in pretrained and re.search(r"\W", pretrained) is not None


class Pretrained(nn.Module):
    """A module with the option `pretrained`.

    Building never loads weights: Ultralytics' trainer does it when a training starts from a YAML, and `load_pretrained`
    at any time.

    Attributes:
        pretrained: The weights to start from, as the row asks for them.
        title: What the log calls the module.
        weights_from: Where its weights are from, "" as long as they are those that it was built with.
        given_by: The checkpoint that has given them, until a training begins with them.
    """

    pretrained: bool | str = False
    title = "module"
    weights_from = ""
    given_by = ""

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
        from effyolo_ultra.weights.load import load_asked

        report = load_asked(self, folder)
        self.weights_from = report.source
        return report
