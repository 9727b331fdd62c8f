"""A YAML row becomes the module that it names, with the channels that the file's scale gives."""

import copy
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn
from ultralytics import YOLO
from ultralytics.nn import tasks
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils import YAML

from effyolo_ultra._activation import BUILDING
from effyolo_ultra.errors import ModelYAMLError
from effyolo_ultra.nn import BiFPN, BiFPN_Add, BiFPN_Concat, EfficientNetBackbone
from effyolo_ultra.zoo import model_path

ROWS = {
    "nc": 3,
    "backbone": [[-1, 1, "EfficientNetBackbone", ["b0"]], *([0, 1, "PyramidLevel", [k]] for k in (3, 4, 5))],
    "head": [[[1, 2, 3], 1, "Detect", ["nc"]]],
}


def model(backbone=(), head=(), ch=3, **keys):
    d = {**copy.deepcopy(ROWS), **keys}
    d["backbone"] += backbone
    d["head"] = [*head, *d["head"]]
    return DetectionModel(d, ch=ch, verbose=False)


def test_layers_are_the_named_modules_with_ultralytics_bookkeeping():
    net = model(head=[[[-1, 3], 1, "BiFPN_Concat", []]])
    backbone, fusion = net.model[0], net.model[4]
    assert type(backbone) is EfficientNetBackbone and type(fusion) is BiFPN_Concat
    assert (fusion.i, fusion.f, fusion.type) == (4, [-1, 3], "effyolo_ultra.nn.fusion.BiFPN_Concat")
    assert backbone.np == sum(p.numel() for p in backbone.parameters()) > 3_000_000
    assert net.save == [0, 0, 0, 1, 2, 3, 3]


def test_channels_and_repeats_scale_as_in_ultralytics():
    d = {
        "nc": 1,
        "scales": {"n": [0.34, 0.25, 1024], "l": [2.0, 1.3, 100]},
        "backbone": [[-1, 1, "EfficientNetBackbone", ["b0"]]],
        "head": [
            [0, 3, "BiFPN", [128]],
            [-1, 1, "PyramidLevel", [3]],
            [-1, 3, "C3", [128]],
            [[-1], 1, "Detect", ["nc"]],
        ],
    }
    for scale, repeats in (("n", 1), ("l", 6)):
        net = DetectionModel({**copy.deepcopy(d), "scale": scale}, verbose=False).model
        channels = net[3].cv3.conv.out_channels  # of the stock C3 row with the same number
        assert [len(net[1].cells), len(net[3].m)] == [repeats, repeats]
        assert net[1].cells[-1].nodes[0].conv[-1].conv.out_channels == channels


def test_cells_are_at_most_eight_after_scaling():
    rows = [[0, 6, "BiFPN", [16]], [-1, 1, "PyramidLevel", [3]], [-1, 1, "Conv", [8]]]
    assert len(model(head=rows, depth_multiple=1.3).model[4].cells) == 8
    with pytest.raises(ModelYAMLError, match=r"row 4.*\n.*repeats \(6 x depth 1.5\) must be .* at most 8, not 9"):
        model(head=rows, depth_multiple=1.5)


def test_named_value_is_the_entry_of_the_scale_in_use():
    rows = [
        [0, 1, "BiFPN", ["widths", {"fusion": "fusions"}]],
        [-1, 1, "PyramidLevel", [3]],
        [-1, 1, "Conv", ["widths"]],
    ]
    keys = {"scales": {"n": [1, 1, 999], "s": [1, 1, 999]}, "widths": {"n": 16, "s": 24}}
    keys["fusions"] = {"n": "sum", "s": "softmax"}
    for scale, width, fusion in (("n", 16, "sum"), ("s", 24, "softmax")):
        net = model(head=rows, scale=scale, **copy.deepcopy(keys)).model
        node = net[4].cells[0].nodes[0]
        assert node.conv[-1].conv.out_channels == net[6].conv.out_channels == width
        assert node.fuse.weights.fusion == fusion


def test_literals_in_options_are_numbers():
    # YAML 1.1 reads 1e-3 as a string
    net = model(head=[[[3, 3], 1, "BiFPN_Add", [{"eps": "1e-3"}]]])
    assert type(net.model[4]) is BiFPN_Add and net.model[4].weights.eps == 1e-3


def test_stock_rows_get_the_channels_of_ours():
    rows = [
        [[3, 3, 3], 1, "BiFPN_Concat", [1]],
        [-1, 2, "C3", [64]],
        [[-1, -1], 1, "Concat", [1]],
        [-1, 1, "Conv", [32]],
    ]
    net = model(head=rows)
    assert net.model[4].weights.weight.shape == (3,)
    assert net.model[5].cv1.conv.in_channels == 3 * 320
    assert net.model[7].conv.in_channels == 128


def test_bifpn_on_a_list_of_stock_layers():
    rows = [[1, 1, "Conv", [32]], [2, 1, "Conv", [48]], [3, 1, "Conv", [64, 3, 2]], [-1, 1, "Conv", [64, 3, 2]]]
    net = model(head=[*rows, [[4, 5, 3, 6, 7], 1, "BiFPN", [24]], [-1, 1, "PyramidLevel", [7]], [-1, 1, "Conv", [8]]])
    assert type(net.model[8]) is BiFPN and net.model[8].levels == (3, 4, 5, 6, 7)
    assert net.model[10].conv.in_channels == 24


def test_activation_of_the_file_reaches_our_modules_and_ends_with_it():
    before = type(tasks.Conv.default_act)
    rows = [[0, 1, "BiFPN", [16, {"act": None}]], [0, 1, "BiFPN", [16]], [-1, 1, "PyramidLevel", [3]]]
    net = model(head=[*rows, [-1, 1, "Conv", [8]]], activation="nn.ReLU()")
    assert all(isinstance(net.model[i].cells[0].nodes[0].act, nn.ReLU) for i in (4, 5))
    assert isinstance(net.model[7].act, nn.ReLU)
    assert type(tasks.Conv.default_act) is before is nn.SiLU


def test_activation_with_parameters():
    net = model(
        head=[[0, 1, "BiFPN", [16]], [-1, 1, "PyramidLevel", [3]], [-1, 1, "Conv", [8]]], activation="nn.PReLU()"
    )
    acts = [node.act for node in net.model[4].cells[0].nodes]
    assert {p.device.type for p in net.parameters()} == {"cpu"} and all(isinstance(act, nn.PReLU) for act in acts)


def test_sources_of_unknown_stride():
    # A stock layer that the stock parser takes for one with unchanged channels, on which the meta device has no say
    rows = [
        [3, 1, "torchvision.ops.StochasticDepth", [0.0, "row"]],
        [-1, 1, "nn.Conv2d", [320, 320, 2, 1, 0]],  # 8 to 7 pixels: no stride
        [[-1, -1], 1, "BiFPN_Add", []],
        [-1, 1, "Conv", [320, 3, 2]],
        [[-1, -1], 1, "BiFPN_Add", []],
    ]
    assert type(model(head=rows).model[8]) is BiFPN_Add


def test_input_channels_of_the_data():
    for channels in (1, 4):
        net = model(ch=channels)
        assert net.model[0].body.conv_stem.in_channels == channels
        assert net.eval()(torch.zeros(2, channels, 64, 96))[0].shape[-1] == 8 * 12 + 4 * 6 + 2 * 3


def test_classes_of_the_data():
    assert DetectionModel("yolov5n-effdet.yaml", nc=7, verbose=False).model[-1].nc == 7


def test_dictionary_is_not_changed():
    d = copy.deepcopy(ROWS)
    DetectionModel(d, verbose=False)
    assert [d["backbone"], d["head"]] == [ROWS["backbone"], ROWS["head"]]


def test_same_seed_same_model():
    outputs = []
    for _ in range(2):
        torch.manual_seed(3)
        outputs.append(DetectionModel("yolov5n-effdet.yaml", verbose=False).eval()(torch.ones(1, 3, 64, 64))[0])
    assert torch.equal(*outputs)


def test_table_shows_the_real_rows(lines):
    YOLO("yolov5s-effdet.yaml", verbose=True)
    stock = len(lines)
    YOLO("yolov8n.yaml", verbose=True)
    rows = {int(line[:3]): line for line in lines[:stock] if line[:3].strip().isdigit()}
    model = YOLO("yolov5s-effdet.yaml").model.model
    assert "effyolo_ultra.nn.backbone.EfficientNetBackbone" in rows[0] and "['b1']" in rows[0]
    assert rows[1].split()[:5] == ["1", "0", "4", str(model[1].np), "effyolo_ultra.nn.bifpn.BiFPN"]
    assert "[88]" in rows[1]
    head = "effyolo_ultra.nn.light_head.LightDetect"
    assert rows[5].split()[:6] == ["5", "[2,", "3,", "4]", "1", str(model[5].np)] and f"{head}      [80, " in rows[5]
    assert model[5].np == sum(p.numel() for p in model[5].parameters())
    assert not any(".Index" in line for line in lines)
    columns = [line.index("ultralytics.nn.modules") for line in lines if "ultralytics.nn.modules" in line]
    assert {rows[0].index("effyolo_ultra")} == set(columns)


def test_scale_warning_once(lines):
    YOLO("yolov5-effnet-bifpn.yaml")
    assert sum("no model scale passed" in line for line in lines) == 1


@pytest.mark.parametrize("name", ["yolov5-effb0-bifpn.yaml", "yolov5-effdet.yaml"])
def test_file_equals_dictionary(name):
    d = YAML.load(model_path(name))
    d["scale"] = "n" if "scales" in d else ""
    shapes = [
        {k: v.shape for k, v in DetectionModel(cfg, verbose=False).state_dict().items()}
        for cfg in (name.replace("yolov5-effdet", "yolov5n-effdet"), d)
    ]
    assert shapes[0] == shapes[1]


def test_threads_build_their_own_models():
    names = ["yolov5n-effdet.yaml", "yolov5-effb0-pan.yaml", "yolo11n-effnet-bifpn.yaml", "yolov8n.yaml"]
    files = [tasks.yaml_model_load(name) for name in names]
    # Ultralytics has one default activation and one `legacy` for the process; the last file sets its own.
    files.append({**files[1], "activation": "nn.ReLU()"})

    def build(file):
        with torch.device("meta"):
            layers, saved = tasks.parse_model(copy.deepcopy(file), 3, verbose=False)
        acts = [type(m.act) for m in layers.modules() if isinstance(m, tasks.Conv)]
        return [type(m) for m in layers], saved, acts, {name: p.shape for name, p in layers.state_dict().items()}

    before, expected = tasks.Conv.default_act, list(map(build, files))
    assert nn.ReLU in expected[-1][2] and nn.ReLU not in expected[1][2]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(build, files * 2)) == expected * 2
    finally:
        sys.setswitchinterval(interval)
    assert tasks.Conv.default_act is before


def test_predictions_do_not_wait_for_builds():
    network = YOLO("yolov5n-effdet.yaml")
    with ThreadPoolExecutor(1) as pool, BUILDING:  # the lock is given back first
        image = torch.rand(1, 3, 64, 64)
        assert len(pool.submit(network.predict, image, device="cpu", verbose=False).result(timeout=120)) == 1
