"""Whether the tensors of a checkpoint fit a model, and if not, what each of the two has."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping

from torch import Tensor

from effyolo_ultra.errors import WeightsError


def fit(state_dict: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the part of a timm state dict that a model needs.

    Args:
        state_dict: Tensors under timm's names.
        target: State dict of the model, on any device. It may lack stages at the end, not blocks of a stage.

    Returns:
        The tensors of `state_dict` under the keys of `target`, in their order.

    Raises:
        WeightsError: If a tensor is missing, has another shape, or has no place in a stage that the model has. The
            image channels of the stem are not compared.
    """
    stem = next(iter(target))
    stages = {_stage(key) for key in target}
    for key in dict.fromkeys([*target, *state_dict]):
        if key not in target and _stage(key) not in stages:
            continue
        given, wanted = (tuple(d[key].shape) if key in d else None for d in (state_dict, target))
        if key == stem and given and wanted:
            given, wanted = (shape[:1] + shape[2:] for shape in (given, wanted))
        if given != wanted:
            given, wanted = ("missing" if shape is None else shape for shape in (given, wanted))
            raise WeightsError(
                f"the checkpoint does not fit the model: it holds {_describe(state_dict)}, but expected"
                f" {_describe(target)}; {key} is {given} in the checkpoint, {wanted} in the model"
            )
    return {key: state_dict[key] for key in target}


def _stage(key: str) -> str:
    return re.match(r"blocks\.\d+|[^.]*", key)[0]


def _describe(state_dict: Mapping[str, Tensor]) -> str:
    """Say how deep a model is and how wide it begins."""
    blocks = {match[1]: match[2] for key in state_dict if (match := re.match(r"(blocks\.(\d+)\.\d+)\.", key))}
    depths = Counter(blocks.values())
    stem = next((len(value) for value in state_dict.values() if value.ndim == 4), 0)
    inside = f"{len(blocks)} blocks ({'-'.join(map(str, depths.values()))})" if blocks else f"{len(state_dict)} tensors"
    return f"{inside} behind a stem of {stem} channels"
