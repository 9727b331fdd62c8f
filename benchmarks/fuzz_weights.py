"""Damages checkpoints and files of weights at random, and looks at what each function makes of them.

    python -m benchmarks.fuzz_weights --examples 300 --seed 0

A file is cut off, has bytes changed, or is of another kind. Each function that reads it must either work or raise one
of our errors that names the file. Anything else is printed, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import collections
import random
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import safetensors.torch
import torch
from effdet import EfficientDet, get_efficientdet_config
from omegaconf import OmegaConf
from ultralytics import YOLO
from ultralytics.utils import LOGGER, checks

import effyolo_ultra
from benchmarks.fuzz_contents import altered
from benchmarks.fuzz_outcome import Fault, attempt
from effyolo_ultra.checking.passes import silence
from effyolo_ultra.nn import TimmBackbone
from effyolo_ultra.nn.bifpn import BiFPN

TIMM = "test_efficientnet"  # of timm's own tests: 0.4 million parameters
LEVELS = {3: 32, 4: 48, 5: 64}  # its channels at each level
BY_ULTRALYTICS = ["the safe globals", "torch's threads"]  # where it opens a checkpoint and where it predicts
OLD = {"_use_new_zipfile_serialization": False}  # a file as torch wrote it before 1.6: a pickle with no checksums
YAML = f"""
nc: 2
backbone:
  - [-1, 1, TimmBackbone, [{TIMM}, {{pretrained: false}}]]
head:
  - [0, 1, BiFPN, [16]]
  - [-1, 1, PyramidLevel, [3]]
  - [1, 1, PyramidLevel, [4]]
  - [1, 1, PyramidLevel, [5]]
  - [[2, 3, 4], 1, Detect, [nc]]
"""


def make_files(folder: Path) -> dict[str, bytes]:
    """Return the files to damage by name: a checkpoint, a variant of it, and weights of a backbone and a detector."""
    (folder / "tiny.yaml").write_text(YAML, encoding="utf-8")
    with silence():
        YOLO(folder / "tiny.yaml").save(folder / "tiny.pt")
        effyolo_ultra.pack(folder / "tiny.pt", folder / "tiny.zip")
    weights = TimmBackbone(TIMM, pretrained=False).body.state_dict()
    torch.save(weights, folder / "tiny.pth")
    torch.save(weights, folder / "tiny_old.pth", **OLD)
    safetensors.torch.save_file(weights, folder / "tiny.safetensors")
    torch.save(efficientdet(), folder / "tiny_effdet.pth")
    return {path.name: path.read_bytes() for path in sorted(folder.glob("tiny*")) if path.suffix != ".yaml"}


def efficientdet() -> dict[str, torch.Tensor]:
    """Return the weights of an EfficientDet of the peer, as small as the others."""
    config = get_efficientdet_config("tf_efficientdet_d0")
    small = {"backbone_name": TIMM, "backbone_args": {}, "fpn_channels": 16, "fpn_cell_repeats": 1}
    return EfficientDet(OmegaConf.merge(config, small), pretrained_backbone=False).state_dict()


def damaged(name: str, content: bytes, rng: random.Random) -> bytes:
    """Return the content of a file with something wrong."""
    kind = rng.choice(["cut", "cut", "bytes", "bytes", "bytes", "end", "text", "empty", "zip", "pickle"])
    if kind == "cut":
        return content[
            : rng.choice([rng.randrange(100), rng.randrange(len(content)), len(content) - rng.randrange(99)])
        ]
    if kind in ("bytes", "end"):
        changed = bytearray(content)
        start = max(len(content) - 3000, 0) if kind == "end" else 0
        stop = rng.choice([200, 3000, len(content)]) if kind == "bytes" else len(content)
        for _ in range(rng.choice([1, 3, 50])):
            changed[rng.randrange(start, min(stop, len(content)))] = rng.randrange(256)
        return bytes(changed)
    if kind == "zip":
        with tempfile.NamedTemporaryFile() as file:
            with zipfile.ZipFile(file.name, "w") as archive:
                archive.writestr("photo.txt", "text")
            return Path(file.name).read_bytes()
    return {"text": b"<html>404</html>", "empty": b"", "pickle": b"\x80\x04K\x01."}[kind]


def readers(path: Path) -> dict[str, Callable[[], Any]]:
    """Return the functions that read such a file."""
    backbone = {"backbone": lambda: TimmBackbone(TIMM, pretrained=str(path)).load_pretrained()}
    if path.suffix == ".zip":
        return {"unpack": lambda: effyolo_ultra.unpack(path, path.with_suffix(".out.pt"), overwrite=True)}
    if path.stem == "tiny_effdet":
        neck = BiFPN(LEVELS, 16, 1, levels=[3, 4, 5, 6, 7], pretrained=str(path))
        return {**backbone, "BiFPN": neck.load_pretrained}
    if path.suffix != ".pt":
        return backbone
    image = path.with_name("image.png")
    cv2.imwrite(str(image), np.zeros((64, 64, 3), np.uint8))
    return {
        **backbone,
        "BiFPN": lambda: BiFPN(LEVELS, 16, pretrained=str(path)).load_pretrained(),
        "info": lambda: effyolo_ultra.model_info(path, 64),
        "draw": lambda: effyolo_ultra.draw(path, path.with_suffix(".svg"), overwrite=True),
        "features": lambda: effyolo_ultra.features(path, image, path.with_name("f"), imgsz=64, overwrite=True),
        "fusion": lambda: effyolo_ultra.fusion_weights(path),
        "compare": lambda: effyolo_ultra.compare(path, path),
        "pack": lambda: effyolo_ultra.pack(path, path.with_suffix(".out.zip"), overwrite=True),
        "prune": lambda: effyolo_ultra.prune(path, path.with_suffix(".out.pt"), overwrite=True),
    }


def outcome(path: Path, read: Callable[[], Any]) -> str:
    """Return 'read', or 'refused' if that names the file; else what is wrong."""

    def run(_: Path) -> tuple[str, bool]:
        read()
        return "read", False

    try:
        return attempt(path, run, BY_ULTRALYTICS)[0]
    except Fault as fault:
        return f"{fault}\n{fault.kind}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Damage files, and print what is wrong with what becomes of them."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--examples", type=int, default=100, help="number of damaged files of each kind")
    parser.add_argument("--seed", type=int, default=0, help="another one gives other files")
    args = parser.parse_args(arguments)
    LOGGER.setLevel("ERROR")
    checks.AUTOINSTALL = False  # Ultralytics asks pip for a module that a file names, and a changed byte changes names
    rng = random.Random(args.seed)
    counts: collections.Counter[str] = collections.Counter()
    faults: set[str] = set()
    with tempfile.TemporaryDirectory() as directory:
        for name, content in make_files(Path(directory)).items():
            path = Path(directory) / name
            for i in range(args.examples + 1):
                damage = rng.choice([damaged, altered])
                path.write_bytes(damage(name, content, rng) if i else content)
                for function, read in readers(path).items():
                    found = outcome(path, read)
                    if i == 0 and found != "read":
                        found = f"the file as it was written is not read: {found}"
                    kind = found if found in ("read", "refused") else "FAULT"
                    counts[kind] += 1
                    title = f"{path.suffix} {function} {found.splitlines()[-1]}"
                    if kind == "FAULT" and title not in faults:
                        faults.add(title)
                        print(f"=== {title}\n{found}", flush=True)
    print(f"{sum(counts.values())} readings: {dict(counts)}; {len(faults)} kinds of faults")
    return bool(faults)


if __name__ == "__main__":
    raise SystemExit(main())
