"""Backbones built by timm, as a feature pyramid for a YOLO."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import nn

from effyolo_ultra.errors import nearest
from effyolo_ultra.nn._checks import check_int, check_levels, check_number
from effyolo_ultra.nn.same_padding import use_same_conv2d
from effyolo_ultra.nn.timm_models import any_size, check_timm_name, stage_indices
from effyolo_ultra.row import Built, Pyramid, Row


class TimmBackbone(nn.Module):
    """Any timm model that has `features_only`, as a backbone that gives a feature pyramid.

    The input is an image in 0..1, as Ultralytics feeds it; it is normalised here with the mean and standard deviation
    that timm states for the model. In a YAML, `[-1, 1, TimmBackbone, [convnext_tiny, {levels: [3, 4, 5]}]]`.

    Args:
        model: Name of a timm model, with or without tag.
        in_channels: Channels of the image; the constants for RGB are repeated, or averaged for one channel.
        levels: Pyramid levels to give, finest first; level k has stride 2^k.
        drop_path_rate: Stochastic depth of the last block, rising linearly from 0 at the first one.

    Raises:
        ValueError: If timm has no such model, or the model no such level.
    """

    def __init__(
        self, model: str, in_channels: int = 3, *, levels: Sequence[int] = (3, 4, 5), drop_path_rate: float = 0.0
    ):
        super().__init__()
        self.model_name = check_timm_name(self.timm_name(model))
        self.in_channels = check_int("in_channels", in_channels)
        self.levels = check_levels("levels", levels)
        self.options = {"drop_path_rate": check_number("drop_path_rate", drop_path_rate, least=0, below=1)}
        self.body = self._build_body()
        self.out_channels = tuple(self.body.feature_info.channels())
        mean, std = normalization(self.body.pretrained_cfg, in_channels)
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    @staticmethod
    def timm_name(model: str) -> str:
        """Return the timm name of `model` as it is written in a YAML."""
        return model

    def _build_body(self) -> nn.Module:
        import timm

        body = timm.create_model(
            self.model_name,
            features_only=True,
            out_indices=stage_indices(self.model_name, self.levels),
            in_chans=self.in_channels,
            **any_size(self.model_name, self.levels),
            **{name: value for name, value in self.options.items() if value},
        )
        if hasattr(body, "_stage_out_idx"):  # timm keeps the stages of an EfficientNet behind the last one asked for
            body.blocks = body.blocks[: max(body._stage_out_idx)]
        use_same_conv2d(body)
        keep_batch_norm(body)
        return body

    @property
    def gives_nhwc(self) -> bool:
        """Whether the model itself gives (N, H, W, C), as Swin does."""
        return getattr(self.body, "output_fmt", "NCHW") == "NHWC"

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Return the pyramid of an image (N, C, H, W) in 0..1: a tensor (N, C_k, H / 2^k, W / 2^k) for each level."""
        pyramid = self.body((image - self.mean) / self.std)
        return [x.permute(0, 3, 1, 2) for x in pyramid] if self.gives_nhwc else pyramid

    @classmethod
    def from_row(cls, row: Row) -> Built:
        """Build from `[-1, 1, TimmBackbone, [model, {options}]]`."""
        row.no_repeats()
        image = row.one_tensor()
        arguments = row.arguments(cls, "model")
        if "model" not in arguments:
            row.error(f"{row.module} takes the args [model, {{options}}], but the model is missing.")
        module = cls(in_channels=image.channels, **arguments)
        if image.stride not in (None, 1):
            row.error(
                f"'from' must be the image for {row.module}, but layer {row.sources[0]} has stride {image.stride}."
            )
        return Built(module, Pyramid(zip(module.levels, module.out_channels)), row.all_args)

    # A pickle holds the arguments and the weights, not timm's own classes, which change from one timm to the next.
    def __reduce__(self):
        arguments = {"model": self.model_name, "in_channels": self.in_channels, "levels": self.levels, **self.options}
        own = {k: v for k, v in self.__dict__.items() if not k.startswith("_") and k not in arguments}
        state = {
            "attributes": own,
            "weights": self.state_dict(),
            "fixed": [name for name, parameter in self.named_parameters() if not parameter.requires_grad],
            "eval": [name for name, module in self.named_modules() if not module.training],
        }
        return rebuild, (type(self), arguments), state

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        if "weights" not in state:  # from __deepcopy__
            return super().__setstate__(state)
        self.to(state["weights"]["mean"].dtype)  # for the buffers that are not in the state dict
        self.load_state_dict(state["weights"], assign=True)
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(name not in state["fixed"])
        for name, module in self.named_modules():
            module.training = name not in state["eval"]
        self.__dict__.update(state["attributes"])

    def __deepcopy__(self, memo: dict) -> TimmBackbone:
        clone = self.__class__.__new__(self.__class__)
        memo[id(self)] = clone
        clone.__setstate__(copy.deepcopy(self.__dict__, memo))
        return clone


class EfficientNetBackbone(TimmBackbone):
    """An EfficientNet as a backbone that gives a feature pyramid (https://arxiv.org/abs/1905.11946, 2104.00298).

    The variant names timm's `tf_` models, which follow the reference implementation. In a YAML,
    `[-1, 1, EfficientNetBackbone, [b3]]` or `[-1, 1, EfficientNetBackbone, [v2-s, {levels: [2, 3, 4, 5]}]]`.

    Args:
        model: b0 to b8, lite0 to lite4, v2-b0 to v2-b3, v2-s, v2-m, v2-l, v2-xl, or the full name of one in timm.
        in_channels: See TimmBackbone.
        levels: See TimmBackbone.
        drop_path_rate: See TimmBackbone.
    """

    variants: ClassVar[dict[str, str]] = {
        **{f"b{i}": f"tf_efficientnet_b{i}" for i in range(9)},
        **{f"lite{i}": f"tf_efficientnet_lite{i}" for i in range(5)},
        **{f"v2-{x}": f"tf_efficientnetv2_{x}" for x in ("b0", "b1", "b2", "b3", "s", "m", "l", "xl")},
    }

    @staticmethod
    def timm_name(model: str) -> str:
        """Return the timm name of an EfficientNet variant."""
        variants = EfficientNetBackbone.variants
        if isinstance(model, str) and "efficientnet" in model:
            return model
        if not isinstance(model, str) or model not in variants:
            raise ValueError(
                f"an EfficientNet is one of {', '.join(variants)}, or a full timm name, not {model!r}"
                f" (TimmBackbone takes other models).{nearest(str(model), variants)}"
            )
        return variants[model]


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


def rebuild(cls: type[TimmBackbone], arguments: Mapping[str, Any]) -> TimmBackbone:
    """Build a pickled backbone again, without touching the random state of the process that loads it."""
    with torch.random.fork_rng(devices=[]):
        return cls(**arguments)
