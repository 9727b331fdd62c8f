"""Weights under timm's names: loaded by timm itself, which knows how each model's files differ from its modules."""

from __future__ import annotations

import contextlib
import logging
import re
import threading
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import torch

from effyolo_ultra.errors import WeightsError
from effyolo_ultra.nn.timm_body import build_body

if TYPE_CHECKING:
    from effyolo_ultra.nn.backbone import TimmBackbone

LOADING = threading.Lock()  # held by a thread that has changed the level of timm's logger
MARK = 2**20  # above any number that an untrained model holds, and exact in float32 with a tensor's index added


def through_timm(
    backbone: TimmBackbone, tensors: Mapping[str, torch.Tensor]
) -> tuple[dict[str, torch.Tensor], list[str], list[str]]:
    """Return the state of a backbone with tensors of timm's names, what is missing in them, and what is not used.

    A second model is loaded with tensors that are filled with their index, so that what comes from where can be read
    off its own tensors.

    Raises:
        WeightsError: If they are of another model, or for images of other channels.
    """
    import timm

    channels = image_channels(backbone, tensors)
    check_channels(channels, backbone.in_channels)
    marks = {
        name: torch.full_like(tensor, MARK + i, dtype=torch.float32 if tensor.is_floating_point() else torch.int64)
        for i, (name, tensor) in enumerate(tensors.items())
    }
    marked = loaded_by_timm(backbone, marks, channels, channels)
    seen = {
        round(mark)
        for tensor in marked.values()
        for mark in tensor.flatten().unique_consecutive().tolist()
        if mark >= MARK
    }
    missing = [
        name for name, tensor in marked.items() if tensor.max() < MARK and not name.endswith("num_batches_tracked")
    ]
    unused = [name for i, name in enumerate(tensors) if MARK + i not in seen]
    with torch.device("meta"):
        whole = timm.create_model(backbone.model_name).state_dict()
    strange = [name for name in unused if name not in whole]
    wrong = []
    if 10 * len(strange) > len(tensors):
        wrong.append(f"{len(strange)} of its tensors are not of this model ({shortened(strange)})")
    if 10 * len(missing) > len(marked):
        wrong.append(f"{len(missing)} of the model's {len(marked)} are missing ({shortened(missing)})")
    if wrong:
        raise WeightsError(", and ".join(wrong))
    return loaded_by_timm(backbone, tensors, channels, backbone.in_channels), missing, unused


def image_channels(backbone: TimmBackbone, tensors: Mapping[str, torch.Tensor]) -> int:
    """Return the channels of the images that the tensors are for: 3 unless the first convolution says otherwise."""
    first = backbone.body.pretrained_cfg.get("first_conv") or ""
    stem = tensors.get(f"{first if isinstance(first, str) else first[0]}.weight")
    return stem.shape[1] if stem is not None and stem.ndim == 4 else 3


def check_channels(given: int, wanted: int) -> None:
    """Raise a WeightsError unless a first convolution can be adapted to the channels of the images."""
    if given not in (3, wanted):
        raise WeightsError(f"it is for images of {given} channels, which cannot be adapted to {wanted}")


def loaded_by_timm(
    backbone: TimmBackbone, tensors: Mapping[str, torch.Tensor], channels: int, in_channels: int
) -> dict[str, torch.Tensor]:
    """Return the state of a new model for `in_channels` into which timm has loaded tensors for `channels`."""
    size = backbone.body.pretrained_cfg["input_size"][1:]
    overlay = {"state_dict": dict(tensors), "input_size": (channels, *size)}
    try:
        with torch.random.fork_rng(devices=[]), no_warnings_of_timm():
            body = build_body(
                backbone.model_name, backbone.levels, in_channels, pretrained=True, pretrained_cfg_overlay=overlay
            )
    except Exception as error:  # what timm does to the tensors of a model before loading, others may not bear
        wrong = re.findall(r"size mismatch for (\S+): .*?torch\.Size\((.*?)\).*?torch\.Size\((.*?)\)", str(error))
        first = f"timm cannot read it as this model ({type(error).__name__}: {str(error).splitlines()[0]})"
        raise WeightsError("; ".join(f"{n} is {a}, not {b}" for n, a, b in wrong[:3]) or first) from error
    return body.state_dict()


@contextlib.contextmanager
def no_warnings_of_timm() -> Iterator[None]:
    """Keep timm from warning of names that the report lists."""
    logger = logging.getLogger("timm")
    with LOADING:
        level = logger.level
        logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            logger.setLevel(level)


def shortened(names: list[str]) -> str:
    """Return the first names of a list, and how many there are."""
    return f"{', '.join(names[:4])}{f', ... ({len(names)} in all)' if len(names) > 4 else ''}"
