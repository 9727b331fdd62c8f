"""The rows of a neck behind the backbone's row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from effyolo_ultra.composing.blocks import Family

NECKS = ("wpan", "pan", "bifpn")


class Rows:
    """Rows of a YAML, numbered behind row 0."""

    def __init__(self) -> None:
        self.text = ""
        self.last = 0

    def add(
        self, source: Any, repeats: int, module: str, args: Any, *, numbered: bool = False, level: int | None = None
    ) -> int:
        """Add a row and return its number.

        Args:
            source: Number of the layer that it takes, or a list of them.
            repeats: Its repeats.
            module: Its module.
            args: Its args, a list or the text of one.
            numbered: Whether a comment has its number.
            level: The level that it gives, for the comment.
        """
        self.last += 1
        comment = f" # {self.last}" if numbered or level else ""
        comment += f" (P{level}/{2**level})" if level else ""
        self.text += f"  - [{source}, {repeats}, {module}, {args}]{comment}\n"
        return self.last

    def gap(self) -> None:
        """Leave a line empty."""
        self.text += "\n"


def add_levels(rows: Rows, given: Sequence[int]) -> dict[int, int]:
    """Add the rows that take the backbone's levels apart; return the number of each."""
    return {level: rows.add(0, 1, "PyramidLevel", [level], numbered=True) for level in given}


def add_pan(
    rows: Rows,
    levels: Sequence[int],
    given: Mapping[int, int],
    family: Family,
    channels: Mapping[int, int],
    is_large: bool,
    is_weighted: bool,
) -> list[int]:
    """Add a PAN, top-down and bottom-up, and return the rows that give its levels.

    Args:
        rows: The rows to add to.
        levels: The levels of the neck, finest first.
        given: The rows of those that are there. A coarser one is made as in Ultralytics' P6 files, by a convolution
            with stride 2 and a block.
        family: What the neck is made of.
        channels: Channels of each level, before width.
        is_large: Whether the file has one size, and that is large.
        is_weighted: Weighted concatenation, and BiFPN's skip edge from the backbone to the bottom-up nodes between the
            finest and the coarsest level (EfficientDet, section 3.2).
    """
    concat = "BiFPN_Concat" if is_weighted else "Concat"
    finest, coarsest = levels[0], levels[-1]

    def block(at: int, args: str, repeats: int = family.repeats, level: int | None = None) -> int:
        args = args.format(c=channels[at], large=is_large)
        return rows.add(-1, repeats, family.block, args, numbered=True, level=level)

    inputs = dict(given)
    for level in levels[len(given) :]:
        rows.gap()
        rows.add(inputs[level - 1], 1, "Conv", [channels[level], 3, 2])
        inputs[level] = block(level, family.extra, level=level)
    # What the bottom-up path meets at each level: in YOLOv5 the 1x1 convolution, in the others what stands before it.
    meets = {coarsest: inputs[coarsest]}
    source = inputs[coarsest]
    for level in reversed(levels[:-1]):
        rows.gap()
        if family.lateral:
            meets[level + 1] = rows.add(source, 1, "Conv", [channels[level], 1, 1], numbered=True)
            source = -1
        rows.add(source, 1, "nn.Upsample", "[None, 2, nearest]")
        rows.add([-1, inputs[level]], 1, concat, [1])
        meets[level] = block(level, family.args, level=level if level == finest else None)
        source = -1
    outputs = [meets[finest]]
    for level in levels[1:]:
        rows.gap()
        rows.add(-1, 1, "Conv", [channels[level - 1], 3, 2])
        skip = [inputs[level]] if is_weighted and level < coarsest else []
        rows.add([-1, meets[level], *skip], 1, concat, [1])
        if level < coarsest:
            outputs.append(block(level, family.args, level=level))
        else:
            outputs.append(block(level, family.top, family.top_repeats or family.repeats, level=level))
    return outputs


def add_bifpn(
    rows: Rows, levels: Sequence[int], given: Sequence[int], channels: int, repeats: int, options: Sequence[str]
) -> list[int]:
    """Add stacked BiFPN cells, which make the levels that are not given, and return the rows that give their levels."""
    options = [*([f"levels: {list(levels)}"] if list(levels) != list(given) else []), *options]
    args = f"[{channels}, {{{', '.join(options)}}}]" if options else [channels]
    bifpn = rows.add(0, repeats, "BiFPN", args, numbered=True)
    return [rows.add(bifpn, 1, "PyramidLevel", [level], level=level) for level in levels]
