"""The picture of a network: every row is in it, nothing is on top of anything else, and no file is overwritten."""

from itertools import combinations

import pytest
import torch
from matplotlib.path import Path as Line
from matplotlib.transforms import Bbox
from ultralytics import YOLO

from effyolo_ultra import draw
from effyolo_ultra.drawing.graph import graph_of
from effyolo_ultra.drawing.layout import lay_out
from effyolo_ultra.drawing.picture import IMGSZ, figure_of, line_width
from effyolo_ultra.drawing.routes import lies_on, ways_of
from effyolo_ultra.fusion import fusion_weights
from effyolo_ultra.network import describe
from effyolo_ultra.nn.fusion import FusionWeights

MODELS = ["yolov5n-effdet.yaml", "yolov5n-effdet-p7.yaml", "yolov5-effb0-bifpn.yaml", "yolov5-effb0-pan.yaml"]
STOCK = ["yolo11n.yaml", "yolov8n-p6.yaml", "yolo11n-cls.yaml"]
LARGE = ("yolov5-effb7-effdet-p8.yaml", "rtdetr-l.yaml", "yolov10n.yaml", "yolo11n-pose.yaml")
SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in LARGE]


def drawn(model, is_weighted=False):
    network = describe(model, IMGSZ)
    graph = graph_of(network, model, is_weighted)
    return network, graph, figure_of(graph, network)


def opened(name):
    from effyolo_ultra._open import open_model

    return open_model(name)


@pytest.mark.parametrize("name", [*MODELS, *STOCK, *SLOW])
def test_nothing_is_on_top_of_anything_else(name):
    _, graph, figure = drawn(opened(name))
    figure.draw_without_rendering()
    texts = [text.get_window_extent() for text in figure.axes[0].texts]
    assert len(texts) >= len(graph.boxes)
    assert [(a, b) for a, b in combinations(texts, 2) if a.overlaps(b)] == []
    assert all(figure.bbox.containsx(b.x0) and figure.bbox.containsx(b.x1) for b in texts)
    assert all(figure.bbox.containsy(b.y0) and figure.bbox.containsy(b.y1) for b in texts)

    layout = lay_out(graph, {"backbone": 0, "neck": 0})
    boxes = {}
    for box, place in layout.places.items():
        left, right, bottom, top = place.edges
        boxes[box] = Bbox([[left, bottom], [right, top]])
    assert [(a.text, b.text) for a, b in combinations(boxes, 2) if boxes[a].overlaps(boxes[b])] == []
    ways = ways_of(graph, layout)
    assert len(ways) == len(graph.arrows)
    hit = [
        (arrow.source.box.text, arrow.target.text, box.text)
        for arrow, way in zip(graph.arrows, ways)
        for box in boxes
        if box not in (arrow.source.box, arrow.target) and Line(way).intersects_bbox(boxes[box], filled=False)
    ]
    assert hit == []
    arrows = list(zip(graph.arrows, ways))
    along = [
        (a.target.text, b.target.text)
        for (a, v), (b, w) in combinations(arrows, 2)
        if a.source.box is not b.source.box and lies_on(v, w)
    ]
    assert along == []


@pytest.mark.parametrize("name", MODELS[2:])
def test_every_row_is_in_the_picture(name):
    network, graph, _ = drawn(opened(name))
    words = [line for box in graph.boxes for line in box.text]
    for layer in network.layers:
        if layer.module in ("EfficientNetBackbone", "PyramidLevel", "BiFPN"):
            continue
        same = [row for row in network.layers if row.module == layer.module]
        assert words.count(layer.module.rpartition(".")[2]) == len(same)
    assert [line for line in words if line in ("16 ch", "24 ch", "40 ch", "112 ch", "320 ch")][:3] == [
        "16 ch",
        "24 ch",
        "40 ch",
    ]


def test_cells_of_a_bifpn():
    _, graph, figure = drawn(opened("yolov5n-effdet-p7.yaml"))
    nodes = [box for box in graph.boxes if box.cell]
    assert len(nodes) == 3 * 8 and len({box.cell for box in nodes}) == 3
    assert sum(arrow.target in nodes for arrow in graph.arrows) == 3 * (4 * 2 + 3 * 3 + 2)  # figure 2d of the paper
    assert {"cell 0", "cell 1", "cell 2", "BiFPN 64 x 3"} <= {text.get_text() for text in figure.axes[0].texts}
    levels = {box.level for box in graph.boxes if box.text == ["max-pool"]}
    assert levels == {6, 7}


@pytest.mark.parametrize("name", ["yolov5n-effdet.yaml", "yolov5-effb0-bifpn.yaml"])
def test_line_widths_are_the_fusion_weights(name):
    model = opened(name)
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, FusionWeights):
            module.weight.data.uniform_(0.1, 2)
    _, graph, figure = drawn(model, is_weighted=True)
    weights = [arrow.weight for arrow in graph.arrows if arrow.weight is not None]
    assert weights == [edge.weight for edge in fusion_weights(model)] and len(set(weights)) > 8
    widths = {round(patch.get_linewidth(), 6) for patch in figure.axes[0].patches}
    assert {round(line_width(weight), 6) for weight in weights} <= widths
    assert {"weight 0.5", "no weight"} <= {text.get_text() for text in figure.axes[0].texts}


def test_files(tmp_path):
    yolo = YOLO("yolo11n-cls.yaml")
    for suffix, start in (("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")):
        assert draw(yolo, tmp_path / f"net.{suffix}", title="A title of $^ 5$").read_bytes().startswith(start)
    (tmp_path / "mine.png").write_text("mine", encoding="utf-8")
    with pytest.raises(FileExistsError, match="there already"):
        draw(yolo, tmp_path / "mine.png")
    assert (tmp_path / "mine.png").read_text(encoding="utf-8") == "mine"
    draw(yolo, tmp_path / "mine.png", overwrite=True)
    assert (tmp_path / "mine.png").stat().st_size > 1000


def test_bad_input(tmp_path):
    with pytest.raises(ValueError, match=r"\.png, \.svg, \.pdf"):
        draw("yolo11n.yaml", tmp_path / "net.gif")
    with pytest.raises(FileNotFoundError, match=r"no\.pt"):
        draw(tmp_path / "no.pt", tmp_path / "net.png")
    assert not list(tmp_path.iterdir())
