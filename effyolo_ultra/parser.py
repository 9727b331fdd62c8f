"""Ultralytics' `parse_model` for model YAMLs that also name modules of this package.

The stock parser stays the only authority on stock rows. A row of ours is *lowered*: its module is built here, and the
stock parser is given a row of its own that declares the module's output channels. Where a row of ours takes the output
of a stock row, the stock parser is asked for its channels (both in _probe.py). One stock call on the lowered rows
builds every stock layer in its full context, and the modules take the places of their declarations. A light head is
lowered to the stock head, and made light where that has been built.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from effyolo_ultra._failures import failures_explained
from effyolo_ultra._heads import check_head_args
from effyolo_ultra._limits import MAX_PARAMETERS, WIDE, largest_number
from effyolo_ultra._probe import StockParser
from effyolo_ultra._refusals import check_file_size, check_is_data, check_names, check_size
from effyolo_ultra._table import replace_lines, table_line
from effyolo_ultra.document import ModelDocument
from effyolo_ultra.errors import ModelYAMLError, UnknownNameError
from effyolo_ultra.nn.light_head import light_heads, lighten
from effyolo_ultra.registry import ALIASES
from effyolo_ultra.row import Built, Pyramid, Row, pyramid_needs_level
from effyolo_ultra.zoo import check_scale_letter, nearest_models


def parse_model(
    stock: Callable[..., Any],
    tasks: ModuleType,
    modules: Mapping[str, type],
    d: dict[str, Any],
    ch: int,
    verbose: bool = True,
) -> tuple[nn.Sequential, list[int]]:
    """Build the network that a model YAML describes.

    Args:
        stock: Ultralytics' own `parse_model`.
        tasks: The module `ultralytics.nn.tasks`.
        modules: The registered modules by name.
        d: The model YAML, as a dictionary.
        ch: Channels of the image.
        verbose: Whether to print the model table.

    Returns:
        The layers, and the sorted indices of those whose outputs are needed later.

    Raises:
        ModelYAMLError: If the YAML describes no network.
    """
    document = ModelDocument(d)
    check_names(document, tasks, modules)
    light = light_heads(tasks)
    if not document.names_any_of([*modules, *light]):
        layers, saved = stock(d, ch, verbose)
        prune(document, layers, tasks, verbose)
        return layers, saved

    check_is_data(document, tasks, modules)
    rows = list(document.rows())
    check_size(document, rows)
    check_head_args(document, tasks)
    parser = StockParser(stock, tasks, document, rows, modules, light, ch)
    with failures_explained(parser):
        built = build_registered(rows, modules, parser)
        parser.try_rest()
        model = build_network(rows, built, light, parser, verbose)
        prune(document, model, tasks, verbose)
    return model, document.saved(rows)


def load_model_yaml(
    stock: Callable[..., Any], tasks: ModuleType, modules: Mapping[str, type], path: str | Path
) -> dict[str, Any]:
    """Read a model YAML and check what Ultralytics takes for granted before it parses it.

    Args:
        stock: Ultralytics' own `yaml_model_load`.
        tasks: The module `ultralytics.nn.tasks`.
        modules: The registered modules by name.
        path: Name or path of the file.

    Returns:
        The model YAML, with the keys `scale` and `yaml_file`.

    Raises:
        UnknownNameError: If there is no such file, or not with the scale letter in its name.
        ModelYAMLError: If it is no model YAML.
    """
    check_scale_letter(str(path))
    ours = [*modules, *light_heads(tasks)]
    check_file_size(Path(path), ours)
    try:
        d = stock(path)
    except FileNotFoundError:
        if hint := nearest_models(str(path), tasks):
            raise UnknownNameError(f"there is no model '{path}', neither as a file nor in the zoo.{hint}") from None
        raise
    except OSError:
        raise
    except Exception as error:  # each version refuses in its own way what is no YAML or no mapping
        problem = f"is no YAML mapping with 'backbone' and 'head': {error}"
        raise ModelYAMLError.in_file(str(path), problem, colon=False) from None
    document = ModelDocument(d)
    document.check_parts()
    check_names(document, tasks, modules)
    if document.names_any_of(ours):
        document.check_head()
        if document.has_anchors:
            tasks.LOGGER.info(
                f"{document.file}: its 'anchors' are not used, because the heads of Ultralytics have none."
            )
    return d


def build_registered(rows: list[Row], modules: Mapping[str, type], parser: StockParser) -> dict[int, Built]:
    """Build the modules of the registered rows, and declare to the stock parser what they give."""
    built = {}
    for row in rows:
        if row.module in modules:
            inputs = [parser.output(source, row) for source in row.sources]
            row = dataclasses.replace(row, inputs=inputs, activation=parser.activation)
            built[row.index] = build(modules[row.module], row)
            parser.declare(row.index, built[row.index].module, built[row.index].output)
        else:
            for source in row.sources:
                if isinstance(given := parser.given.get(source), Pyramid):
                    row.error(pyramid_needs_level(source, given))
    return built


def build_network(
    rows: list[Row], built: dict[int, Built], light: Mapping[str, str], parser: StockParser, verbose: bool
) -> nn.Sequential:
    """Build all stock layers, and put our modules among them."""
    lines = {}
    for index, (module, _, args) in built.items():
        row = rows[index]
        module.np = sum(p.numel() for p in module.parameters())
        module.i, module.f, module.type = index, parser.document.written[index][0], str(type(module))[8:-2]
        lines[index] = table_line(module, row.scaling.repeats(row.repeats), args)
    logger = parser.tasks.LOGGER
    with replace_lines(logger, lines, [row.index for row in rows if row.module in light]) as held:
        model = parser.build(verbose)
    for row in rows:
        if row.module in light:
            lighten(model[row.index], row.module)
            if row.index in held:
                logger.info(table_line(model[row.index], row.repeats, held[row.index]))
    for index, (module, *_) in built.items():
        model[index] = module
    return model


def build(cls: Any, row: Row) -> Built:
    """Build the module of a row; what its constructor refuses is an error of the row."""
    _, inputs = ALIASES.get(row.module, (cls, None))
    if inputs not in (None, len(row.sources)):
        row.error(
            f"{row.module} takes {inputs} layers, but 'from' has {len(row.sources)}: write {cls.__name__}, which takes"
            " any number from 2 on."
        )
    try:
        if largest_number(row) > WIDE:
            check_parameters(cls, row)
        return cls.from_row(row)
    except ModelYAMLError:
        raise
    except (TypeError, ValueError) as error:
        row.error(str(error))
    except Exception as error:  # whatever torch or timm makes of it, it is about this row
        row.error(f"{type(error).__name__}: {error}", cause=error)


def check_parameters(cls: Any, row: Row) -> None:
    """Refuse a module that is too large, before memory is taken for it."""
    try:
        with torch.device("meta"):
            module = cls.from_row(row).module
    except Exception:  # of one that cannot be built without data, or not at all, which is said then
        return
    parameters = sum(p.numel() for p in module.parameters())
    if parameters > MAX_PARAMETERS:
        row.error(f"{row.module} has {parameters:.1e} parameters; more than {MAX_PARAMETERS:.0e} are not built.")


def prune(document: ModelDocument, layers: nn.Sequential, tasks: ModuleType, verbose: bool) -> None:
    """Give the layers the channels that are left where a network was pruned."""
    if document.d.get("pruned") is None:
        return
    document.prune(layers)
    whole = sum(layer.np for layer in layers)
    for layer in layers:
        layer.np = sum(p.numel() for p in layer.parameters())
    if verbose:
        left = sum(layer.np for layer in layers)
        tasks.LOGGER.info(
            f"effyolo_ultra: the table is of the network before pruning: {whole:,} parameters, now {left:,}"
        )
