"""The text of a model YAML: found, read within limits, and where its rows and keys stand."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from effyolo_ultra._limits import MAX_BYTES, MAX_DEPTH, MAX_NODES
from effyolo_ultra.checking.finding import Finding
from effyolo_ultra.errors import UnknownNameError
from effyolo_ultra.zoo import check_scale_letter, find, nearest_models, split_scale

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # as Ultralytics does; both never make an object of a class


class UnreadableFile(Exception):
    """A file that nothing more can be said of than one finding."""

    def __init__(self, line: int | None, message: str):
        super().__init__(message)
        self.finding = Finding("error", line, None, message)


@dataclass(frozen=True)
class Source:
    """A model YAML.

    Attributes:
        name: As it was given.
        path: The file.
        scale: The scale letter in the name, '' if there is none.
        d: What the file says.
        root: The same as nodes, which know their lines.
    """

    name: str
    path: Path
    scale: str
    d: dict[str, Any]
    root: yaml.MappingNode

    def line_of_key(self, key: str) -> int | None:
        """Return the line of a top-level key; of the last one, which is in force, where it is there twice."""
        return next((k.start_mark.line + 1 for k, _ in reversed(list(pairs(self.root))) if k.value == key), None)

    def line_of_row(self, index: int) -> int | None:
        """Return the line where a row begins."""
        lines = []
        for part in ("backbone", "head"):
            node = next((v for k, v in reversed(list(pairs(self.root))) if k.value == part), None)
            if isinstance(node, yaml.SequenceNode):
                lines += [row.start_mark.line + 1 for row in node.value]
        return lines[index] if index < len(lines) else None


def locate(name: str) -> tuple[Path, str]:
    """Find a model YAML as `YOLO(name)` does: a file, one without the scale letter, the zoo, Ultralytics' own.

    Returns:
        The path, and the scale letter in the name ('' if none).

    Raises:
        UnknownNameError: If there is none.
    """
    from ultralytics.nn import tasks

    if Path(name).suffix == ".pt":
        raise UnknownNameError(
            f"'{name}' is a checkpoint, and a check takes a model YAML: `effyolo info {name}` shows what is in it"
        )
    if "://" in name or Path(name).suffix not in (".yaml", ".yml"):
        raise UnknownNameError(f"'{name}' is no model YAML (.yaml) on this machine")
    check_scale_letter(name)
    letter = tasks.guess_model_scale(name)
    bare = re.sub(rf"(\d){letter}(?=[^/\\]*$)", r"\1", name, count=1) if letter else name
    for candidate in dict.fromkeys((name, bare)):
        if Path(candidate).is_file():
            return Path(candidate), letter
    for candidate in dict.fromkeys((name, bare, split_scale(name)[0])):
        if found := find(candidate, "models") or tasks.check_yaml(candidate, hard=False):
            return Path(found), letter
    hint = nearest_models(name, tasks)
    raise UnknownNameError(f"there is no model '{name}', neither as a file nor in the zoo.{hint}")


def read(name: str) -> Source:
    """Read a model YAML.

    Raises:
        UnknownNameError: If there is no such file.
        UnreadableFile: If it is too large, or no YAML mapping.
    """
    path, scale = locate(name)
    if path.stat().st_size > MAX_BYTES:
        size = path.stat().st_size
        raise UnreadableFile(None, f"the file has {size} bytes; a model YAML of more than {MAX_BYTES} is not read.")
    text = path.read_text(encoding="utf-8", errors="ignore")  # as Ultralytics
    text = yaml.reader.Reader.NON_PRINTABLE.sub("", text)  # which leaves these out where they are in its way
    try:
        root = yaml.compose(text, Loader=LOADER)
        if root is not None:
            check_size(root)
        d = yaml.load(text, Loader=LOADER)  # only after its size is known: aliases expand
    except yaml.MarkedYAMLError as error:
        raise UnreadableFile(*no_yaml(error, text)) from None
    except RecursionError:
        raise UnreadableFile(None, "the file is no model YAML: its lists are nested too deep.") from None
    except ValueError as error:  # of a scalar such as a date that does not exist
        raise UnreadableFile(None, f"the file is no YAML mapping with 'backbone' and 'head': {error}") from None
    if d is None:
        d, root = {}, yaml.MappingNode("tag:yaml.org,2002:map", [])
    if not isinstance(d, dict):
        raise UnreadableFile(1, f"the file is no YAML mapping with 'backbone' and 'head', but a {type(d).__name__}.")
    return Source(name, path, scale, d, root)


def no_yaml(error: yaml.MarkedYAMLError, text: str) -> tuple[int | None, str]:
    """Return the line of a YAML error, and what to say of it."""
    mark = error.problem_mark or error.context_mark
    said = ", ".join(part for part in (error.problem, error.context) if part)
    lines = text.splitlines()
    line = min(mark.line + 1, len(lines)) if mark else None  # what is missing at the end is missed behind it
    written = lines[line - 1] if line else ""
    tab = " There is a tab: YAML is indented by spaces." if "\t" in written else ""
    return line, f"the file is no YAML mapping with 'backbone' and 'head': {said}.{tab}"


def check_size(root: yaml.Node) -> None:
    """Raise an UnreadableFile if the nodes are too many, or endless, once every alias stands for what it names."""
    sizes: dict[int, int] = {}
    depths: dict[int, int] = {}
    stack = [(root, False)]
    open_nodes: set[int] = set()
    while stack:  # no recursion: a file can be nested as deep as it likes
        node, done = stack.pop()
        below = list(children(node))
        if done:
            open_nodes.discard(id(node))
            sizes[id(node)] = 1 + sum(sizes[id(child)] for child in below)
            depths[id(node)] = 1 + max((depths[id(child)] for child in below), default=0)
            line = node.start_mark.line + 1
            if sizes[id(node)] > MAX_NODES:
                raise UnreadableFile(line, f"the file has more than {MAX_NODES} values, aliases expanded.")
            if depths[id(node)] > MAX_DEPTH:
                raise UnreadableFile(line, f"lists and mappings are nested more than {MAX_DEPTH} deep.")
        elif id(node) in open_nodes:
            raise UnreadableFile(node.start_mark.line + 1, "an alias stands inside what it names.")
        elif id(node) not in sizes:
            open_nodes.add(id(node))
            stack += [(node, True), *((child, False) for child in below)]


def children(node: yaml.Node) -> Iterator[yaml.Node]:
    """Yield the nodes right below a node."""
    if isinstance(node, yaml.SequenceNode):
        yield from node.value
    elif isinstance(node, yaml.MappingNode):
        for pair in node.value:
            yield from pair


def pairs(node: yaml.Node) -> Iterator[tuple[yaml.Node, yaml.Node]]:
    """Yield the keys and values of a mapping, those that it merges (<<) first."""
    own = node.value if isinstance(node, yaml.MappingNode) else []
    for key, value in own:
        if key.tag == "tag:yaml.org,2002:merge":
            for merged in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                yield from pairs(merged)
    yield from ((key, value) for key, value in own if key.tag != "tag:yaml.org,2002:merge")


def duplicate_keys(root: yaml.Node) -> Iterator[tuple[int, str, int]]:
    """Yield (line, key, line of the one before) for each key that a mapping has twice."""
    stack, seen_nodes = [root], set()
    while stack:
        node = stack.pop()
        if id(node) in seen_nodes:
            continue
        seen_nodes.add(id(node))
        stack += children(node)
        first: dict[str, int] = {}
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if isinstance(key, yaml.ScalarNode):
                line = key.start_mark.line + 1
                if key.value in first:
                    yield line, key.value, first[key.value]
                first[key.value] = line
