"""A trained network as a variant to share: a zip or a folder."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import importlib.metadata
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from effyolo_ultra import __version__
from effyolo_ultra._dry_run import tensors as tensors_in
from effyolo_ultra._open import check_runs, check_whole, is_for_int8, refusing, student
from effyolo_ultra._output import check_free, replacing
from effyolo_ultra.checking.passes import OF_HEAD, OF_TASK, silence
from effyolo_ultra.document import ModelDocument, image_channels
from effyolo_ultra.errors import EffYoloError, SharingError, WeightsError
from effyolo_ultra.nn.backbone_state import BackboneState
from effyolo_ultra.nn.fusion import FusionWeights
from effyolo_ultra.nn.pretrained import STARTED_FROM, Pretrained
from effyolo_ultra.sharing import build, tensors
from effyolo_ultra.sharing.card import card, picture
from effyolo_ultra.sharing.contents import (
    CARD,
    LICENSE,
    LIMITS,
    METADATA,
    MODEL,
    PICTURE,
    WEIGHTS,
    check_size,
    write_folder,
    write_zip,
)
from effyolo_ultra.sharing.metadata import Metadata, is_text, shareable_args, shareable_metrics
from effyolo_ultra.sharing.unpack import network_of
from effyolo_ultra.user_modules import USER_MODULES

AGPL = "AGPL-3.0"  # the licence of Ultralytics, whose networks and training code a variant is made of


def pack(model: str | os.PathLike[str], output: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
    """Pack a trained network as a variant that others can unpack without trusting whoever made it.

    Args:
        model: A checkpoint of Ultralytics, such as best.pt.
        output: The zip to write, or a folder.
        overwrite: Whether to replace a zip that is there, or the folder of a variant.

    Returns:
        The path of the zip or folder.

    Raises:
        UnknownNameError: If there is no such checkpoint.
        WeightsError: If the file holds no network of Ultralytics.
        SharingError: If the network cannot be shared, with the reason.
        FileExistsError: If the output is there and `overwrite` is not set.
    """
    is_folder = os.fspath(output).endswith(("/", os.sep)) or Path(output).is_dir()
    output = Path(output)
    if not is_folder and output.suffix.lower() not in ("", ".zip"):
        raise SharingError(f"a shared variant is a .zip file or a folder, not '{output.name}'; a folder ends in '/'")
    check_free(output, overwrite, LIMITS)
    files = pack_files(Path(model), output.stem if output.suffix.lower() == ".zip" else output.name)
    for name, content in files.items():
        check_size(output, name, len(content))
    with replacing(output, overwrite, LIMITS) as path:
        (write_zip if output.suffix.lower() == ".zip" and not is_folder else write_folder)(files, path)
    return output


def pack_files(model: Path, title: str) -> dict[str, bytes]:
    """Return the files of the variant of a checkpoint.

    Args:
        model: The checkpoint.
        title: What to call the variant in its model card.
    """
    checkpoint, network = load(model)
    check_network(network, checkpoint, model)
    document = network.yaml
    try:
        written = build.to_yaml(document)
    except SharingError as error:
        raise SharingError(f"{model}: {error}") from error
    task = build.task_of(document)
    args = checkpoint.get("train_args") or getattr(network, "args", None) or {}
    args = shareable_args(args if isinstance(args, Mapping) else vars(args), task)
    files = {MODEL: written, WEIGHTS: tensors.to_bytes(network), LICENSE: license_text()}
    if drawn := picture(network, title):
        files[PICTURE] = drawn
    metadata = Metadata(
        task=task,
        names={int(i): str(name) for i, name in dict(network.names).items()},
        stride=[float(s) for s in network.stride],
        train_args=args,
        metrics=shareable_metrics(checkpoint.get("train_metrics")),
        date=str(checkpoint.get("date") or ""),
        license=AGPL,
        versions=versions(checkpoint),
        weights_from=weights_from(network),
        modules=own_modules(document),
        files={name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
        **keypoints(network),
    )
    files[METADATA] = metadata.to_json()
    check_same(network, files, model)
    files[CARD] = card(network, metadata, title, PICTURE in files).encode()
    return files


def load(model: Path) -> tuple[dict[str, Any], nn.Module]:
    """Return a checkpoint and its network, with every tensor in the precision that it is kept in."""
    from ultralytics.nn.tasks import torch_safe_load

    check_whole(model)
    with silence(), refusing(model):
        checkpoint, _ = torch_safe_load(str(model))
    network = student(checkpoint.get("ema") or checkpoint.get("model"))
    if not isinstance(network, nn.Module) or not isinstance(getattr(network, "yaml", None), dict):
        raise WeightsError(f"'{model}' holds no network of Ultralytics that was built from a model YAML")
    with refusing(model):
        check_runs(copy.deepcopy(network).float().eval(), model)
    return checkpoint, network.eval()


def check_network(network: nn.Module, checkpoint: Mapping[str, Any], model: Path) -> None:
    """Refuse what cannot be built again from a YAML and tensors."""
    kinds = {*OF_TASK.values(), OF_HEAD["RTDETRDecoder"]}
    modules = list(network.modules())
    if type(network).__name__ not in kinds:
        raise SharingError(f"{model} is a {type(network).__name__}; only {', '.join(sorted(kinds))} can be shared")
    if checkpoint.get("modelopt") or is_for_int8(network):
        raise SharingError(f"{model} is trained for int8 (quantize=8), which a model YAML does not describe")
    folded = any(isinstance(m, BackboneState) and m.folded for m in modules)
    folded = folded or any(isinstance(m, FusionWeights) and m.constants for m in modules)
    if folded or network.is_fused():
        raise SharingError(f"{model} is fused for inference: share the checkpoint that a training has written")


def license_text() -> bytes:
    """Return the text of the licence, which Ultralytics is installed with."""
    for package in ("effyolo-ultra", "ultralytics"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):  # in a checkout that is only importable
            for file in importlib.metadata.files(package) or ():
                if file.name == "LICENSE":
                    return Path(str(file.locate())).read_bytes()
    raise SharingError("the installed ultralytics has no LICENSE file; install it from PyPI")


def versions(checkpoint: Mapping[str, Any]) -> dict[str, str]:
    """Return the version of Ultralytics that trained, and of what packs."""
    import timm
    import ultralytics

    trained = checkpoint.get("version")
    return {
        "effyolo_ultra": __version__,
        "timm": timm.__version__,
        "torch": torch.__version__,
        "ultralytics": trained if is_text(trained) else ultralytics.__version__,
    }


def weights_from(network: nn.Module) -> dict[str, str]:
    """Return what backbones and necks started from, without folders of this machine."""
    given = {
        name: STARTED_FROM.join(re.split(r"[/\\]", source)[-1] for source in module.weights_from.split(STARTED_FROM))
        for name, module in network.named_modules()
        if isinstance(module, Pretrained) and module.weights_from
    }
    return {name: text for name, text in given.items() if is_text(text)}


def own_modules(document: dict[str, Any]) -> dict[str, str]:
    """Return the classes of users' modules that the rows of a model YAML name, by that name."""
    given = {name: USER_MODULES[name].cls for name in ModelDocument(document).names if name in USER_MODULES}
    return {name: f"{cls.__module__}.{cls.__qualname__}" for name, cls in given.items()}


def keypoints(network: nn.Module) -> dict[str, Any]:
    """Return what a network for poses knows of its keypoints."""
    names, sigmas = (getattr(network, key, None) for key in ("kpt_names", "kpt_oks_sigmas"))
    return {
        "kpt_names": {int(i): list(map(str, n)) for i, n in names.items()} if isinstance(names, dict) else None,
        "kpt_oks_sigmas": None if sigmas is None else [float(sigma) for sigma in sigmas],
    }


def check_same(network: nn.Module, files: dict[str, bytes], model: Path) -> None:
    """Unpack what was packed, and refuse it unless it computes exactly the same."""
    try:
        again, _ = network_of(files)
    except EffYoloError as error:
        raise SharingError(f"{model} cannot be shared, because it would not be unpacked: {error}") from error
    own = tensors.tensors_of(network)
    for name, tensor in tensors.tensors_of(again).items():
        if tensor.dtype != own[name].dtype or not torch.equal(tensor, own[name]):
            raise SharingError(f"{model} cannot be shared: {name} is another tensor once unpacked")
    side = max(64, 2 * int(max(network.stride)))
    channels = image_channels(network.yaml)
    image = torch.rand(1, channels, side, side + side // 2, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before, after = (list(tensors_in(copy.deepcopy(net).float().eval()(image))) for net in (network, again))
    if len(before) != len(after) or not all(torch.equal(a, b) for a, b in zip(before, after)):
        raise SharingError(f"{model} cannot be shared: built again from its own YAML, it does not compute the same")
