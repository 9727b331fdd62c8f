"""Cost of necks under an EfficientNet-B0, for docs/necks.md.

python -m benchmarks.necks            prints the table
python -m benchmarks.necks --write    writes it into docs/necks.md and draws docs/necks.png

Each neck is cut out of a network as Ultralytics uses it at inference: fused, in eval mode. The necks take turns, so
that what else the machine does hits all of them alike; compare the ratios.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Mapping

import torch
import yaml
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from ultralytics.nn.tasks import DetectionModel

from benchmarks.page import ROOT, write_between
from effyolo_ultra import model_path

CHANNELS, STRIDES, IMAGE = (40, 112, 320), (8, 16, 32), 640
REPEATS, WARM_UP = 40, 5
BIFPN = ((64, 1), (64, 3), (88, 4), (112, 5), (160, 6))  # channels, cells
PAN = {"PAN": "yolov5-effb0-pan.yaml", "weighted PAN": "yolov5-effb0-bifpn.yaml"}


class Neck(nn.Module):
    """The layers of a network between its backbone and its head."""

    def __init__(self, document: dict):
        super().__init__()
        network = DetectionModel(copy.deepcopy(document), verbose=False).fuse(verbose=False)
        _, *layers, head = network.model
        self.layers, self.outputs = nn.ModuleList(layers), head.f

    def forward(self, pyramid: list[torch.Tensor]) -> list[torch.Tensor]:
        """Run the layers as Ultralytics does."""
        given = [pyramid]
        for layer in self.layers:
            sources = [layer.f] if isinstance(layer.f, int) else layer.f
            inputs = [given[source] for source in sources]
            given.append(layer(inputs[0] if isinstance(layer.f, int) else inputs))
        return [given[i] for i in self.outputs]


def necks() -> dict[str, Neck]:
    """Build all necks."""
    documents = {}
    for size, width in (("n", 0.25), ("s", 0.5)):
        for name, file in PAN.items():
            document = yaml.safe_load(model_path(file).read_text(encoding="utf-8"))
            documents[f"{name}, YOLOv5{size}"] = {**document, "width_multiple": width}
    rows = [[1, 1, "PyramidLevel", [level]] for level in (3, 4, 5)]
    for channels, cells in BIFPN:
        head = [[0, cells, "BiFPN", [channels]], *rows, [[2, 3, 4], 1, "Detect", ["nc"]]]
        backbone = [[-1, 1, "EfficientNetBackbone", ["b0"]]]
        documents[f"BiFPN {channels} x {cells}"] = {"nc": 80, "backbone": backbone, "head": head}
    torch.manual_seed(0)
    return {name: Neck(document).eval().to(memory_format=torch.channels_last) for name, document in documents.items()}


def computed(neck: Neck) -> Neck:
    """Return a copy of a neck that computes its fusion weights in each forward pass."""
    return copy.deepcopy(neck).train().eval()  # training drops what was constant


def pyramid() -> list[torch.Tensor]:
    """Return feature maps of an EfficientNet-B0."""
    maps = (torch.randn(1, c, IMAGE // s, IMAGE // s) for c, s in zip(CHANNELS, STRIDES))
    return [x.to(memory_format=torch.channels_last) for x in maps]


def milliseconds(nets: Mapping[str, Neck]) -> dict[str, list[float]]:
    """Return the times of forward passes of each, in turns."""
    inputs = pyramid()
    times: dict[str, list[float]] = {name: [] for name in nets}
    with torch.inference_mode():
        for repeat in range(REPEATS + WARM_UP):
            for name, net in nets.items():
                start = time.perf_counter()
                net(inputs)
                if repeat >= WARM_UP:
                    times[name].append(1000 * (time.perf_counter() - start))
    return times


def gflops(net: Neck) -> float:
    """Return GFLOPs as Ultralytics counts them: two for each multiply-add of a convolution."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(pyramid())
    return counter.get_total_flops() / 1e9


def parameters(net: Neck) -> float:
    """Return the number of parameters, in millions."""
    return sum(p.numel() for p in net.parameters()) / 1e6


def neck_table(nets: Mapping[str, Neck], times: Mapping[str, float]) -> str:
    """Parameters, GFLOPs and time of each neck."""
    text = "| neck | parameters (M) | GFLOPs | time (ms) | of PAN, YOLOv5n | of PAN, YOLOv5s |\n"
    text += "| --- | ---: | ---: | ---: | ---: | ---: |\n"
    for name, net in nets.items():
        ratios = " | ".join(f"{times[name] / times[f'PAN, YOLOv5{size}']:.2f}" for size in "ns")
        text += f"| {name} | {parameters(net):.2f} | {gflops(net):.2f} | {times[name]:.1f} | {ratios} |\n"
    return text


def constants_table(nets: Mapping[str, Neck]) -> str:
    """Time with fusion weights that are constants, and computed each time."""
    text = "| neck | time with constant fusion weights, of the time without |\n| --- | ---: |\n"
    for name, net in nets.items():
        if name.startswith("BiFPN"):
            times = milliseconds({"constant": net, "computed": computed(net)})
            ratio = statistics.median(a / b for a, b in zip(times["constant"], times["computed"]))
            text += f"| {name} | {ratio:.2f} |\n"
    return text


def draw(nets: Mapping[str, Neck], times: Mapping[str, float]) -> None:
    """Draw the times over the parameters."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axis = figure.subplots()
    # Okabe and Ito's colours, told apart by colour-blind readers.
    for family, color, marker in (("weighted PAN", "#D55E00", "^"), ("PAN", "#0072B2", "s"), ("BiFPN", "#009E73", "o")):
        names = [name for name in nets if name.startswith(family)]
        x, y = [parameters(nets[name]) for name in names], [times[name] for name in names]
        axis.plot(x, y, color=color, marker=marker, linewidth=1, label=family)
        for name, *point in zip(names, x, y):
            text = name.removeprefix(family).strip(", ")
            above = family != "PAN"
            offset = (-6, 6) if above else (6, -12)
            align = "right" if above else "left"
            axis.annotate(text, point, offset, textcoords="offset points", fontsize=8, color=color, ha=align)
    axis.set(xscale="log", yscale="log", xlabel="parameters (M)", ylabel="time (ms), one CPU thread")
    for axes, ticks in ((axis.xaxis, (0.1, 0.2, 0.5, 1, 2)), (axis.yaxis, (10, 20, 50, 100))):
        axes.set_ticks(ticks, labels=[f"{tick:g}" for tick in ticks])
        axes.set_ticks([], minor=True)
    axis.set_title("Necks under EfficientNet-B0 at 640 x 640, as used at inference", fontsize=10)
    axis.margins(0.15)
    axis.grid(alpha=0.3, linewidth=0.5)
    axis.legend(frameon=False)
    figure.savefig(ROOT / "docs" / "necks.png", dpi=130)


def main() -> None:
    """Print the tables, or write them into the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write the tables into docs/necks.md, draw docs/necks.png")
    write = parser.parse_args().write
    torch.set_flush_denormal(True)
    torch.set_num_threads(1)
    nets = necks()
    times = {name: statistics.median(values) for name, values in milliseconds(nets).items()}
    for name, table in (("neck table", neck_table(nets, times)), ("constants table", constants_table(nets))):
        write_between("docs/necks.md", name, table) if write else print(table)
    if write:
        draw(nets, times)


if __name__ == "__main__":
    main()
