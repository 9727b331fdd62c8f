"""How two networks differ: their rows, the keys of their files, their sizes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any, NamedTuple

from effyolo_ultra._open import check_there, open_file, open_model
from effyolo_ultra.document import image_channels
from effyolo_ultra.info import Share, shares, trained_imgsz
from effyolo_ultra.network import Layer, Network, describe

# Of a model's dictionary, what is not a key of the file, or is compared in another way.
NOT_COMPARED = ("backbone", "head", "yaml_file", "channels", "ch")


class RowChange(NamedTuple):
    """A row that only one network has, or that both have in different forms.

    Attributes:
        part: 'backbone', 'neck' or 'head'.
        first: Number of the row in the first network, None if it has none.
        second: The same for the second network.
        before: The row as written in the first network, '' if it has none.
        after: The same for the second network.
    """

    part: str
    first: int | None
    second: int | None
    before: str
    after: str


class KeyChange(NamedTuple):
    """A top-level key with different values; None where it is missing."""

    key: str
    before: Any
    after: Any


@dataclass(frozen=True)
class Comparison:
    """How two networks differ.

    Attributes:
        first: The first network.
        second: The second network.
        rows: The rows that differ; the number of a row alone is no difference.
        keys: The top-level keys of their files that differ.
        first_parts: Size of each part of the first network.
        second_parts: Size of each part of the second network.
    """

    first: Network
    second: Network
    rows: tuple[RowChange, ...]
    keys: tuple[KeyChange, ...]
    first_parts: tuple[Share, ...]
    second_parts: tuple[Share, ...]

    @property
    def same(self) -> bool:
        """Whether the networks are the same."""
        return not self.rows and not self.keys and self.first.parameters == self.second.parameters


def compare(first: str | os.PathLike[str], second: str | os.PathLike[str], imgsz: int = 640) -> Comparison:
    """Return how two networks differ: in rows, keys and sizes, not in their weights.

    Args:
        first: Name or path of a model YAML, or path of a .pt file.
        second: The same of the other one.
        imgsz: Height and width of the image to count operations for; rounded up as `yolo train` does, with a warning.

    Raises:
        EffYoloError: If a file is missing or holds no network.
        ValueError: If a network does not take images of this size.
    """
    paths = Path(first), Path(second)
    for path in paths:
        check_there(path)
    models = [open_model(open_file(path)) for path in paths]
    imgsz = trained_imgsz(models, imgsz)
    networks = [describe(model, imgsz) for model in models]
    return Comparison(
        *networks,
        tuple(row_changes(networks[0].layers, networks[1].layers)),
        tuple(key_changes(models[0].yaml, models[1].yaml)),
        *map(shares, networks),
    )


def row_changes(first: tuple[Layer, ...], second: tuple[Layer, ...]) -> Iterator[RowChange]:
    """Yield the rows that differ, in order."""
    pairs = list(aligned(first, second))
    partner = {-1: -1, **{a.index: b.index for a, b in pairs if a and b}}
    for a, b in pairs:
        if a and b and content(a) == content(b) and same_sources(a, b, partner):
            continue
        yield RowChange(
            (a or b).part,
            a.index if a else None,
            b.index if b else None,
            a.written if a else "",
            b.written if b else "",
        )


def same_sources(a: Layer, b: Layer, partner: dict[int, int]) -> bool:
    """Whether two rows take the same rows, or those before them that they count back to in the same way."""
    if len(a.sources) != len(b.sources):
        return False
    return all(
        (before == after and after < 0) or partner.get(source) == other
        for before, after, source, other in zip(a.written_from, b.written_from, a.sources, b.sources)
    )


def aligned(first: tuple[Layer, ...], second: tuple[Layer, ...]) -> Iterator[tuple[Layer | None, Layer | None]]:
    """Yield which row of one network is which of the other, None for a row without a partner."""
    matcher = SequenceMatcher(None, [content(a) for a in first], [content(b) for b in second], autojunk=False)
    for tag, a0, a1, b0, b1 in matcher.get_opcodes():
        if tag == "equal":
            yield from zip(first[a0:a1], second[b0:b1])
        else:
            yield from by_module(first[a0:a1], second[b0:b1])


def by_module(first: tuple[Layer, ...], second: tuple[Layer, ...]) -> Iterator[tuple[Layer | None, Layer | None]]:
    """Pair the rows of the same module with other args, or of other modules in the same place."""
    matcher = SequenceMatcher(None, [kind(a) for a in first], [kind(b) for b in second], autojunk=False)
    for tag, a0, a1, b0, b1 in matcher.get_opcodes():
        if tag == "equal" or a1 - a0 == b1 - b0:  # as many other rows in the same place
            yield from zip(first[a0:a1], second[b0:b1])
        else:
            yield from ((a, None) for a in first[a0:a1])
            yield from ((None, b) for b in second[b0:b1])


def content(layer: Layer) -> str:
    """Return what a row says, but for where it takes its input, which depends on the rows before it."""
    return f"{layer.part} {layer.repeats} {layer.module} {layer.args!r}"


def kind(layer: Layer) -> str:
    """Return what two rows must share to be two forms of one row."""
    return "head" if layer.part == "head" else f"{layer.part} {layer.module}"


def key_changes(first: dict[str, Any], second: dict[str, Any]) -> Iterator[KeyChange]:
    """Yield the top-level keys that differ; one without a value is one that is missing."""
    channels = [image_channels(d) for d in (first, second)]
    if channels[0] != channels[1]:
        yield KeyChange("channels", *channels)
    for key in dict.fromkeys([*first, *second]):
        before, after = first.get(key), second.get(key)
        if key not in NOT_COMPARED and (before or None) != (after or None):
            yield KeyChange(str(key), before, after)
