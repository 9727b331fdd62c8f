"""Latency over parameters."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from benchmarks.speed.report import LABELS

# Okabe and Ito's colours, told apart by colour-blind readers; markers are filled for the zoo, hollow for the others.
ZOO = {"BiFPN": ("#009E73", "o"), "weighted PAN": ("#D55E00", "^"), "PAN": ("#0072B2", "s")}
PEERS = {"effdet": ("#000000", "o"), "YOLOv5": ("#E69F00", "s"), "YOLOv8": ("#56B4E9", "D"), "YOLO11": ("#CC79A7", "v")}
PEERS |= {"YOLO26": ("#7F7F7F", "P")}  # his yellow is hard to see on white
STYLES = {**ZOO, **PEERS}
LEGEND = {"BiFPN": "yolov5*-effdet", "weighted PAN": "yolov5-effb*-bifpn", "PAN": "yolov5-effb*-pan"}
LEGEND |= {"effdet": "EfficientDet of effdet"}
SHOWN = ("torch", "onnxruntime", "openvino")


def draw(results: Mapping, path: Path) -> None:
    """Draw one panel for each runtime."""
    from matplotlib.figure import Figure

    latency = results["latency"]
    runtimes = [runtime for runtime in SHOWN if runtime in latency] or list(latency)
    figure = Figure(figsize=(3 + 3.2 * len(runtimes), 4.4), layout="constrained")
    panels = figure.subplots(1, len(runtimes), sharex=True, sharey=True, squeeze=False)[0]
    for panel, runtime in zip(panels, runtimes):
        draw_runtime(panel, results["models"], latency[runtime])
        panel.set_title(LABELS.get(runtime, runtime), fontsize=10)
        panel.set_xlabel("parameters (M)")
    panels[0].set_ylabel("latency of one image (ms)")
    handles, texts = panels[0].get_legend_handles_labels()
    figure.legend(handles, texts, loc="outside right upper", frameon=False, fontsize=9)
    figure.savefig(path, dpi=130)


def draw_runtime(panel, models: Mapping, times: Mapping) -> None:
    """Draw the families of models, each as a line from small to large."""
    families: dict[str, list[tuple[float, float, str]]] = {}
    for name, ms in times.items():
        if name in models:  # a backbone alone is not one
            point = (models[name]["parameters"] / 1e6, ms, short(name))
            families.setdefault(models[name]["family"], []).append(point)
    order = [*STYLES, *families]
    for family in sorted(families, key=order.index):
        color, marker = STYLES.get(family, ("#000000", "x"))
        points = sorted(families[family])
        x, y = [point[0] for point in points], [point[1] for point in points]
        fill = color if family in ZOO else "white"
        panel.plot(
            x, y, color=color, marker=marker, mfc=fill, linewidth=1, markersize=5, label=LEGEND.get(family, family)
        )
        for *point, text in points:
            panel.annotate(text, point, (4, 3), textcoords="offset points", fontsize=7, color=color)
    panel.set(xscale="log", yscale="log")
    scale_ticks(panel)
    panel.margins(0.12)
    panel.grid(alpha=0.3, linewidth=0.5)


def scale_ticks(panel) -> None:
    """Write 1, 2, 5, 10, ... on both axes, not powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    for axis in (panel.xaxis, panel.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_locator(NullLocator())


def short(name: str) -> str:
    """Return what tells a model from the others of its family: n, n-p7, B3, D0."""
    if found := re.search(r"eff(?:icientdet_)?([bd]\d)", name):
        return found[1].upper()
    if found := re.match(r"yolov?\d+([nsmlx])(?:-eff\w+)?(?:-bifpn)?(-p\d)?\.yaml$", name):
        return found[1] + (found[2] or "")
    return name.removesuffix(".yaml")
