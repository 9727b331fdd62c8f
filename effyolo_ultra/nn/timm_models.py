"""What timm says of a model, asked before it is built: its name, its weights, its feature maps, the sizes it takes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

import torch

from effyolo_ultra.errors import nearest
from effyolo_ultra.nn.pretrained import is_path


def check_timm_name(name: str) -> str:
    """Return `name` if timm has such a model, with such a tag."""
    import timm

    if not isinstance(name, str):
        raise TypeError(f"a timm model is named by a string, not {name!r}")
    if not re.fullmatch(r"\w+(\.\w+)?", name) or not timm.is_model(name):
        raise ValueError(f"timm {timm.__version__} has no model {name!r}.{nearest(name, timm.list_models())}")
    arch, _, tag = name.partition(".")
    if tag and tag not in (*(tags := weight_tags(arch)), "untrained"):
        allowed = f"has the tags {', '.join(tags)}" if tags else "has no tags: there are no weights for it"
        raise ValueError(f"{arch} in timm {timm.__version__} {allowed}; not {tag!r}.{nearest(tag, tags)}")
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
    if is_path(pretrained):
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


def with_tag(model_name: str) -> str:
    """Return the name of a timm model with the tag of its weights, the default one where it has none."""
    import timm

    tag = timm.get_pretrained_cfg(model_name).tag
    return f"{model_name.partition('.')[0]}.{tag}" if tag else model_name


@cache
def any_size(model_name: str, levels: tuple[int, ...]) -> dict[str, bool]:
    """Return the arguments that let a timm model take images of any size, for those made for one size.

    Raises:
        ValueError: If the model takes images of some sizes only, or its feature maps have not the size of their level.
    """
    import timm

    if is_efficientnet(model_name):
        return {}
    cfg = timm.get_pretrained_cfg(model_name)
    one_size = cfg is not None and cfg.fixed_input_size
    made_for = cfg.input_size[1] if cfg is not None else 224
    unit = 2 ** max(5, *levels)
    # Larger than the model is made for, not square, and odd multiples, since some models round to even ones.
    size_hw = tuple((made_for // unit // 2 * 2 + odd) * unit for odd in (3, 5))
    expected = [tuple(size // 2**k for size in size_hw) for k in levels]
    problem = f"takes images of {made_for} x {made_for} pixels only" if one_size else ""
    for arguments in ({}, {"strict_img_size": False}, {"dynamic_img_size": True}) if one_size else ({},):
        try:
            try:
                sizes = map_sizes(model_name, levels, size_hw, "meta", arguments)
            except NotImplementedError:  # of an operation that the meta device does not have
                sizes = None
            if one_size or sizes is None:  # the meta device does not notice a table of positions read beyond its end
                sizes = map_sizes(model_name, levels, size_hw, "cpu", arguments)
        except Exception as error:  # a model that does not know the argument, or does not take the size
            problem = problem or f"takes no image of {size_hw[1]} x {size_hw[0]} pixels ({error!r})"
            continue
        if sizes == expected:
            return arguments
        problem = f"gives levels of (height, width) {sizes} for an image of {size_hw}, not {expected}, as a pyramid has"
    raise ValueError(f"{model_name} {problem}. Name another model.")


def is_efficientnet(model_name: str) -> bool:
    """Whether a model is of timm's class EfficientNet, of which all is known without building it a second time.

    It takes images of any size and gives feature maps with strides 2, 4, 8, 16 and 32.
    """
    import timm

    return timm.models.model_entrypoint(model_name.partition(".")[0]).__module__ == "timm.models.efficientnet"


def map_sizes(
    model_name: str, levels: tuple[int, ...], size_hw: tuple[int, ...], device: str, arguments: Mapping[str, bool]
) -> list[tuple[int, ...]]:
    """Return height and width of the levels that a timm model gives for an image."""
    import timm

    with torch.device(device), torch.no_grad(), torch.random.fork_rng(devices=[]):
        indices = stage_indices(model_name, levels)
        body = timm.create_model(model_name, features_only=True, out_indices=indices, **arguments).eval()
        pyramid = body(torch.zeros(1, 3, *size_hw))
    nhwc = getattr(body, "output_fmt", "NCHW") == "NHWC"
    return [tuple(x.shape[1:3] if nhwc else x.shape[2:]) for x in pyramid]


@cache
def stage_indices(model_name: str, levels: tuple[int, ...]) -> tuple[int, ...]:
    """Return the index of each level among the feature maps of a timm model: the last one with stride 2^k."""
    if is_efficientnet(model_name) and set(levels) <= {1, 2, 3, 4, 5}:  # build_body checks it
        return tuple(level - 1 for level in levels)
    index = {stage["reduction"]: i for i, stage in enumerate(feature_maps(model_name))}
    missing = [level for level in levels if 2**level not in index]
    if missing:
        wanted = ", ".join(f"P{k} (stride {2**k})" for k in missing)
        given = [level for level in levels if level not in missing]
        raise ValueError(
            f"{model_name} has no level {wanted}; its feature maps have the strides {', '.join(map(str, index))}."
            f" {f'Ask for {{levels: {given}}}, or name' if given else 'Name'} another model."
        )
    return tuple(index[2**level] for level in levels)


def feature_maps(model_name: str) -> list[dict[str, Any]]:
    """Return what timm states of the feature maps of a model, finest first."""
    import timm

    for device in ("meta", "cpu"):  # without memory, where timm can build the model so
        try:
            with torch.device(device), torch.random.fork_rng(devices=[]):
                return timm.create_model(model_name, features_only=True).feature_info.info
        except Exception as error:
            problem = error
    raise ValueError(
        f"timm {timm.__version__} gives no feature maps of {model_name} ({problem}). Name another model."
    ) from problem
