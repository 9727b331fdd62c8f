"""The index of the zoo, and the tables of it in README.md and docs/zoo.md.

python -m benchmarks.zoo_table            prints the table of the README, from the index
python -m benchmarks.zoo_table --write    builds every model, writes the index and both tables
python -m benchmarks.zoo_table --check    builds every model, and says where the index differs
"""

import argparse
import json
import re
import sys
from itertools import groupby
from pathlib import Path

from benchmarks.page import ROOT, write_between
from effyolo_ultra.zoo_records import IMGSZ, INDEX, ModelRecord, model_records

BACKBONE = re.compile(r"eff(?:b|lite)\d")  # in the name of a file that is named after its backbone
PREFIXES = ("tf_efficientnet_", "tf_efficientnet")


def record(name: str) -> ModelRecord:
    """Return what a model is, by building it."""
    from effyolo_ultra.network import describe

    net = describe(name, IMGSZ)
    return ModelRecord(
        name, net.task, net.backbone, net.neck, net.head, net.parameters, round(net.gflops, 2), net.strides
    )


def index_text(records: list[ModelRecord]) -> str:
    """Return the text of the index, a line for each model."""
    return "[\n" + ",\n".join(json.dumps(item._asdict()) for item in records) + "\n]\n"


def build_all() -> list[ModelRecord]:
    """Build every model of the zoo, and return what each is."""
    from effyolo_ultra.zoo import list_models

    records = []
    for name in list_models():
        records.append(record(name))
        print(name, file=sys.stderr, flush=True)
    return records


def differences(records: list[ModelRecord]) -> list[str]:
    """Return where the index differs from what the models are."""
    written = {item.name: item for item in model_records()}
    built = {item.name: item for item in records}
    lines = [f"{name}: not in the index" for name in built if name not in written]
    lines += [f"{name}: in the index, but not in the zoo" for name in written if name not in built]
    for name in built:
        for key, value in built[name]._asdict().items():
            if name in written and getattr(written[name], key) != value:
                lines.append(f"{name}: {key} is {value}, in the index {getattr(written[name], key)}")
    return lines


def short(backbone: str) -> str:
    """Return a short name of a backbone: 'B3' for EfficientNet-B3, 'V2-S' for EfficientNetV2-S."""
    prefix = next((prefix for prefix in PREFIXES if backbone.startswith(prefix)), "")
    return backbone[len(prefix) :].replace("v2_", "v2-").upper() if prefix else backbone


def span(values: list[str]) -> str:
    """Return the first and the last of some values, or the only one."""
    return values[0] if values[0] == values[-1] else f"{values[0]} to {values[-1]}"


def neck(first: ModelRecord, last: ModelRecord) -> str:
    """Return the necks from the smallest to the largest model, with the levels that the head takes."""
    kind = first.neck if first.neck == last.neck else f"{first.neck} to {last.neck.removeprefix('BiFPN ')}"
    levels = [stride.bit_length() - 1 for stride in first.strides]
    return f"{kind or 'none'} on {span([f'P{levels[0]}', f'P{levels[-1]}'])}"


def family(name: str) -> str:
    """Return the name of a model without its size, the key to a row of the short table."""
    from effyolo_ultra.zoo import split_scale

    return BACKBONE.sub("eff*", split_scale(name)[0])


def family_name(names: list[str]) -> str:
    """Return the names of a family as one, with the parts that differ in braces."""
    if len(names) == 1:
        return names[0]
    size = re.compile(r"(?<=eff)(b|lite)(\d)|(?<=\d)([nsmlx])(?=-)")
    found = [size.search(name) for name in names]
    letters = [match[2] or match[3] for match in found]
    parts = "..".join((letters[0], letters[-1])) if letters[0].isdigit() and len(letters) > 2 else ",".join(letters)
    first = found[0]
    return f"{names[0][: first.start()]}{first[1] or ''}{{{parts}}}{names[0][first.end() :]}"


def short_table(records: list[ModelRecord]) -> str:
    """Return the table of the README, a line for each family of models that differ in size."""
    lines = ["| models | task | backbone | neck | parameters (M) | GFLOPs |", "| --- | --- | --- | --- | ---: | ---: |"]
    for _, group in groupby(sorted(records, key=lambda item: family(item.name)), key=lambda item: family(item.name)):
        items = sorted(group, key=lambda item: item.parameters)
        first, last = items[0], items[-1]
        cells = [
            f"`{family_name([item.name for item in items])}`",
            first.task,
            span([short(item.backbone) for item in items]),
            neck(first, last),
            span([f"{item.parameters / 1e6:.1f}" for item in items]),
            span([f"{item.gflops:.1f}" for item in items]),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def full_table(records: list[ModelRecord]) -> str:
    """Return the table of docs/zoo.md, a line for each model."""
    lines = ["| model | task | backbone | neck | head | parameters (M) | GFLOPs |"]
    lines += ["| --- | --- | --- | --- | --- | ---: | ---: |"]
    for item in records:
        cells = [f"`{item.name}`", item.task, short(item.backbone), neck(item, item), item.head]
        lines.append(f"| {' | '.join(cells)} | {item.parameters / 1e6:.1f} | {item.gflops:.1f} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Print the table, write the index and the pages, or check the index."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--write", action="store_true", help="build every model, write the index and both tables")
    action.add_argument("--check", action="store_true", help="build every model, and say where the index differs")
    given = parser.parse_args()
    if given.check:
        lines = differences(build_all())
        print("\n".join(lines) or "the index is what the models are")
        return 1 if lines else 0
    if given.write:
        records = build_all()
        Path(INDEX).write_text(index_text(records), encoding="utf-8")
        write_between("README.md", "zoo table", short_table(records))
        write_between("docs/zoo.md", "full zoo table", full_table(records))
        print(f"wrote {INDEX.relative_to(ROOT)}, README.md and docs/zoo.md")
    else:
        print(short_table(model_records()), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
