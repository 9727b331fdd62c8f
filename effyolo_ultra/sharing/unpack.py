"""A shared variant as a checkpoint of Ultralytics: built from its YAML, with its tensors. No pickle is read."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from effyolo_ultra._output import check_free, write_checkpoint
from effyolo_ultra._plugins import VARIABLE
from effyolo_ultra.errors import SharingError
from effyolo_ultra.nn.pretrained import Pretrained
from effyolo_ultra.sharing import build, tensors
from effyolo_ultra.sharing.contents import CARD, METADATA, MODEL, WEIGHTS, about, read
from effyolo_ultra.sharing.metadata import Metadata, from_json
from effyolo_ultra.user_modules import USER_MODULES


def unpack(variant: str | os.PathLike[str], output: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
    """Write the checkpoint of a shared variant, for `yolo predict`, `val`, `train` and `export`.

    Args:
        variant: The zip or the folder.
        output: The checkpoint to write, a .pt file.
        overwrite: Whether to replace a file that is there.

    Returns:
        The path of the checkpoint.

    Raises:
        SharingError: If it is no shared variant, damaged or changed, or does not fit together;
            the message names the file.
        ModelYAMLError: If a row of its model YAML is wrong.
        FileNotFoundError: If there is no such zip or folder.
        FileExistsError: If the output is there and `overwrite` is not set.
    """
    output = check_output(output, overwrite)
    files = read(Path(variant))
    with about(variant):
        network, metadata = network_of(files, Path(variant).stem)
    save(network, metadata, output, overwrite)
    return output


def check_output(output: str | os.PathLike[str], overwrite: bool) -> Path:
    """Refuse a path that is no checkpoint's, or in use."""
    path = Path(output)
    if path.suffix != ".pt":
        raise SharingError(f"a checkpoint ends in .pt, not '{path.name}'")
    check_free(path, overwrite)
    return path


def network_of(files: Mapping[str, bytes], title: str = "a shared variant") -> tuple[nn.Module, Metadata]:
    """Return the network of a variant, and what is known of it.

    Args:
        files: Its files by name.
        title: What to say that the weights are from, where the variant does not say it.
    """
    from effyolo_ultra._ultralytics import register

    register()
    metadata = from_json(files[METADATA])
    check_files(files, metadata.files)
    check_modules(metadata.modules)
    document = build.from_yaml(files[MODEL])
    if document["nc"] != len(metadata.names):
        raise SharingError(f"{METADATA} has {len(metadata.names)} names, but {MODEL} nc: {document['nc']}")
    given = tensors.from_bytes(files[WEIGHTS])
    tensors.check(build.plan(document, metadata.task), given)  # before any memory is taken for a network
    network = build.build(document)
    tensors.put(network, given)
    if [float(s) for s in network.stride] != [float(s) for s in metadata.stride]:
        raise SharingError(f"{METADATA}: 'stride' is {metadata.stride}, but the network has {network.stride.tolist()}")
    describe(network, metadata, title)
    return network, metadata


def check_files(files: Mapping[str, bytes], expected: Mapping[str, str]) -> None:
    """Refuse files that are missing, added or changed; the model card may be edited."""
    of_hash = files.keys() - {METADATA, CARD}
    for name in sorted(expected.keys() - of_hash | {MODEL, WEIGHTS} - expected.keys()):
        raise SharingError(f"{name} is missing" if name not in files else f"{METADATA} has no SHA-256 of {name}")
    for name in sorted(of_hash - expected.keys()):
        raise SharingError(f"{name} is there, but {METADATA} does not know it")
    for name, digest in expected.items():
        if hashlib.sha256(files[name]).hexdigest() != digest:
            raise SharingError(f"{name} was changed or damaged since it was packed: its SHA-256 is another one")


def check_modules(modules: Mapping[str, str]) -> None:
    """Refuse a variant with modules of users that are not registered here."""
    missing = [f"{name} ({cls})" for name, cls in modules.items() if name not in USER_MODULES]
    if missing:
        raise SharingError(
            f"it needs modules whose code is not in it: {', '.join(missing[:10])}. Get that from who made the variant,"
            f" and name its file in {VARIABLE} (docs/own_modules.md)."
        )


def describe(network: nn.Module, metadata: Metadata, title: str) -> None:
    """Give a network what is known of it, as a training does."""
    network.names, network.task, network.nc = metadata.names, metadata.task, len(metadata.names)
    network.args = metadata.train_args
    if metadata.task == "pose":
        network.kpt_shape = network.yaml["kpt_shape"]
        network.kpt_names, network.kpt_oks_sigmas = metadata.kpt_names, metadata.kpt_oks_sigmas
    for name, module in network.named_modules():
        if isinstance(module, Pretrained):
            # Never empty: a training would fetch what the row of a stranger asks for.
            module.weights_from = metadata.weights_from.get(name) or title


def save(network: nn.Module, metadata: Metadata, output: Path, overwrite: bool) -> None:
    """Write a checkpoint like the one that a training leaves."""
    checkpoint: dict[str, Any] = {
        "date": metadata.date,
        "version": metadata.versions.get("ultralytics", ""),
        "license": metadata.license,
        "docs": "https://docs.ultralytics.com",
        "epoch": -1,
        "best_fitness": None,
        "model": network,
        "ema": None,
        "updates": None,
        "optimizer": None,
        "scaler": None,
        "train_args": metadata.train_args,  # Ultralytics fills in its defaults; here they would be claims
        "train_metrics": metadata.metrics,
    }
    write_checkpoint(lambda buffer: torch.save(checkpoint, buffer), output, overwrite)
