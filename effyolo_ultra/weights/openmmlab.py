"""Backbones of OpenMMLab checkpoints under timm's key names.

Source: `EfficientNet`, `EfficientNetV2` and `TIMMBackbone` of mmpretrain 1.2.0, whose keys MMClassification,
MMDetection and MMYOLO share.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from torch import Tensor

from effyolo_ultra.errors import WeightsError

_SE = {"se.conv1.conv": "se.conv_reduce", "se.conv2.conv": "se.conv_expand"}
# The modules of each kind of block in the order of the forward pass, OpenMMLab's to timm's; any kind may have an SE.
_KINDS: tuple[dict[str, str], ...] = (
    {
        "expand_conv.conv": "conv_pw",
        "expand_conv.bn": "bn1",
        "depthwise_conv.conv": "conv_dw",
        "depthwise_conv.bn": "bn2",
        "linear_conv.conv": "conv_pwl",
        "linear_conv.bn": "bn3",
    },
    {
        "depthwise_conv.conv": "conv_dw",
        "depthwise_conv.bn": "bn1",
        "linear_conv.conv": "conv_pw",
        "linear_conv.bn": "bn2",
    },
    {"conv1.conv": "conv_exp", "conv1.bn": "bn1", "conv2.conv": "conv_pwl", "conv2.bn": "bn2"},
    {"conv": "conv", "bn": "bn1"},
)
_STEM = {"conv": "conv_stem", "bn": "bn1"}
_HEAD = {"conv": "conv_head", "bn": "bn2"}


def is_openmmlab(state_dict: Mapping[str, Tensor]) -> bool:
    """Return whether these are the keys of an OpenMMLab EfficientNet or TIMMBackbone, alone or in a larger model."""
    keys = _backbone(state_dict)
    return "layers.0.conv.weight" in keys or any(key.startswith("timm_model.") for key in keys)


def to_timm(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the backbone of an OpenMMLab checkpoint under the names of timm's model of the same size.

    MMClassification up to 0.25 and MMDetection put the stride of an EdgeTPU block (es, em, el) on its second
    convolution, mmpretrain and timm on the first. The tensors are the same, so that cannot be seen here.

    Args:
        state_dict: State dict of the OpenMMLab model, or of its backbone alone; whatever is not backbone is left out.

    Raises:
        WeightsError: If a tensor of the backbone belongs to no block that timm has too.
    """
    backbone = _backbone(state_dict)
    wrapped = {key[len("timm_model.") :]: v for key, v in backbone.items() if key.startswith("timm_model.")}
    return wrapped or _rename(backbone)


def _backbone(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    prefix = "backbone."
    inner = {key[len(prefix) :]: value for key, value in state_dict.items() if key.startswith(prefix)}
    return inner or {key: value for key, value in state_dict.items() if key.startswith(("layers.", "timm_model."))}


def _rename(backbone: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of an EfficientNet under timm's names."""
    names = {f"layers.0.{ours}": theirs for ours, theirs in _STEM.items()}
    layers = {int(match[1]) for key in backbone if (match := re.match(r"layers\.(\d+)\.", key))}
    names |= {f"layers.{max(layers)}.{ours}": theirs for ours, theirs in _HEAD.items() if max(layers) > 0}
    for prefix, timm_prefix, kind in _blocks(backbone):
        names |= {f"{prefix}.{ours}": f"{timm_prefix}.{theirs}" for ours, theirs in {**kind, **_SE}.items()}
    renamed = {}
    for key, value in backbone.items():
        module, _, leaf = key.rpartition(".")
        if module not in names:
            raise WeightsError(f"{key} belongs to no OpenMMLab EfficientNet: it is in no block that timm has too")
        renamed[f"{names[module]}.{leaf}"] = value
    return renamed


def _blocks(backbone: Mapping[str, Tensor]) -> Iterator[tuple[str, str, dict[str, str]]]:
    """Yield the prefix of each block, its prefix in timm, and the names of its modules, first block first."""
    blocks: dict[tuple[int, int], set[str]] = {}
    for key in backbone:
        if match := re.fullmatch(r"layers\.(\d+)\.(\d+)\.(.+)\.weight", key):
            blocks.setdefault((int(match[1]), int(match[2])), set()).add(match[3])
    stage, index, previous = -1, 0, None
    for (layer, position), modules in sorted(blocks.items()):
        prefix = f"layers.{layer}.{position}"
        kind = next((kind for kind in _KINDS if modules - set(_SE) == set(kind)), None)
        if kind is None:
            raise WeightsError(
                f"{prefix} is no block of an OpenMMLab EfficientNet: it has {', '.join(sorted(modules))}"
            )
        # A layer ends where the stride does, so it may hold two stages of timm; those differ in their channels.
        last_conv = [module for module in kind if module.endswith("conv")][-1]
        current = layer, len(backbone[f"{prefix}.{last_conv}.weight"])
        stage, index = (stage, index + 1) if current == previous else (stage + 1, 0)
        previous = current
        yield prefix, f"blocks.{stage}.{index}", kind
