"""Pretrained weights: which are on this machine, and whether others could be fetched."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from effyolo_ultra.doctor.finding import Finding
from effyolo_ultra.errors import WeightsError
from effyolo_ultra.weights.hub import ask, cached
from effyolo_ultra.zoo_records import read_index


def look(online: bool) -> Iterator[Finding]:
    """Yield the findings."""
    import torch
    from huggingface_hub import constants

    yield cache("cache of the hub", Path(constants.HF_HUB_CACHE), "models--timm--*")
    yield cache("cache of torch", Path(torch.hub.get_dir(), "checkpoints"), "*")
    backbones = list(dict.fromkeys(record["backbone"] for record in read_index()))
    yield of_zoo([name for name in backbones if not has_weights(name)], len(backbones), constants.HF_HUB_OFFLINE)
    if online:
        yield hub(backbones[0])


def cache(name: str, folder: Path, pattern: str) -> Finding:
    """Return the finding on a folder of weights."""
    if not folder.is_dir():
        return Finding("weights", name, "ok", f"{folder} is not there yet")
    files = [file for entry in folder.glob(pattern) for file in (entry.rglob("*") if entry.is_dir() else [entry])]
    size = sum(file.stat().st_size for file in files if file.is_file() and not file.is_symlink())
    return Finding("weights", name, "ok", f"{folder}, {size / 1e6:.0f} MB of timm's weights")


def has_weights(backbone: str) -> bool:
    """Whether the pretrained weights of a backbone are on this machine, or nobody has any."""
    try:
        return cached(backbone) is not None
    except WeightsError:
        return True


def of_zoo(missing: list[str], backbones: int, offline: bool) -> Finding:
    """Return the finding on the backbones of the zoo."""
    text = f"{backbones - len(missing)} of {backbones} on this machine"
    if not missing:
        return Finding("weights", "backbones of the zoo", "ok", text)
    text += f"; not here: {', '.join(missing)}"
    if offline:
        advice = "unset HF_HUB_OFFLINE to let a training download them; it would start from random weights"
        return Finding("weights", "backbones of the zoo", "warning", text, advice)
    return Finding("weights", "backbones of the zoo", "note", f"{text}; a training downloads what it needs")


def hub(backbone: str) -> Finding:
    """Return the finding on the server of the weights."""
    try:
        return Finding("weights", "hub", "ok", ask(backbone))
    except WeightsError as error:
        reason = "; ".join(line.strip() for line in str(error).splitlines()[1:3])
        advice = "connect this machine, or copy the weights to the cache; a training would start from random weights"
        return Finding("weights", "hub", "warning", f"not reachable: {reason}", advice)
