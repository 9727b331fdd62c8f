"""The records, the table and the command, against weights that are set and normalised by hand."""

import json
import sys
from pathlib import Path

import pytest
import torch
from ultralytics import YOLO

import effyolo_ultra
from effyolo_ultra.cli import main
from effyolo_ultra.errors import UnknownNameError, WeightsError
from effyolo_ultra.fusion import fusion_table, fusion_weights
from effyolo_ultra.nn import BiFPN, BiFPN_Add

ROWS = """
nc: 3
backbone:
  - [-1, 1, Conv, [8, 3, 4]]
  - [-1, 1, Conv, [16, 3, 2]] # 1, stride 8
  - [-1, 1, Conv, [16, 3, 2]] # 2, stride 16
head:
  - [[1, 2], 2, BiFPN, [16, {shared_weights: true, fusion: softmax}]] # 3
  - [3, 1, PyramidLevel, [4]] # 4
  - [-1, 1, nn.Upsample, [None, 2, nearest]]
  - [[-1, 1], 1, BiFPN_Concat, []] # 6
  - [-2, 1, Conv, [16, 3, 2]]
  - [[4, -1], 1, BiFPN_Add, [{fusion: sum}]] # 8
  - [[6, 8], 1, Detect, [nc]]
"""


@pytest.fixture
def network(model_yaml):
    model = YOLO(model_yaml(ROWS))
    model.model.model[6].weights.weight.data = torch.tensor([3.0, 1.0])
    model.model.model[3].cells[0].nodes[1].fuse.weights.weight.data = torch.tensor([0.0, 1.0])
    return model


def test_edges_of_a_cell_are_named_as_in_the_paper():
    """Section 3.3 writes out P6_td and P6_out; the other levels follow."""
    net = BiFPN({5: 8, 6: 8, 7: 8}, 8, 1)
    net.cells[0].nodes[2].fuse.weights.weight.data = torch.tensor([1.0, 2.0, 1.0])
    edges = fusion_weights(net)
    assert [(e.node, e.input) for e in edges] == [
        ("P6_td", "P6_in"),
        ("P6_td", "P7_in"),
        ("P5_out", "P5_in"),
        ("P5_out", "P6_td"),
        ("P6_out", "P6_in"),
        ("P6_out", "P6_td"),
        ("P6_out", "P5_out"),
        ("P7_out", "P7_in"),
        ("P7_out", "P6_out"),
    ]
    assert [e.weight for e in edges[4:7]] == pytest.approx([1 / 4.0001, 2 / 4.0001, 1 / 4.0001])
    assert [e.raw for e in edges[4:7]] == [1, 2, 1]
    assert {(e.layer, e.stride) for e in edges[4:7]} == {(None, 64)}


def test_names_of_the_edges_are_what_the_cell_computes():
    """A gradient flows from a node to an input if, and only if, a path of edges says so."""
    net = BiFPN({3: 8, 4: 8, 5: 8}, 8, 1).eval()
    edges = fusion_weights(net)
    inputs = [torch.rand(1, 8, s, s, requires_grad=True) for s in (16, 8, 4)]
    for silenced in edges:
        for edge in edges:  # all edges but one let something through
            node = {"P4_td": 0, "P3_out": 1, "P4_out": 2, "P5_out": 3}[edge.node]
            weight = net.cells[0].nodes[node].fuse.weights.weight
            position = [e.input for e in edges if e.node == edge.node].index(edge.input)
            weight.data[position] = 0.0 if edge is silenced else 1.0
        reached = {"P3_in", "P4_in", "P5_in"}
        sources = {name: {name} for name in reached}
        for edge in edges:
            if edge is not silenced:
                sources.setdefault(edge.node, set()).update(sources[edge.input])
        for level, output in zip((3, 4, 5), net(inputs)):
            found = torch.autograd.grad(output.sum(), inputs, allow_unused=True, retain_graph=True)
            seen = {f"P{k}_in" for k, g in zip((3, 4, 5), found) if g is not None and g.abs().sum() > 0}
            assert seen == sources[f"P{level}_out"], (silenced, level)


def test_rows_name_the_layers_of_the_yaml(network):
    edges = fusion_weights(network)
    rows = [(e.layer, e.module, e.stride, e.input, round(e.weight, 3), e.raw) for e in edges if not e.cells]
    assert rows == [
        (6, "BiFPN_Concat", 8, "layer 5 (Upsample)", 0.75, 3),
        (6, "BiFPN_Concat", 8, "layer 1 (Conv)", 0.25, 1),
        (8, "BiFPN_Add", 16, "layer 4 (P4)", 1, None),
        (8, "BiFPN_Add", 16, "layer 7 (Conv)", 1, None),
    ]


def test_shared_weights_are_listed_once(network):
    edges = [e for e in fusion_weights(network) if e.module == "BiFPN"]
    assert [e.cells for e in edges] == [(0, 1)] * 4 and {e.name for e in edges} == {"model.3"}
    assert [e.weight for e in edges[2:]] == pytest.approx([1 / (1 + torch.e), torch.e / (1 + torch.e)])


@pytest.mark.parametrize("kind", ["path", "yolo", "network"])
def test_what_is_taken(network, kind, tmp_path):
    path = tmp_path / "net.pt"
    network.save(path)
    given = {"path": path, "yolo": YOLO(path), "network": YOLO(path).model}[kind]
    expected = fusion_weights(network)
    assert [e._replace(weight=0) for e in fusion_weights(given)] == [e._replace(weight=0) for e in expected]
    assert [e.weight for e in effyolo_ultra.fusion_weights(given)] == pytest.approx([e.weight for e in expected])


def test_module_inside_a_users_own():
    net = torch.nn.ModuleDict({"a": BiFPN_Add(2), "b": BiFPN_Add(2)})
    assert [(e.name, e.node, e.input) for e in fusion_weights(net)][1:3] == [
        ("a", "a", "input 1"),
        ("b", "b", "input 0"),
    ]


def test_stock_network_has_none():
    assert fusion_weights(YOLO("yolov5n.yaml")) == []


def test_what_is_refused(tmp_path, model_yaml):
    with pytest.raises(UnknownNameError, match=r"there is no file 'gone\.pt'"):
        fusion_weights("gone.pt")
    with pytest.raises(WeightsError, match=r"expected a \.pt file"):
        fusion_weights(model_yaml(ROWS))
    (tmp_path / "text.pt").write_text("no network", encoding="utf-8")
    with pytest.raises(WeightsError, match=r"text\.pt' holds no network"):
        fusion_weights(tmp_path / "text.pt")
    with pytest.raises(TypeError, match="not 3"):
        fusion_weights(3)


def test_table(network):
    lines = [line.split() for line in fusion_table(fusion_weights(network)).splitlines()]
    assert [
        "layer",
        "6",
        "/8",
        "layer",
        "5",
        "(Upsample)",
        "0.750",
        "[3]",
        "layer",
        "1",
        "(Conv)",
        "0.250",
        "[1]",
    ] in lines
    assert ["layer", "3,", "cells", "0", "to", "1", "(shared", "weights):", "softmax", "fusion"] in lines
    assert ["BiFPN_Add:", "sum", "fusion,", "without", "weights"] in lines


def test_command(network, tmp_path, capsys):
    path, picture = str(tmp_path / "net.pt"), str(tmp_path / "net.svg")
    network.save(path)
    assert main(["fusion", path, "--json", "--plot", picture]) == 0 and Path(picture).stat().st_size > 1000
    assert [tuple(e.values()) for e in json.loads(capsys.readouterr().out)] == [
        (*e[:3], list(e.cells), *e[4:]) for e in fusion_weights(path)
    ]
    assert main(["fusion", path, "--plot", picture]) == 2
    printed = capsys.readouterr()
    assert "is there already" in printed.err and printed.out == ""
    assert main(["fusion", path, "--plot", picture, "--overwrite"]) == 0
    assert main(["fusion", str(tmp_path / "gone.pt")]) == 2 and "there is no file" in capsys.readouterr().err
    assert main(["fusion", path, "--plot", "net.bmp"]) == 2 and ".png, .svg, .pdf" in capsys.readouterr().err
    YOLO("yolov5n.yaml").save(tmp_path / "stock.pt")
    assert main(["fusion", str(tmp_path / "stock.pt")]) == 2 and "has no weighted fusion" in capsys.readouterr().err


@pytest.mark.slow
def test_command_in_a_process(run_python, tmp_path):
    code = (
        f"import subprocess, sys; sys.exit(subprocess.call([{sys.executable!r}, '-m', 'effyolo_ultra.cli', 'fusion']))"
    )
    assert run_python(code, cwd=tmp_path).returncode == 2
