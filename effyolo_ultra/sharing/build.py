"""model.yaml: the network's own YAML, and building from it what a stranger wrote."""

from __future__ import annotations

import copy
import re
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

import torch
import yaml
from torch import nn

from effyolo_ultra._activation import parse_activation
from effyolo_ultra._dry_run import SIZE
from effyolo_ultra._limits import MAX_CHANNELS, too_many_layers, too_many_rows
from effyolo_ultra._values import nested
from effyolo_ultra.checking.passes import OF_HEAD, OF_TASK, build_network, silence
from effyolo_ultra.checking.rows import RowChecks, without_downloads
from effyolo_ultra.checking.source import LOADER, UnreadableFile, check_size
from effyolo_ultra.document import ModelDocument
from effyolo_ultra.errors import ModelYAMLError, SharingError
from effyolo_ultra.nn.light_head import WITH_TEXT, light_heads
from effyolo_ultra.registry import known_modules
from effyolo_ultra.sharing.contents import MODEL

MAX_VALUES = 2**26  # in one feature map of an image of SIZE x SIZE; the largest of the zoo has 3 million


def to_yaml(document: dict[str, Any]) -> bytes:
    """Return the YAML of a network, without paths of this machine."""
    document = nested(without_folder, without_downloads(document))
    document["channels"] = document.get("channels", document.pop("ch", 3))
    document["yaml_file"] = re.split(r"[/\\]", str(document.get("yaml_file") or MODEL))[-1]
    try:
        return yaml.safe_dump(
            document, sort_keys=False, default_flow_style=None, width=120, allow_unicode=True
        ).encode()
    except yaml.YAMLError as error:
        raise SharingError(f"the network was built from a dictionary that is no YAML: {error}") from error


def without_folder(value: Any) -> Any:
    """Return the last part of an absolute path, anything else as it is."""
    if isinstance(value, str):
        for kind in (PurePosixPath, PureWindowsPath):
            if kind(value).is_absolute() or value.startswith("~"):
                return kind(value).name
    return value


def from_yaml(content: bytes) -> dict[str, Any]:
    """Return what the YAML of a stranger says."""
    try:
        text = content.decode("utf-8")
        root = yaml.compose(text, Loader=LOADER)
        if root is not None:
            check_size(root)  # before anything is made of it: aliases expand
        document = yaml.load(text, Loader=LOADER)  # of yaml's SafeLoader, which makes no objects of classes
    except UnreadableFile as error:
        raise SharingError(f"{MODEL}: {error}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise SharingError(f"{MODEL} is no YAML: {error}") from error
    if not isinstance(document, dict):
        raise SharingError(f"{MODEL} must be a mapping with 'backbone' and 'head', not {type(document).__name__}")
    for key, most in (("nc", MAX_CHANNELS), ("channels", 1024)):
        if type(document.get(key)) is not int or not 1 <= document[key] <= most:
            raise SharingError(f"{MODEL}: {key!r} must be a number from 1 to {most}, not {document.get(key)!r}")
    return {**document, "yaml_file": str(document.get("yaml_file") or MODEL)}


def plan(document: dict[str, Any], task: str) -> nn.Module:
    """Return the network of a stranger's YAML without data: a form of each tensor, and none of its values.

    Raises:
        SharingError: If it describes no network, one of another task, or one that is larger than any in use.
        ModelYAMLError: If a row is wrong.
    """
    from ultralytics.nn import tasks

    check_rows(document, tasks)
    name = class_name(document, task)
    network = getattr(tasks, name).__new__(getattr(tasks, name))
    nn.Module.__init__(network)
    hooks = []
    try:
        with silence(), torch.device("meta"), torch.no_grad():
            network.model, network.save = tasks.parse_model(
                copy.deepcopy(document), document["channels"], verbose=False
            )
            hooks = [module.register_forward_hook(refuse_large_feature_maps) for module in network.modules()]
            network.train()
            network.model[-1].inplace = True
            network(torch.empty(2, document["channels"], SIZE, SIZE))
    except (ModelYAMLError, SharingError):
        raise
    except Exception as error:  # whatever the modules make of args that are none of theirs
        raise SharingError(f"{MODEL} describes no network: {type(error).__name__}: {error}") from error
    finally:
        for hook in hooks:  # the default activation is one module for all networks of the process
            hook.remove()
    return network


def build(document: dict[str, Any]) -> nn.Module:
    """Build the network of a YAML for which `plan` was made."""
    from ultralytics.nn import tasks

    with silence():
        return build_network(tasks, document, document["channels"], document["nc"]).eval()


def class_name(document: dict[str, Any], task: str) -> str:
    """Return the name of Ultralytics' class for a network."""
    head = document["head"][-1][2]
    if head.startswith(WITH_TEXT):
        raise SharingError(f"a network with the head {head} takes texts, and cannot be shared")
    found = task_of(document)
    if task not in OF_TASK or found != task:
        raise SharingError(f"the head {head} is for {found!r}, not for {task!r}")
    return OF_HEAD.get(head) or OF_TASK[task]


def task_of(document: dict[str, Any]) -> str | None:
    """Return the task of a network."""
    from ultralytics.nn import tasks

    head = document["head"][-1][2]
    return "detect" if head in OF_HEAD else tasks.guess_model_task(document)


def check_rows(document: dict[str, Any], tasks: Any) -> None:
    """Refuse rows that are wrong, too many or too large, and what Ultralytics would run as Python or download."""
    rows = ModelDocument(document)
    rows.check_parts()
    if message := too_many_rows(rows):
        raise SharingError(f"{MODEL}: {message}")
    checks = RowChecks(rows, tasks, known_modules(tasks), light_heads(tasks))
    for index in range(len(rows.written)):
        for error in checks.of(index):
            raise error
    rows.check_head()
    if message := too_many_layers(list(rows.rows())):
        raise SharingError(f"{MODEL}: {message}")
    if without_downloads(document) != nested(lambda value: value, document):
        raise SharingError(f"{MODEL}: a TorchVision row asks for weights to download; a shared network has its own")
    if document.get("activation"):
        try:
            parse_activation(document["activation"])
        except ValueError as error:
            raise SharingError(f"{MODEL}: {error}") from error


def refuse_large_feature_maps(module: nn.Module, _: Any, output: Any) -> None:
    """Refuse a network with a feature map that would not fit into memory."""
    for item in output if isinstance(output, (list, tuple)) else [output]:
        if isinstance(item, torch.Tensor) and item.numel() > 2 * MAX_VALUES:
            raise SharingError(f"{MODEL}: a {type(module).__name__} gives a feature map of {tuple(item.shape)}")
