"""Backbones built by timm, as a feature pyramid for a YOLO."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, ClassVar

import torch

from effyolo_ultra.errors import nearest
from effyolo_ultra.nn._checks import check_bool, check_int, check_levels, check_number
from effyolo_ultra.nn.backbone_state import BackboneState, shapes
from effyolo_ultra.nn.initial import small_weights
from effyolo_ultra.nn.timm_body import batch_norms, build_body, modules_up_to, normalization
from effyolo_ultra.nn.timm_models import check_pretrained, check_timm_name
from effyolo_ultra.row import Built, Pyramid, Row


class TimmBackbone(BackboneState):
    """Any timm model that has `features_only`, as a backbone that gives a feature pyramid.

    The input is an image in 0..1, as Ultralytics feeds it; it is normalised here with the mean and standard deviation
    that timm states for the model's weights. In a YAML, `[-1, 1, TimmBackbone, [convnext_tiny, {levels: [3, 4, 5]}]]`.

    Building never fetches weights, see Pretrained.

    Args:
        model: Name of a timm model, with or without the tag of its weights.
        in_channels: Channels of the image; the constants for RGB are repeated, or averaged for one channel.
        levels: Pyramid levels to give, finest first; level k has stride 2^k.
        pretrained: The weights to start from: those of the tag (True; 'auto' goes on without them, with a warning,
            where they cannot be had), another tag of the model in timm, the path of a file, or none (False).
        drop_path_rate: Stochastic depth of the last block, rising linearly from 0 at the first one.
        frozen_stages: -1 freezes nothing, 0 the stem, k the stem and the first k stages, statistics of BatchNorm
            included.
        norm_eval: Keep every BatchNorm in eval mode while training, with the statistics that it has.
        sync_bn: Share the batch statistics between the GPUs of a training.
        bn_eps: Replaces the eps of every BatchNorm.
        bn_momentum: Replaces the momentum of every BatchNorm, in torch's sense: 0.01 is 0.99 in TensorFlow's.
        grad_checkpointing: Compute activations again in the backward pass instead of keeping them.
        lr_mult: Learning rate of the backbone, as a multiple of the network's.

    Raises:
        ValueError: If timm has no such model, the model no such level, or an option does not apply to it.
    """

    title = "backbone"
    held = False  # whether all of it is frozen for now, in a training that begins so

    def __init__(
        self,
        model: str,
        in_channels: int = 3,
        *,
        levels: Sequence[int] = (3, 4, 5),
        pretrained: bool | str = "auto",
        drop_path_rate: float = 0.0,
        frozen_stages: int = -1,
        norm_eval: bool = False,
        sync_bn: bool = False,
        bn_eps: float | None = None,
        bn_momentum: float | None = None,
        grad_checkpointing: bool = False,
        lr_mult: float = 1.0,
    ):
        super().__init__()
        self.model_name, self.pretrained = check_pretrained(check_timm_name(self.timm_name(model)), pretrained)
        self.in_channels = check_int("in_channels", in_channels)
        self.levels = check_levels("levels", levels)
        self.drop_path_rate = check_number("drop_path_rate", drop_path_rate, least=0, below=1)
        self.frozen_stages = check_int("frozen_stages", frozen_stages, least=-1)
        self.norm_eval = check_bool("norm_eval", norm_eval)
        self.sync_bn = check_bool("sync_bn", sync_bn)
        self.bn_eps = bn_eps if bn_eps is None else check_number("bn_eps", bn_eps, above=0, below=1)
        self.bn_momentum = bn_momentum
        if bn_momentum is not None:
            check_number("bn_momentum", bn_momentum, least=0, below=1)
        self.grad_checkpointing = check_bool("grad_checkpointing", grad_checkpointing)
        self.lr_mult = check_number("lr_mult", lr_mult, above=0, below=1000)

        self.body = build_body(self.model_name, self.levels, self.in_channels, self.drop_path_rate)
        self.initialize()
        self.out_channels = tuple(self.body.feature_info.channels())
        mean, std = normalization(self.body.pretrained_cfg, in_channels)
        # Constants of the model: not in the state dict, so that weights of another one do not bring theirs along.
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)
        self._apply_options()
        self.built = shapes(self)

    @staticmethod
    def timm_name(model: str) -> str:
        """Return the timm name of `model` as it is written in a YAML."""
        return model

    def initialize(self) -> None:
        """Give it random weights: those of timm."""

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments that it was built with."""
        options = [p.name for p in inspect.signature(TimmBackbone).parameters.values() if p.kind is p.KEYWORD_ONLY]
        return {"model": self.model_name, **{name: getattr(self, name) for name in ("in_channels", *options)}}

    def _apply_options(self) -> None:
        norms = batch_norms(self.body)
        for option in ("norm_eval", "sync_bn", "bn_eps", "bn_momentum"):
            if getattr(self, option) not in (None, False) and not norms:
                raise ValueError(f"{self.model_name} has no BatchNorm: leave out {option}")
        for norm in norms:
            norm.eps = norm.eps if self.bn_eps is None else self.bn_eps
            norm.momentum = norm.momentum if self.bn_momentum is None else self.bn_momentum
        if self.grad_checkpointing:
            try:
                self.body.set_grad_checkpointing(True)
            except (AttributeError, AssertionError) as error:
                raise ValueError(f"{self.model_name} has no gradient checkpointing in timm") from error
            for child in self.body.children():
                if getattr(child, "inplace", False):
                    child.inplace = False  # timm before 1.0.31 checkpoints a stem's ReLU, which then spoils its input
        frozen = modules_up_to(self.model_name, self.body, self.frozen_stages) if self.frozen_stages >= 0 else []
        self.frozen = tuple(f"body.{name}" for name in frozen)
        for name in self.frozen:
            self.get_submodule(name).requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> TimmBackbone:
        """Set training mode, but for what is frozen or keeps its statistics."""
        super().train(mode and not self.held)
        for name in self.frozen:
            self.get_submodule(name).eval()
        if self.norm_eval:
            for norm in batch_norms(self.body):
                norm.eval()
        return self

    @property
    def wanted_weights(self) -> str:
        """The timm model."""
        return self.model_name

    @property
    def is_fixed(self) -> bool:
        """Whether parts of it do not learn."""
        return bool(self.frozen) or self.norm_eval

    def use_sync_batch_norm(self) -> None:
        """Share batch statistics between processes, in place; activations that timm fuses into a norm are kept."""
        from timm.layers import convert_sync_batchnorm

        self.body = convert_sync_batchnorm(self.body)

    def set_out_channels(self, channels: Sequence[int]) -> None:
        """Note the channels of the levels, after pruning."""
        self.out_channels = tuple(channels)

    @property
    def gives_nhwc(self) -> bool:
        """Whether the model itself gives (N, H, W, C), as Swin does."""
        return getattr(self.body, "output_fmt", "NCHW") == "NHWC"

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Return the pyramid of an image (N, C, H, W) in 0..1: a tensor (N, C_k, H / 2^k, W / 2^k) for each level."""
        image = image - self.mean
        pyramid = self.body(image if self.std is None else image / self.std)
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


class EfficientNetBackbone(TimmBackbone):
    """An EfficientNet as a backbone that gives a feature pyramid (https://arxiv.org/abs/1905.11946, 2104.00298).

    The variant names timm's `tf_` models, which follow the reference implementation. In a YAML,
    `[-1, 1, EfficientNetBackbone, [b3]]` or `[-1, 1, EfficientNetBackbone, [v2-s, {levels: [2, 3, 4, 5]}]]`.

    Args:
        model: b0 to b8, lite0 to lite4, v2-b0 to v2-b3, v2-s, v2-m, v2-l, v2-xl, or the full name of one in timm.
        in_channels: See TimmBackbone, as for the options.
    """

    variants: ClassVar[dict[str, str]] = {
        **{f"b{i}": f"tf_efficientnet_b{i}" for i in range(9)},
        **{f"lite{i}": f"tf_efficientnet_lite{i}" for i in range(5)},
        **{f"v2-{x}": f"tf_efficientnetv2_{x}" for x in ("b0", "b1", "b2", "b3", "s", "m", "l", "xl")},
    }

    def initialize(self) -> None:
        """Give it small random weights instead of timm's, which are those of the reference implementation."""
        small_weights(self.body)

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
