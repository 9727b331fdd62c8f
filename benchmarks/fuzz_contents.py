"""Changes at random what a file of weights holds; the file itself is whole, and its checksums fit."""

from __future__ import annotations

import hashlib
import io
import json
import random
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import nn
from ultralytics import YOLO

from effyolo_ultra.sharing.contents import METADATA, WEIGHTS, read, write_zip

OTHER = YOLO("yolov8n.yaml", verbose=False).model
# Values of another kind, for whatever stands in a file.
OTHERS: list[Callable[[], Any]] = [
    lambda: None,
    lambda: 7,
    lambda: "text",
    list,
    dict,
    lambda: {"text": "text"},
    lambda: {"a": torch.ones(3)},
    lambda: torch.ones(3),
    lambda: nn.Linear(2, 2),
    lambda: nn.Sequential(nn.Conv2d(3, 8, 3)),
    lambda: OTHER,
    OTHER.state_dict,
]
TENSORS: dict[str, Callable[[torch.Tensor], Any]] = {
    "nan": lambda t: torch.full_like(t.float(), float("nan")),
    "inf": lambda t: torch.full_like(t.float(), float("-inf")),
    "shorter": lambda t: t.flatten()[: t.numel() // 2].clone(),
    "scalar": lambda t: t.sum(),
    "empty": lambda t: t.new_empty(0),
    "more dimensions": lambda t: t[None],
    "turned": lambda t: t.mT.contiguous() if t.ndim > 1 else t,
    "float64": lambda t: t.double(),
    "bfloat16": lambda t: t.bfloat16(),
    "float8": lambda t: t.float().to(torch.float8_e5m2),
    "bool": lambda t: t > 0,
    "integer": lambda t: t.long(),
    "complex": lambda t: t.to(torch.complex64),
    "large": lambda t: t.double() * 1e30,
}
# What a pickle can hold, but no file of safetensors.
STRANGE: dict[str, Callable[[torch.Tensor], Any]] = {
    "sparse": lambda t: t.float().to_sparse(),
    "quantized": lambda t: torch.quantize_per_tensor(t.float(), 0.1, 0, torch.qint8),
    "without data": lambda t: t.to("meta"),
    "one number seen as many": lambda t: torch.ones(()).expand(100_000, 100_000),
}
ATTRIBUTES = "yaml names stride task args nc model save yaml_file inplace".split()
LAYER = "f i type np out_channels levels cells channels stride bias weight body mean built pretrained".split()


def altered(name: str, content: bytes, rng: random.Random) -> bytes:
    """Return a file of weights of the same format, with one to three things changed in what it holds.

    Args:
        name: The file's name, whose suffix says what it is.
        content: The file.
        rng: What decides.
    """
    if name.endswith(".zip"):
        return altered_variant(content, rng)
    if name.endswith(".safetensors"):
        tensors = safetensors.torch.load(content)
        for _ in range(rng.choice([1, 1, 3])):
            change_tensors(tensors, TENSORS, rng)
        return safetensors.torch.save(tensors)
    held = torch.load(io.BytesIO(content), weights_only=False)
    for _ in range(rng.choice([1, 1, 3])):
        if rng.randrange(10) == 0 or not isinstance(held, dict):
            held = rng.choice(OTHERS)()
        elif isinstance(held.get("model"), nn.Module):
            change_checkpoint(held, rng)
        else:
            change_tensors(held, {**TENSORS, **STRANGE}, rng)
            if rng.randrange(8) == 0:
                held = {rng.choice(["state_dict", "model", "model_ema", "ema"]): held}
    buffer = io.BytesIO()
    torch.save(held, buffer, _use_new_zipfile_serialization=zipfile.is_zipfile(io.BytesIO(content)))
    return buffer.getvalue()


def altered_variant(content: bytes, rng: random.Random) -> bytes:
    """Return a variant with other tensors, whose SHA-256 is right."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "variant.zip"
        path.write_bytes(content)
        files = read(path)
        tensors = safetensors.torch.load(files[WEIGHTS])
        change_tensors(tensors, TENSORS, rng)
        files[WEIGHTS] = safetensors.torch.save(tensors)
        metadata = json.loads(files[METADATA])
        metadata["files"][WEIGHTS] = hashlib.sha256(files[WEIGHTS]).hexdigest()
        write_zip({**files, METADATA: json.dumps(metadata).encode()}, path)
        return path.read_bytes()


def change_tensors(tensors: dict[Any, Any], changes: dict[str, Callable[..., Any]], rng: random.Random) -> None:
    """Change one entry of a mapping of tensors."""
    if not tensors:
        return
    name = rng.choice(list(tensors))
    kind = rng.choice(["change", "change", "change", "drop", "rename", "half", "foreign", "other"])
    if kind == "change" and isinstance(tensors[name], torch.Tensor):
        tensors[name] = changes[rng.choice(list(changes))](tensors[name])
    elif kind == "rename":
        tensors[rng.choice(["backbone." + str(name), "x", ""])] = tensors.pop(name)
    elif kind == "half":
        for other in rng.sample(list(tensors), len(tensors) // 2):
            del tensors[other]
    elif kind == "foreign":
        tensors.update(dict(list(OTHER.state_dict().items())[:20]))
    elif kind == "other" and changes is not TENSORS:
        tensors[rng.choice([name, 5, None, ("a", 1)])] = rng.choice(OTHERS)()
    else:
        del tensors[name]


def change_checkpoint(held: dict[str, Any], rng: random.Random) -> None:
    """Change one thing in a checkpoint of Ultralytics."""
    network = held["model"]
    modules = list(network.modules())
    kind = rng.choice(["tensor", "tensor", "tensor", "module", "entry", "attribute", "attribute of a layer", "row"])
    if kind == "tensor":
        owner = rng.choice([m for m in modules if m._parameters or m._buffers])
        tensors = rng.choice([own for own in (owner._parameters, owner._buffers) if own])
        name = rng.choice(list(tensors))
        if isinstance(tensors[name], torch.Tensor):
            changes = {**TENSORS, **STRANGE, "missing": lambda _: None}
            changed = changes[rng.choice(list(changes))](tensors[name].detach())
            is_parameter = isinstance(tensors[name], nn.Parameter) and changed is not None
            tensors[name] = nn.Parameter(changed, requires_grad=False) if is_parameter else changed
    elif kind == "module":
        owner = rng.choice([m for m in modules if m._modules])
        owner._modules[rng.choice(list(owner._modules))] = rng.choice([nn.Identity(), nn.Linear(2, 2), OTHER.model[0]])
    elif kind == "entry":
        held[rng.choice(list(held))] = rng.choice(OTHERS)()
    elif kind == "attribute":
        network.__dict__[rng.choice(ATTRIBUTES)] = rng.choice(OTHERS)()
    elif kind == "attribute of a layer":
        layer = rng.choice(modules)
        layer.__dict__[rng.choice(LAYER)] = rng.choice([*OTHERS, lambda: -9, lambda: [40]])()
    elif isinstance(getattr(network, "yaml", None), dict) and network.yaml:
        document = network.yaml
        key = rng.choice(list(document))
        if isinstance(document[key], list) and document[key] and rng.randrange(2):
            row = rng.randrange(len(document[key]))
            document[key][row] = rng.choice([None, [], [-1, 1], document[key][0], "text"])
        else:
            document[key] = rng.choice(OTHERS)()
