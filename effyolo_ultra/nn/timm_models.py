"""What timm says of its models: names, weights, feature maps, stages."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
from torch import nn

from effyolo_ultra.errors import nearest
from effyolo_ultra.nn.same_padding import use_same_conv2d


def check_timm_name(name: str) -> str:
    """Return `name` if timm has such a model, with such a tag."""
    import timm

    if not isinstance(name, str):
        raise TypeError(f"a timm model is named by a string, not {name!r}")
    if not re.fullmatch(r"\w+(\.\w+)?", name) or not timm.is_model(name):
        raise ValueError(f"timm {timm.__version__} has no model {name!r}.{nearest(name, timm.list_models())}")
    return name


def check_pretrained(name: str, pretrained: bool | str) -> tuple[str, bool | str]:
    """Return the timm name, with its tag where `pretrained` is one, and what is left of `pretrained`.

    Raises:
        ValueError: If it is neither true, false, 'auto', a tag of the model's weights, nor the path of a file.
    """
    if isinstance(pretrained, bool) or pretrained == "auto":
        return name, pretrained
    arch, _, tag = name.partition(".")
    allowed = "auto, true, false, the path of a file with weights"
    if not isinstance(pretrained, str):
        raise TypeError(f"pretrained must be {allowed}, or a tag of {arch}'s weights in timm, not {pretrained!r}")
    if "://" in pretrained:
        raise ValueError(f"pretrained takes no address, not {pretrained!r}: download the file, and give its path")
    if not re.fullmatch(r"\w+", pretrained):
        return name, pretrained
    tags = weight_tags(arch)
    if pretrained not in tags:
        listed = f", or a tag of {arch}'s weights in timm: {', '.join(tags)}" if tags else f"; timm has none for {arch}"
        hint = nearest(pretrained, ["auto", "true", "false", *tags])
        raise ValueError(f"pretrained must be {allowed}{listed}; not {pretrained!r}.{hint}")
    if tag not in ("", pretrained):
        raise ValueError(f"{name} and pretrained: {pretrained} name two different weights; leave out one of them")
    return f"{arch}.{pretrained}", True


def weight_tags(arch: str) -> list[str]:
    """Return the tags of the pretrained weights that timm has for an architecture."""
    import timm

    return [name.partition(".")[2] for name in timm.list_models(f"{arch}.*", pretrained=True)]


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

    arguments = {**any_size(model_name), **({"drop_path_rate": drop_path_rate} if drop_path_rate else {}), **overrides}
    indices = stage_indices(model_name, levels)
    try:
        body = timm.create_model(model_name, features_only=True, out_indices=indices, in_chans=in_channels, **arguments)
    except TypeError as error:
        if "drop_path_rate" in str(error):
            raise ValueError(f"{model_name} has no drop_path_rate in timm: leave it out") from None
        raise
    if hasattr(body, "_stage_out_idx"):  # timm keeps the stages of an EfficientNet behind the last one asked for
        body.blocks = body.blocks[: max(body._stage_out_idx)]
    use_same_conv2d(body)
    keep_batch_norm(body)
    return body


@cache
def any_size(model_name: str) -> dict[str, bool]:
    """Return the arguments that let a timm model take images of any size, for those made for one size.

    Raises:
        ValueError: If the model takes images of one size only.
    """
    import timm

    cfg = timm.get_pretrained_cfg(model_name)
    if cfg is None or not cfg.fixed_input_size:
        return {}
    for arguments in ({}, {"strict_img_size": False}, {"dynamic_img_size": True}):
        try:
            with torch.device("meta"), torch.no_grad():
                timm.create_model(model_name, features_only=True, **arguments).eval()(torch.empty(1, 3, 256, 320))
            return arguments
        except Exception:  # a model that does not know the argument, or does not take the size
            continue
    raise ValueError(f"{model_name} takes images of {cfg.input_size[1]} x {cfg.input_size[2]} pixels only")


@cache
def stage_indices(model_name: str, levels: tuple[int, ...]) -> tuple[int, ...]:
    """Return the index of each level among the feature maps of a timm model: the last one with stride 2^k."""
    import timm

    with torch.device("meta"):  # without memory: it is only asked for its feature_info
        info = timm.create_model(model_name, features_only=True).feature_info.info
    index = {stage["reduction"]: i for i, stage in enumerate(info)}
    missing = [level for level in levels if 2**level not in index]
    if missing:
        wanted = ", ".join(f"P{k} (stride {2**k})" for k in missing)
        raise ValueError(
            f"{model_name} has no level {wanted}; its feature maps have the strides {', '.join(map(str, index))}"
        )
    return tuple(index[2**level] for level in levels)


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
