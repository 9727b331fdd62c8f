"""The pictures: every number is in them, none on top of another, and no file is overwritten."""

import pytest
import torch

from effyolo_ultra.fusion import fusion_weights, plot_fusion_weights
from effyolo_ultra.fusion.course import draw_course
from effyolo_ultra.fusion.plot import draw_network
from effyolo_ultra.nn import BiFPN
from effyolo_ultra.nn.fusion import FusionWeights

LEVELS = {3: [3, 4, 5], 5: [3, 4, 5, 6, 7], 2: [3, 4]}


def neck(levels, repeats, **options):
    torch.manual_seed(0)
    net = BiFPN({3: 8, 4: 8}, 8, repeats, levels=LEVELS[levels], **options)
    for module in net.modules():
        if isinstance(module, FusionWeights):
            module.weight.data.uniform_(0, 2)
    return net


@pytest.mark.parametrize(("levels", "repeats"), [(3, 1), (3, 3), (3, 7), (5, 3), (5, 7), (2, 8)])
def test_labels_do_not_overlap(levels, repeats):
    edges = fusion_weights(neck(levels, repeats))
    figure = draw_network(edges)
    figure.draw_without_rendering()
    texts = [text for axis in figure.axes for text in axis.texts]
    assert len([t for t in texts if t.get_text()[0] in "01"]) == len(edges)
    boxes = [text.get_window_extent() for text in texts] + [axis.title.get_window_extent() for axis in figure.axes[:-1]]
    assert [(i, j) for j, b in enumerate(boxes) for i, a in enumerate(boxes[:j]) if a.overlaps(b)] == []
    assert all(figure.bbox.containsx(b.x0) and figure.bbox.containsx(b.x1) for b in boxes)
    assert all(figure.bbox.containsy(b.y0) and figure.bbox.containsy(b.y1) for b in boxes)


@pytest.mark.parametrize(
    ("suffix", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF"), ("PNG", b"\x89PNG")]
)
def test_suffix_says_the_format(tmp_path, suffix, start):
    path = plot_fusion_weights(neck(3, 1), tmp_path / f"net.{suffix}")
    assert path.read_bytes().startswith(start)


def test_no_file_is_overwritten(tmp_path):
    path = tmp_path / "net.png"
    path.write_text("mine", encoding="utf-8")
    with pytest.raises(FileExistsError, match="there already"):
        plot_fusion_weights(neck(3, 1), path)
    assert path.read_text(encoding="utf-8") == "mine"
    plot_fusion_weights(neck(3, 1), path, overwrite=True)
    assert path.stat().st_size > 1000


def test_nothing_to_draw(tmp_path):
    with pytest.raises(ValueError, match="no weighted fusion"):
        plot_fusion_weights(torch.nn.Conv2d(1, 1, 1), tmp_path / "net.png")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("levels", "panels"), [(3, 12), (5, 24)])
def test_course_has_a_panel_for_each_node_and_a_curve_for_each_edge(levels, panels):
    edges = fusion_weights(neck(levels, 3))
    course = [[epoch, *(edge.weight + epoch / 100 for edge in edges)] for epoch in range(1, 4)]
    axes = [axis for axis in draw_course(edges, course).axes if axis.lines]
    assert len(axes) == panels
    curves = [line for axis in axes for line in axis.lines]
    for k, line in enumerate(curves):
        assert list(line.get_ydata()) == [row[k + 1] for row in course]
    assert len(curves) == len(edges)
