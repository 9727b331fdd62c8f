"""A timm model as the body of a backbone: built, cut behind its last level, and asked for its stages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from effyolo_ultra.nn.same_padding import use_same_conv2d
from effyolo_ultra.nn.timm_models import any_size, stage_indices


def build_body(
    model_name: str, levels: tuple[int, ...], in_channels: int, drop_path_rate: float = 0, **overrides: Any
) -> nn.Module:
    """Build a timm model that gives the feature maps of `levels` as a list, without what comes behind them.

    Args:
        model_name: See check_timm_name.
        levels: Level k has stride 2^k.
        in_channels: Channels of the image.
        drop_path_rate: Stochastic depth, 0 for models that have none.
        overrides: More arguments of `timm.create_model`.
    """
    import timm

    indices = stage_indices(model_name, levels)
    arguments = {"in_chans": in_channels, **any_size(model_name, levels), **overrides}
    if drop_path_rate:
        arguments["drop_path_rate"] = drop_path_rate
    try:
        body = timm.create_model(model_name, features_only=True, out_indices=indices, **arguments)
    except TypeError as error:
        if "drop_path_rate" in str(error):
            raise ValueError(f"{model_name} has no drop_path_rate in timm: leave it out") from None
        raise
    if body.feature_info.reduction() != [2**level for level in levels]:
        raise ValueError(f"{model_name} gives strides {body.feature_info.reduction()} for the levels {list(levels)}")
    if hasattr(body, "_stage_out_idx"):  # timm keeps the stages of an EfficientNet behind the last one asked for
        body.blocks = body.blocks[: max(body._stage_out_idx)]
    use_same_conv2d(body)
    keep_batch_norm(body)
    return body


def stages(model_name: str, body: nn.Module) -> dict[str, int]:
    """Return the stage of each parameter of `body`, by timm's own grouping: 0 is the stem, 1 the first stage."""
    import timm

    with torch.device("meta"):
        model = timm.create_model(model_name)
    groups = timm.models.group_parameters(model, model.group_matcher(coarse=True), reverse=True)
    # timm flattens some models for features_only, and then writes stages.0 as stages_0.
    stage = {name.replace(".", "_"): group for name, group in groups.items()}
    return {name: stage[name.replace(".", "_")] for name, _ in body.named_parameters()}


def modules_up_to(model_name: str, body: nn.Module, last: int) -> list[str]:
    """Return the names of the largest modules of `body` that hold nothing but the stem and the stages up to `last`.

    Raises:
        ValueError: If the body has fewer stages, or timm does not say which they are.
    """
    try:
        stage = stages(model_name, body)
    except (AttributeError, KeyError) as error:
        raise ValueError(f"timm does not tell the stages of {model_name} apart: frozen_stages must be -1") from error
    if last > max(stage.values()):
        raise ValueError(
            f"frozen_stages must be -1 (none), 0 (the stem) or the number of stages, up to {max(stage.values())} for"
            f" the levels in use of {model_name}, not {last}"
        )

    def walk(prefix: str, module: nn.Module) -> list[str]:
        held = [stage[prefix + name] <= last for name, _ in module.named_parameters()]
        if held and all(held) and prefix:
            return [prefix[:-1]]
        return [found for name, child in module.named_children() for found in walk(f"{prefix}{name}.", child)]

    return walk("", body)


def normalization(pretrained_cfg: Mapping[str, Any], channels: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and standard deviation of a model's training images, each (1, channels, 1, 1), for input in 0..1."""
    constants = torch.tensor([pretrained_cfg["mean"], pretrained_cfg["std"]])
    if channels == 1:
        constants = constants.mean(1, keepdim=True)
    constants = constants[:, torch.arange(channels) % constants.shape[1]]
    mean, std = constants.view(2, 1, channels, 1, 1)
    return mean.clone(), std.clone()


def normalization_of(model_name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation that timm states for a model's weights, for RGB in 0..1."""
    import timm

    cfg = timm.get_pretrained_cfg(model_name)
    return tuple(cfg.mean), tuple(cfg.std)


class BackboneBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm with the eps and momentum of its model; those of plain `nn.BatchNorm2d` Ultralytics sets to its own."""


def keep_batch_norm(body: nn.Module) -> None:
    """Keep eps and momentum of a timm model's BatchNorm as they are, in place."""
    for module in body.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = BackboneBatchNorm2d


def batch_norms(body: nn.Module) -> list[nn.Module]:
    """Return every BatchNorm of a model, synchronised ones too."""
    return [module for module in body.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
