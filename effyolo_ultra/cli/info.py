"""`effyolo info`: a network row by row."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from effyolo_ultra.cli._parts import print_json, quiet, subcommand

if TYPE_CHECKING:
    from effyolo_ultra.info import Info
    from effyolo_ultra.network import Network
    from effyolo_ultra.origin import Checkpoint, Weights

EXAMPLES = """\
  effyolo info yolov5n-effdet.yaml
  effyolo info mine.yaml --imgsz 1280
  effyolo info runs/detect/train/weights/best.pt --json"""


def add(commands: Any) -> None:
    """Add the subcommand."""
    text = "show a network row by row: sizes, parameters, GFLOPs, and the weights that it starts from"
    parser = subcommand(commands, "info", text, EXAMPLES)
    parser.add_argument("model", help="name or path of a model YAML, or a checkpoint (.pt)")
    parser.add_argument(
        "--imgsz", type=int, default=640, help="height and width of the image to compute for, by default 640"
    )
    parser.add_argument("--json", action="store_true", help="print all of it as one record instead of tables")
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Show the network."""
    with quiet():
        from effyolo_ultra.info import model_info

        info = model_info(given.model, given.imgsz)
    if given.json:
        network = info.network
        totals = {"parameters": network.parameters, "gflops": network.gflops}
        weights = [item._asdict() for item in info.weights]
        checkpoint = info.checkpoint and info.checkpoint._asdict()
        print_json({**asdict(info), "weights": weights, "checkpoint": checkpoint, **totals})
        return 0
    from effyolo_ultra.cli._tables import show

    show(title(info.network), "", rows(info.network), "", parts(info), "", *map(origin, info.weights))
    if info.checkpoint:
        show("", *training(info.checkpoint))
    return 0


def title(network: Network) -> str:
    """Return the first line."""
    strides = ", ".join(map(str, network.strides))
    return (
        f"{network.name}: {network.task}, {network.classes} classes, {network.backbone}, {network.neck or 'no neck'},"
        f" {network.head} on strides {strides}"
    )


def rows(network: Network) -> Any:
    """Return the table of the rows, with a heading for each part."""
    from effyolo_ultra.cli._tables import table

    headings = ("", "[from, repeats, module, args]", "output", "stride", "parameters", "GFLOPs")
    columns = table(*headings, numbers=(0, 2, 3, 4, 5))
    part = ""
    for layer in network.layers:
        if layer.part != part:
            part = layer.part
            columns.add_row("", f"{part}:", style="bold")
        output = "\n".join("x".join(map(str, shape)) for shape in layer.outputs)
        strides = "\n".join(map(str, layer.strides))
        columns.add_row(
            str(layer.index), layer.written, output, strides, f"{layer.parameters:,}", f"{layer.gflops:.2f}"
        )
    return columns


def parts(info: Info) -> Any:
    """Return the table of the parts."""
    from effyolo_ultra.cli._tables import table

    columns = table("part", "rows", "parameters", "", "GFLOPs", "", numbers=(1, 2, 3, 4, 5))
    for share in info.parts:
        percent = (f"{of:.0%}" for of in (share.of_parameters, share.of_gflops))
        add_part(columns, share.part, share.layers, share.parameters, share.gflops, *percent)
    network = info.network
    add_part(columns, "all", len(network.layers), network.parameters, network.gflops, "", "")
    columns.caption, columns.caption_justify = f"at {network.imgsz} x {network.imgsz}", "left"
    return columns


def add_part(
    columns: Any, name: str, layers: int, parameters: int, gflops: float, of_parameters: str, of_gflops: str
) -> None:
    """Add a row to the table of the parts."""
    columns.add_row(name, str(layers), f"{parameters:,}", of_parameters, f"{gflops:.2f}", of_gflops)


def origin(weights: Weights) -> str:
    """Return the line that says where weights are from."""
    where = weights.module if weights.layer is None else f"row {weights.layer} ({weights.module})"
    here = {True: "; on this machine", False: "; not on this machine", None: ""}[weights.here]
    return f"weights of {where}: {weights.source}{here}"


def training(checkpoint: Checkpoint) -> list[str]:
    """Return the lines that say what a checkpoint was trained with."""
    lines = []
    if checkpoint.epoch is not None:
        of = checkpoint.training.get("epochs")
        lines.append(f"trained: {checkpoint.epoch}{f' of {of}' if of else ''} epochs")
    if checkpoint.fitness is not None:
        lines.append(f"best fitness: {checkpoint.fitness:.4g}")
    lines += [f"{name}: {value:.4g}" for name, value in checkpoint.metrics.items() if name.startswith("metrics/")]
    lines += [f"{name}: {value}" for name, value in checkpoint.training.items() if name != "epochs"]
    lines.append(f"saved: {checkpoint.date or 'at an unknown time'} by ultralytics {checkpoint.ultralytics or '?'}")
    return lines
