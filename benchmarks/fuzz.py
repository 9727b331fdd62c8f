"""Damages the files of the zoo at random, and looks at what becomes of them.

    python -m benchmarks.fuzz --examples 5000 --seed 0

A file that still names a module of ours must give a network that runs forward and backward, or one of our errors that
says where. Anything else, see benchmarks/fuzz_outcome.py, is printed, one file for each kind, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import collections
import copy
import re
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from benchmarks.fuzz_outcome import Fault, outcome
from effyolo_ultra.registry import MODULES
from effyolo_ultra.zoo import folder

# Without the sizes that have the same rows as another file.
FILES = sorted(path for path in folder("models").glob("*.yaml") if not re.search(r"effb[1-7]-(bifpn|pan)", path.name))
TEXTS = {path.name: path.read_text(encoding="utf-8") for path in FILES}
DOCUMENTS = {name: yaml.safe_load(text) for name, text in TEXTS.items()}
ROWS = [row for d in DOCUMENTS.values() for row in [*d["backbone"], *d["head"]]]

NUMBERS = st.one_of(
    st.sampled_from([0, 1, 2, 3, 4, 5, 7, 8, 16, 17, 24, 40, 64, 100, 256, 1000, 5000, 65536, 65537, 10**9, 10**400]),
    st.integers(-40, 40),
    st.sampled_from([0.0, 0.25, 0.5, 1.0, 1.5, -0.5, 1e-9, 1e9, float("inf"), float("-inf"), float("nan")]),
)
WORDS = """nc None True [1,2] -1 1e-3 3x3 d i m ch args layers scale scales width kpt_shape anchors nearest auto relu
    softmax b0 b9 lite0 v2-s nn.ReLU() nn.PReLU() nn.GLU() abc import ( ' é w.pth resnet18 999999999999999999999
    backbone""".split()
OPTIONS = """levels fusion eps conv act act_first shared_weights pretrained frozen_stages drop_path_rate norm_eval
    sync_bn bn_eps bn_momentum grad_checkpointing lr_mult nope""".split()
SCALARS = st.one_of(NUMBERS, st.sampled_from([*WORDS, "", " ", "x" * 300]), st.booleans(), st.none())
VALUES = st.one_of(
    SCALARS,
    st.lists(SCALARS, max_size=4),
    st.dictionaries(st.one_of(st.sampled_from([*OPTIONS, "n", "s"]), NUMBERS), SCALARS, max_size=2),
    st.sampled_from([[[1]], {"n": [1, 2]}]),
)
STOCK = """Concat Conv DWConv GhostConv C2f C3 C3TR C2fAttn A2C2f SPP Focus HGStem HGBlock ResNetLayer CBLinear CBFuse
    Index AIFI ImagePoolingAttn RepC3 nn.Identity nn.Conv2d nn.Upsample nn.Linear nn.Dropout nn.BatchNorm2d nn.Flatten
    nn.ReLU nn.ConvTranspose2d torchvision.ops.Permute Detect Segment Pose OBB Classify v10Detect WorldDetect
    RTDETRDecoder SemanticSegment LightDetect LightSegment LightPose LightOBB LightClassify""".split()
NO_LAYERS = """nn.functional nn.Module nn.Sequential nn. nn.init conv deepcopy torch BaseModel DetectionModel LOGGER
    Konv bifpn Ensemble""".split()
NAMES = st.sampled_from([*sorted({*MODULES, *(row[2] for row in ROWS), *STOCK}), *NO_LAYERS])
KEYS = """nc scales activation width_multiple depth_multiple kpt_shape end2end reg_max pretrained anchors channels ch
    pruned backbone head scale names task inplace backbones yaml_file max_channels legacy""".split()


@st.composite
def damaged_row(draw: st.DrawFn, row: list[Any]) -> Any:
    """Return a row with one thing changed in it."""
    row = copy.deepcopy(row)
    part = draw(st.sampled_from(["from", "repeats", "name", "arg", "arg", "arg", "option", "length", "whole"]))
    if part == "from":
        row[0] = draw(st.one_of(st.integers(-30, 30), st.lists(st.integers(-6, 30), max_size=5), VALUES))
    elif part == "repeats":
        row[1] = draw(st.one_of(st.integers(-1, 5), VALUES))
    elif part == "name":
        row[2] = draw(st.one_of(NAMES, NAMES, VALUES))
    elif part == "arg":
        changed = draw(VALUES)
        at = draw(st.integers(0, len(row[3])))
        row[3][at : at + draw(st.integers(0, 1))] = draw(st.sampled_from([[changed], [changed], []]))
    elif part == "option":
        options = row[3].pop() if row[3] and isinstance(row[3][-1], dict) else {}
        row[3].append({**options, draw(st.sampled_from(OPTIONS)): draw(VALUES)})
    elif part == "length":
        row = draw(st.sampled_from([row[:3], row[:2], [], [*row, 1], [*row[:3], *row[3]]]))
    else:
        row = draw(VALUES)
    return row


@st.composite
def damaged_rows(draw: st.DrawFn, rows: list[Any]) -> list[Any]:
    """Return a list of rows with one thing changed in it."""
    rows = list(rows)
    if not rows:
        return [draw(st.sampled_from(ROWS))]
    at, other = (draw(st.integers(0, len(rows) - 1)) for _ in range(2))
    change = draw(st.sampled_from(["row", "row", "row", "row", "drop", "twice", "swap", "foreign"]))
    if change == "row" and isinstance(rows[at], list) and len(rows[at]) == 4 and isinstance(rows[at][3], list):
        rows[at] = draw(damaged_row(rows[at]))
    elif change == "drop":
        del rows[at]
    elif change == "swap":
        rows[at], rows[other] = rows[other], rows[at]
    elif change == "foreign":
        rows.insert(at, copy.deepcopy(draw(st.sampled_from(ROWS))))
    else:
        rows.insert(other, copy.deepcopy(rows[at]))
    return rows


@st.composite
def damaged_document(draw: st.DrawFn, d: dict[Any, Any]) -> dict[Any, Any]:
    """Return a document with one thing changed in it."""
    d = dict(d)
    part = draw(st.sampled_from(["backbone", "head", "head", "head", "head", "key", "key", "entry", "missing"]))
    if part in ("backbone", "head"):
        if isinstance(d.get(part), list):
            d[part] = draw(damaged_rows(d[part]))
    elif part == "key":
        d[draw(st.sampled_from([*KEYS, 5, None]))] = draw(VALUES)
    elif part == "entry":
        mappings = [key for key in d if isinstance(d[key], dict) and d[key]]
        if mappings:
            key = draw(st.sampled_from(mappings))
            d[key] = {**d[key], draw(st.sampled_from([*d[key], "n"])): draw(VALUES)}
    else:
        d.pop(draw(st.sampled_from(list(d))), None)
    return d


@st.composite
def damaged_text(draw: st.DrawFn, text: str) -> str:
    """Return a text with one thing changed in it."""
    lines = text.splitlines(keepends=True)
    at = draw(st.integers(0, max(len(text) - 1, 0)))
    line = draw(st.integers(0, max(len(lines) - 1, 0)))
    change = draw(st.sampled_from(["character", "character", "delete", "cut", "line", "twice", "indent", "digit"]))
    if change == "character":
        return text[:at] + draw(st.sampled_from(list("[]{},:-#&*!|>'\"%@ \t\n\\0x\0\x85\ufeff"))) + text[at:]
    if change == "delete":
        return text[:at] + text[at + draw(st.integers(1, 4)) :]
    if change == "cut":
        return text[:at]
    if change == "digit":
        digits = [found.start() for found in re.finditer(r"\d", text)]
        at = draw(st.sampled_from(digits)) if digits else 0
        return text[:at] + draw(st.sampled_from(["", "0", "9", "-1", "1.", "1e", "é"])) + text[at + 1 :]
    if lines and change == "line":
        del lines[line]
    elif lines:
        lines.insert(line, lines[line] if change == "twice" else draw(st.sampled_from([" ", "  ", "\t", "- "])))
    return "".join(lines)


@st.composite
def damaged_files(draw: st.DrawFn) -> tuple[str, str]:
    """Return a name of a file, and the text of a file of the zoo with one to three things changed in it."""
    name = draw(st.sampled_from(list(TEXTS)))
    changes = draw(st.integers(1, 3))
    if draw(st.integers(0, 3)) == 0:
        text = TEXTS[name]
        for _ in range(changes):
            text = draw(damaged_text(text))
    else:
        d = DOCUMENTS[name]
        for _ in range(changes):
            d = draw(damaged_document(d))
        text = yaml.safe_dump(d, default_flow_style=None, sort_keys=False, allow_unicode=True, width=1000)
    if "scales" in DOCUMENTS[name]:
        name = re.sub(r"(\d+)", draw(st.sampled_from(["\\1n", "\\1n", "\\1n", "\\1s", "\\1x", "\\1"])), name, count=1)
    return name, text


def main(arguments: Sequence[str] | None = None) -> int:
    """Damage files, and print what is wrong with what becomes of them."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--examples", type=int, default=1000, help="number of files")
    parser.add_argument("--seed", type=int, default=0, help="another one gives other files")
    parser.add_argument("--whole", type=int, default=20, help="build and train every n-th network with its data")
    parser.add_argument("--messages", type=Path, help="write all the errors here, to be read")
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    counts: collections.Counter[str] = collections.Counter()
    faults: set[str] = set()
    messages: dict[str, str] = {}
    start = time.time()
    with tempfile.TemporaryDirectory() as directory:

        @seed(args.seed)
        @settings(
            max_examples=args.examples,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(damaged_files())
        def run(file: tuple[str, str]) -> None:
            name, text = file
            try:
                kind, message = outcome(Path(directory) / name, text, whole=sum(counts.values()) % args.whole == 0)
                if message:
                    said = message.partition("\n  ")[2] or message.rpartition(".yaml")[2]
                    problem = re.sub(r"[\d.]+|'.*?'", "#", said)
                    messages.setdefault(problem, f"{message}\n--- {name}\n")
            except Fault as fault:
                kind = "FAULT"
                if fault.kind not in faults:
                    faults.add(fault.kind)
                    print(f"=== {fault.kind}\n{fault}\n--- {name}\n{text}", flush=True)
            counts[kind] += 1
            if sum(counts.values()) % 500 == 0:
                print(f"{dict(counts)} in {time.time() - start:.0f} s", flush=True)

        run()
    if args.messages:
        args.messages.write_text("\n".join(messages.values()), encoding="utf-8")
    print(f"{sum(counts.values())} files in {time.time() - start:.0f} s: {dict(counts)}; {len(faults)} kinds of faults")
    return bool(faults)


if __name__ == "__main__":
    raise SystemExit(main())
