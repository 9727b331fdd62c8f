"""Weights of a BiFPN by what they do, so that necks on other levels can share those that do the same.

A node is named by its level and its pass, `P4_td` (top-down) or `P4_out`, and an edge by where it comes from: `in` (the
level as the cell gets it), `td` (its top-down node), `up` (the next coarser level), `down` (the next finer one). So
`cells.0.P4_td.in.conv.weight` is the 1x1 convolution between the backbone's P4 and the first cell's node P4_td.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor

from effyolo_ultra.errors import WeightsError
from effyolo_ultra.nn.bifpn_cell import bifpn_nodes

if TYPE_CHECKING:
    from effyolo_ultra.nn.bifpn import BiFPN


class Form(NamedTuple):
    """Channels and number of cells of a BiFPN, and the convolution of its nodes."""

    channels: int
    cells: int
    conv: str

    def __str__(self) -> str:
        return f"{self.channels} channels x {self.cells} cells ({self.conv} convolutions)"


def tensors_by_role(bifpn: BiFPN) -> dict[str, Tensor]:
    """Return the state of a BiFPN by what its tensors do."""
    state = bifpn.state_dict()
    return {role: state[name] for name, role in roles_of(bifpn).items()}


def roles_of(bifpn: BiFPN) -> dict[str, str]:
    """Return what each tensor in the state of a BiFPN does, {its name in the state: its name by role}."""
    return roles(bifpn.state_dict(), bifpn.levels, len(bifpn.extra_levels))


def roles(names_in_state: Iterable[str], levels: Sequence[int], extra: int) -> dict[str, str]:
    """Return the same for a BiFPN with these levels, of which the last `extra` are not in its input."""
    nodes = node_roles(levels)
    names = {}
    for name in names_in_state:
        if match := re.fullmatch(r"extra_levels\.(\d+)\.0\.(.+)", name):
            names[name] = f"P{levels[int(match[1]) - extra]}.{match[2]}"
            continue
        _, cell, _, node, part, rest = name.split(".", 5)
        title, edges = nodes[int(node)]
        if part == "laterals":
            edge, _, leaf = rest.split(".", 2)
            name_in_node = f"{edges[int(edge)]}.{leaf}"
        elif part == "fuse":  # weights are relative to each other, so they stand for one set of inputs
            name_in_node = f"fuse({','.join(edges)})"
        else:
            name_in_node = f"conv.{rest}"
        names[name] = f"cells.{cell}.{title}.{name_in_node}"
    return names


def node_roles(levels: Sequence[int]) -> list[tuple[str, list[str]]]:
    """Return the name of each node of a cell and of its edges, in the order of computation."""
    count, plan = len(levels), bifpn_nodes(len(levels))
    level_of = [*range(count), *(level for level, _ in plan)]

    def edge(level: int, source: int) -> str:
        if level_of[source] != level:
            return "up" if level_of[source] > level else "down"
        return "in" if source < count else "td"

    return [
        (f"P{levels[level]}_{'td' if i < count - 1 else 'out'}", [edge(level, source) for source in inputs])
        for i, (level, inputs) in enumerate(plan)
    ]


def form(tensors: Mapping[str, Tensor]) -> Form:
    """Return the form of a BiFPN with these tensors, by role."""
    channels = next(len(t) for name, t in tensors.items() if re.search(r"\.conv\.\d\.conv\.weight$", name))
    cells = 1 + max(int(name.split(".")[1]) for name in tensors if name.startswith("cells."))
    is_separable = any(name.endswith(".conv.0.weight") for name in tensors)
    return Form(channels, cells, "separable" if is_separable else "full")


def fit(bifpn: BiFPN, given: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str], list[str]]:
    """Return the state of a BiFPN with the tensors given by role, what is missing in them, and what is not used.

    Raises:
        WeightsError: If they are of a BiFPN with other channels, another convolution or another backbone.
    """
    state, names = bifpn.state_dict(), roles_of(bifpn)
    ours, theirs = form(tensors_by_role(bifpn)), form(given)
    if (ours.channels, ours.conv) != (theirs.channels, theirs.conv):
        raise WeightsError(f"the file holds {theirs}; take a file of the row's size, or give the row the file's")
    for name, role in names.items():
        if role in given and given[role].shape != state[name].shape:
            sizes = f"{list(given[role].shape)}, not {list(state[name].shape)}"
            raise WeightsError(f"{role} is {sizes}: the file is for a backbone with other channels")
    missing = [role for role in names.values() if role not in given and not role.endswith("num_batches_tracked")]
    used = set(names.values())
    return {n: given.get(role, state[n]) for n, role in names.items()}, missing, [r for r in given if r not in used]
