"""Taking one level out of a feature pyramid."""

from __future__ import annotations

import torch
from torch import nn

from effyolo_ultra.nn._checks import check_int
from effyolo_ultra.row import Built, Feature, Pyramid, Row


class PyramidLevel(nn.Module):
    """One level Pk of a pyramid, as a tensor.

    In a YAML, `[0, 1, PyramidLevel, [4]]` is P4 (stride 16) of layer 0.

    Args:
        level: The level k; its stride is 2^k.
        levels: The levels that the pyramid has, finest first.

    Raises:
        TypeError: If the level is no whole number.
        ValueError: If the pyramid has no such level.
    """

    def __init__(self, level: int, levels: list[int]):
        super().__init__()
        if check_int("level", level) not in levels:
            raise ValueError(
                f"the pyramid has the levels {list(levels)}, but no level {level!r}; a BiFPN makes coarser ones,"
                f" {{levels: [...]}}"
            )
        self.position = list(levels).index(level)

    def forward(self, pyramid: list[torch.Tensor]) -> torch.Tensor:
        """Return the level's tensor (N, C, H / 2^k, W / 2^k)."""
        return pyramid[self.position]

    @classmethod
    def from_row(cls, row: Row) -> Built:
        """Build from `[layer, 1, PyramidLevel, [level]]`."""
        row.no_repeats()
        pyramid = row.one_input()
        if not isinstance(pyramid, Pyramid):
            row.error(f"layer {row.sources[0]} gives one tensor, not a pyramid: take it directly.")
        arguments = row.arguments(cls, "level")
        if "level" not in arguments:
            row.error(f"PyramidLevel takes the args [level], one of {list(pyramid)}.")
        level = arguments["level"]
        module = cls(level, list(pyramid))
        return Built(module, Feature(pyramid[level], 2**level), row.all_args)
