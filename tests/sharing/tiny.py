"""A network that is built in a moment, and the files of its variant."""

from __future__ import annotations

import hashlib
import json

import torch
from ultralytics import YOLO

from effyolo_ultra.sharing.contents import METADATA
from effyolo_ultra.sharing.pack import pack_files

YAML = """
nc: 2
backbone:
  - [-1, 1, Conv, [8, 3, 2]]
  - [-1, 1, Conv, [8, 3, 2]]
  - [-1, 1, Conv, [8, 3, 2]]
  - [-1, 1, Conv, [16, 3, 2]]
head:
  - [[2, 3], 1, Detect, [nc]]
"""


def write_checkpoint(folder, text=YAML, name="tiny"):
    """Write the checkpoint of a network, and return its path."""
    (folder / f"{name}.yaml").write_text(text)
    torch.manual_seed(0)
    YOLO(folder / f"{name}.yaml").save(folder / f"{name}.pt")
    return folder / f"{name}.pt"


def variant(folder):
    """Return the files of a variant."""
    return pack_files(write_checkpoint(folder), "tiny")


def changed(files, metadata=None, **contents):
    """Return the files of a variant with other contents whose SHA-256 are right, and other metadata.

    Args:
        files: The files.
        metadata: Keys of variant.json to replace.
        contents: Other contents, by the file's name with '_' for '.'.
    """
    files = dict(files)
    for name, content in contents.items():
        files[name.replace("_", ".")] = content
    values = json.loads(files[METADATA])
    values["files"] = {name: hashlib.sha256(files[name]).hexdigest() for name in values["files"]}
    files[METADATA] = json.dumps({**values, **(metadata or {})}).encode()
    return files
