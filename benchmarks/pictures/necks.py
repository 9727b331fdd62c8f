"""Pictures of the neck: the cell of a BiFPN, the inside of a node, and the way from a backbone through it to a head."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn
from ultralytics.nn.tasks import DetectionModel

from benchmarks.pictures.sheet import BLACK, BLUE, GRAY, GREEN, PURPLE, RED, Point, Sheet
from effyolo_ultra.fusion.edges import feature_names
from effyolo_ultra.nn import BiFPN, EfficientNetBackbone
from effyolo_ultra.nn.bifpn_cell import BiFPNNode, bifpn_nodes

MODEL, IMAGE = "yolov5n-effdet.yaml", 640
LEVELS, ROW, COLUMN = (3, 4, 5, 6, 7), 1.7, 4.2


def bifpn() -> Sheet:
    """Draw the nodes and edges of one cell of a BiFPN on P3 to P7, over a backbone with P3 to P5."""
    backbone = EfficientNetBackbone("b0", pretrained=False)
    neck = BiFPN(dict(zip(backbone.levels, backbone.out_channels)), 64, 3, levels=LEVELS)
    names, plan, count = feature_names(neck.levels), bifpn_nodes(len(neck.levels)), len(neck.levels)
    lacking = range(count - len(neck.extra_levels), count)
    place = {}  # of each feature map on the sheet, by its index in the plan
    for index, name in enumerate(names):
        level, column = name[1:].split("_")
        place[index] = (2.2 + COLUMN * ("in", "td", "out").index(column), 1.7 + ROW * (int(level) - LEVELS[0]))

    sheet = Sheet(17.2, 10.4)
    sheet.text((0.3, 10), f"BiFPN, [{neck.channels}, {{levels: {list(neck.levels)}}}]: one cell", align="left", font=10)
    for column, title in enumerate(("input", "top-down", "bottom-up: output")):
        sheet.text((2.2 + COLUMN * column, 9.35), title, GRAY)
    for end, (_, inputs) in enumerate(plan, count):
        for start in inputs:
            draw_edge(sheet, place[start], place[end], place.values())
    for index, name in enumerate(names):
        (x, y), is_input = place[index], index < count
        channels = backbone.out_channels[index] if index < lacking.start else neck.channels
        sheet.box((x, y), (1.7, 1.0), f"{name}\n{channels} ch", GRAY if is_input else GREEN, dashed=index in lacking)
        if index in lacking:
            sheet.arrow((x, y - ROW + 0.5), (x, y - 0.5), RED, dashed=True)
    key = [
        (BLUE, "resized up,\nnearest neighbour"),
        (RED, "resized down,\nmax-pooling 3x3, stride 2"),
        (BLACK, "same level"),
        (PURPLE, "same level, the skip edge\nfrom input to output"),
    ]
    for i, (color, text) in enumerate(key):
        sheet.arrow((12.2, 7.9 - 1.25 * i), (12.9, 7.9 - 1.25 * i), color)
        sheet.text((13.4, 7.9 - 1.25 * i), text, align="left", font=7)
    sheet.box((12.7, 2.75), (1.0, 0.6), "", GRAY, dashed=True)
    sheet.text((13.4, 2.75), "a level that the\nbackbone lacks", align="left", font=7)
    sheet.box((12.7, 1.75), (1.0, 0.6), "", GREEN)
    sheet.text((13.4, 1.75), "a node: fusion,\nthen convolution", align="left", font=7)
    cells = len(neck.cells)
    note = f"repeats = {cells}: {cells} cells; the next one takes the outputs, {neck.channels} channels at each level"
    sheet.text((0.3, 0.45), note, GRAY, align="left", font=7)
    return sheet


def draw_edge(sheet: Sheet, start: Point, end: Point, boxes: Iterable[Point]) -> None:
    """Draw an edge between two boxes of 1.7 x 1.0."""
    (x0, y0), (x1, y1) = start, end
    if y0 == y1:
        skips = x1 - x0 > COLUMN and any(x0 < x < x1 and y == y0 for x, y in boxes)
        lift = 0.2 if skips else 0  # over the box between
        sheet.arrow((x0 + 0.85, y0 + lift), (x1 - 0.85, y1 + lift), PURPLE if skips else BLACK, bend=-1.4 * lift)
    elif x0 == x1:
        side = 0.5 if y1 > y0 else -0.5
        sheet.arrow((x0, y0 + side), (x1, y1 - side), RED if y1 > y0 else BLUE)
    else:
        side = 0.5 if y1 > y0 else -0.5
        sheet.arrow((x0 + 0.85, y0), (x1 - 0.5, y1 - side), RED if y1 > y0 else BLUE)


def node() -> Sheet:
    """Draw what is inside of a node of a BiFPN, in two forms."""
    sheet = Sheet(18.4, 8.6)
    sheet.text((0.3, 8.2), "Inside of a node: P4_td of a cell whose P4 has other channels", align="left", font=10)
    forms = [
        ("the default", {"conv": "separable", "act_first": True}),
        ("{conv: full, act_first: false}", {"conv": "full", "act_first": False}),
    ]
    channels = {"P4_in": 112, "P5_in": 64}
    for i, (title, options) in enumerate(forms):
        made = BiFPNNode(list(channels.values()), 64, fusion="fast", eps=1e-4, act=nn.SiLU(), **options)
        y = 5.6 - 3.9 * i
        sheet.text((0.3, y + 1.75), title, BLUE, align="left", font=9, family="monospace")
        for k, (lateral, name) in enumerate(zip(made.laterals, channels)):
            at = y + 0.75 - 1.5 * k
            steps = [label(m) for m in lateral] + (["resize to\nthe size of P4"] if k else [])
            boxes = [(step, BLUE) for step in steps]
            sheet.box((1.2, at), (1.6, 1.0), f"{name}\n{channels[name]} ch", GRAY)
            sheet.arrow((2.0, at), (2.4, at))
            x, _ = sheet.chain((2.4, at), boxes, (2.4, 1.0))
            sheet.arrow((x, at), (5.6, at), head=False)
            sheet.arrow((5.6, at), (7.75, y + 0.2 - 0.4 * k))
            sheet.text((6.4, at + (0.25 if k == 0 else -0.25)), f"times w{k + 1}", RED)
        sheet.box((8.5, y), (1.5, 1.3), "sum of\nw x", RED)
        act = (type(made.act).__name__, PURPLE)
        convs = [(label(module), BLUE) for module in made.conv]
        sheet.arrow((9.25, y), (9.65, y))
        x, _ = sheet.chain((9.65, y), [act, *convs] if made.act_first else [*convs, act], (2.05, 1.2), 0.4)
        sheet.arrow((x, y), (x + 0.4, y))
        sheet.text((x + 0.5, y), "P4_td", align="left")
    return sheet


def label(module: nn.Module) -> str:
    """Return what a module of a node is, in two or three lines."""
    conv = getattr(module, "conv", module)
    k = conv.kernel_size[0]
    kind = "depthwise" if conv.groups > 1 else "conv"
    norm = "\nBatchNorm" if hasattr(module, "bn") else ""
    return f"{k}x{k} {kind}\n{conv.in_channels} to {conv.out_channels} ch{norm}"


def way() -> Sheet:
    """Draw the rows of a model YAML, what each gives, and where a pyramid becomes tensors."""
    network = DetectionModel(MODEL, verbose=False).eval()
    written = [*network.yaml["backbone"], *network.yaml["head"]]
    given: dict[int, list[torch.Tensor]] = {}
    for layer in network.model[:-1]:
        layer.register_forward_hook(lambda m, _, x: given.update({m.i: x if isinstance(x, list) else [x]}))
    with torch.no_grad():
        network(torch.zeros(1, 3, IMAGE, IMAGE))
    backbone, neck, *levels, head = network.model

    sheet = Sheet(18.4, 6.6)
    title = f"{MODEL}: what each row gives for an image of {IMAGE} x {IMAGE}"
    sheet.text((0.3, 6.2), title, align="left", font=10)
    sheet.box((1.2, 3.4), (1.7, 1.1), "image", GRAY)
    x = 2.05
    for layer, color in ((backbone, BLUE), (neck, GREEN)):
        sheet.arrow((x, 3.4), (x + 0.5, 3.4))
        middle = x + 2.35
        sheet.box((middle, 3.4), (3.7, 3.6), "", color)
        sheet.text((middle, 4.75), f"{layer.i}: {written[layer.i][2]}")
        args = ", ".join(map(str, written[layer.i][3]))
        sheet.text((middle, 4.3), f"[{args}]", GRAY, font=7, family="monospace")
        maps = (f"P{k}: {size(x)}" for k, x in zip(layer.levels, given[layer.i]))
        sheet.text((middle, 3.25), "\n".join(maps), font=7.5)
        sheet.text((middle, 2.0), "a pyramid: a list of tensors", RED, font=7)
        x += 4.2
    for i, layer in enumerate(levels):
        y, beside = 5.1 - 1.7 * i, 3.4 + (1 - i) * 0.9
        sheet.arrow((x, beside), (x + 0.6, y))
        text = f"{layer.i}: {written[layer.i][2]}, {written[layer.i][3]}\n{size(given[layer.i][0])}"
        sheet.box((x + 2.1, y), (3.0, 1.25), text, PURPLE, font=7.5)
        sheet.arrow((x + 3.6, y), (x + 4.2, beside))
    taken = ", ".join(map(str, head.f))
    sheet.box((x + 5.4, 3.4), (2.4, 3.6), f"{head.i}: {written[head.i][2]}\n\ntakes layers\n{taken}", GRAY)
    sheet.text((x + 2.1, 0.75), "one tensor each, as stock rows take it", RED, font=7)
    return sheet


def size(x: torch.Tensor) -> str:
    """Return channels, height and width."""
    return " x ".join(map(str, x.shape[1:]))
