"""Checkpoints of EfficientDet: a YOLO that starts from one has its features."""

import re
from types import SimpleNamespace

import pytest
import torch
from effdet import DetBenchTrain, EfficientDet, get_efficientdet_config
from effdet_models import FPN_NAMES, efficientdet
from ultralytics.nn.tasks import DetectionModel

from effyolo_ultra import zoo
from effyolo_ultra.errors import WeightsError
from effyolo_ultra.nn import BiFPN
from effyolo_ultra.training import prepare_network
from effyolo_ultra.weights.bifpn import tensors_by_role
from effyolo_ultra.weights.efficientdet import to_bifpn
from effyolo_ultra.weights.inert import IS_COMPLETE

CHANNELS = {3: 40, 4: 112, 5: 320}  # of B0
SAVED = {
    "state_dict": lambda model: {"state_dict": model.state_dict(), "epoch": 1},
    "bare": lambda model: model.state_dict(),
    "in its bench": lambda model: DetBenchTrain(model).state_dict(),
}


def start(network, pretrained=True):
    """Let the network start as in a training."""
    arguments = SimpleNamespace(pretrained=pretrained, freeze=None, optimizer="auto", model="m.yaml")
    prepare_network(SimpleNamespace(model=network, args=arguments, device=torch.device("cpu"), resume=False))


def assert_same_features(network, reference):
    """Compare all levels of the neck in float64, where rounding leaves nothing to argue about."""
    network, reference = network.double().eval(), reference.double().eval()
    image, neck = torch.rand(2, 3, 256, 256, dtype=torch.float64), []
    network.model[1].register_forward_hook(lambda module, inputs, output: neck.extend(output))
    backbone = network.model[0]
    with torch.no_grad():
        network(image)
        expected = reference.fpn(reference.backbone((image - backbone.mean) / backbone.std))
    assert len(neck) == len(expected) == reference.config.num_levels
    for ours, theirs in zip(neck, expected):
        assert (ours - theirs).abs().max() <= 1e-5 * theirs.abs().max()
        assert theirs.std() > 1e-3


@pytest.mark.parametrize(
    ("scale", "name", "saved"),
    [("n", "d0", "state_dict"), ("n", "d0", "bare"), ("n", "d0", "in its bench"), ("l", "d3", "state_dict")],
)
def test_a_line_in_the_file_gives_the_features_of_an_efficientdet(tmp_path, scale, name, saved):
    reference = efficientdet(f"tf_efficientdet_{name}")
    torch.save(SAVED[saved](reference), tmp_path / "det.pth")
    text = zoo.model_path("yolov5-effdet-p7.yaml").read_text(encoding="utf-8")
    (tmp_path / "yolov5-effdet-p7.yaml").write_text(f"{text}pretrained: det.pth\n", encoding="utf-8")
    network = DetectionModel(str(tmp_path / f"yolov5{scale}-effdet-p7.yaml"), verbose=False)
    assert all(network.model[i].weights_from == "" for i in (0, 1))
    start(network)
    assert all(network.model[i].weights_from == str(tmp_path / "det.pth") for i in (0, 1))
    assert_same_features(network, reference)


@pytest.mark.parametrize("fusion", ["sum", "softmax"])
def test_features_with_another_fusion(tmp_path, fusion):
    reference = efficientdet("tf_efficientdet_d0", fpn_name=FPN_NAMES[fusion], fpn_channels=24, fpn_cell_repeats=2)
    path = str(tmp_path / "det.pth")
    torch.save(reference.state_dict(), path)
    options = {"levels": [3, 4, 5, 6, 7], "fusion": fusion, "pretrained": path}
    head = [[0, 2, "BiFPN", [24, options]], [1, 1, "PyramidLevel", [3]], [[2], 1, "Detect", ["nc"]]]
    backbone = [[-1, 1, "EfficientNetBackbone", ["b0", {"pretrained": path}]]]
    network = DetectionModel({"nc": 1, "backbone": backbone, "head": head}, verbose=False)
    start(network)
    assert_same_features(network, reference)


@pytest.mark.parametrize(
    ("model", "checkpoint"),
    [
        *((f"yolov5{x}-effdet-p7.yaml", f"d{i}") for i, x in enumerate("nsmlx")),
        *(
            pytest.param(*pair, marks=pytest.mark.slow)
            for pair in (
                ("yolov5-effb5-effdet-p7.yaml", "d5"),
                ("yolov5-effb6-effdet-p7.yaml", "d6"),
                ("yolov5-effb6-effdet-p7.yaml", "d7"),
                ("yolov5-effb7-effdet-p8.yaml", "d7x"),
            )
        ),
    ],
)
def test_zoo_files_have_the_sizes_of_the_checkpoints(model, checkpoint):
    network = DetectionModel(model, verbose=False)
    with torch.device("meta"):
        reference = EfficientDet(get_efficientdet_config(f"tf_efficientdet_{checkpoint}"), pretrained_backbone=False)
    for ours, theirs in (
        (tensors_by_role(network.model[1]), to_bifpn(reference.fpn.state_dict())),
        (network.model[0].body.state_dict(), reference.backbone.state_dict()),
    ):
        assert {name: t.shape for name, t in ours.items()} == {name: t.shape for name, t in theirs.items()}


@pytest.fixture(scope="module")
def d0(tmp_path_factory):
    """A D0 with the path of its checkpoint."""
    model, path = efficientdet("tf_efficientdet_d0"), tmp_path_factory.mktemp("d0") / "d0.pth"
    torch.save(model.state_dict(), path)
    return model.fpn, str(path)


def load(path, in_channels=CHANNELS, **options):
    bifpn = BiFPN(in_channels, **{"channels": 64, "repeats": 3, "pretrained": path, **options})
    return bifpn, bifpn.load_pretrained()


def names(details, what):
    found = re.search(rf"{what}: ([^;]+)", details)
    return found[1] if found else ""


def test_neck_on_three_levels_takes_the_nodes_that_it_has(d0):
    fpn, path = d0
    bifpn, report = load(path)
    given = to_bifpn(fpn.state_dict())
    loaded = {name for name, t in tensors_by_role(bifpn).items() if name in given and torch.equal(t, given[name])}
    missing = {name for name in tensors_by_role(bifpn) if name not in loaded}
    # The edge from P5 to P4_td begins at P5_td in the checkpoint, and P5_out has one input more there.
    cell = "cells.0.P4_td.up"
    edge = {f"{cell}.{x}" for x in ("conv.weight", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var")}
    assert missing - {f"{cell}.bn.num_batches_tracked"} == edge | {f"cells.{i}.P5_out.fuse(in,down)" for i in range(3)}
    assert not report.is_complete and "(8 in all)" in names(report.details, "missing")
    # In effdet's numbering: node 2 is P4_td, node 6 is P5_out.
    node, reference = bifpn.cells[1].nodes, fpn.cell[1].fnode
    assert torch.equal(node[0].conv[1].conv.weight, reference[2].after_combine.conv.conv_pw.weight)
    assert torch.equal(node[0].fuse.weights.weight, reference[2].combine.edge_weights)
    assert torch.equal(node[3].conv[0].weight, reference[5].after_combine.conv.conv_dw.weight)
    lateral = fpn.cell[0].fnode[5].combine.resample["2"].conv.conv.weight
    assert torch.equal(bifpn.cells[0].nodes[3].laterals[0][0].conv.weight, lateral)


def test_finer_levels_than_those_of_the_checkpoint(d0):
    bifpn, report = load(d0[1], {2: 24, **CHANNELS}, levels=[2, 3, 4, 5, 6, 7])
    given, ours = to_bifpn(d0[0].state_dict()), tensors_by_role(bifpn)
    missing = {name for name in ours if name not in given}
    assert {name.split(".")[2] for name in missing} == {"P2_td", "P3_out"}
    assert not names(report.details, "not used")
    assert all(torch.equal(ours[name], tensor) for name, tensor in given.items())


def test_all_levels_for_a_head_on_three(d0):
    _, report = load(d0[1], levels=[3, 4, 5, 6, 7])
    assert report.is_complete and not names(report.details, "not used")


@pytest.mark.parametrize(
    ("options", "missing", "unused"),
    [
        ({"repeats": 2}, "", "cells.2.P6_td"),
        ({"repeats": 4}, "cells.3.P6_td", ""),
        ({"fusion": "sum"}, "", "cells.0.P6_td.fuse(in,up)"),
        ({"shared_weights": True}, "", "cells.1.P6_td.fuse(in,up)"),
    ],
)
def test_other_options(d0, options, missing, unused):
    bifpn, report = load(d0[1], **{"levels": [3, 4, 5, 6, 7], **options})
    assert names(report.details, "missing").startswith(missing) and bool(missing) == (not report.is_complete)
    assert names(report.details, "not used").startswith(unused) and bool(unused) == ("not used" in report.details)
    given = to_bifpn(d0[0].state_dict())
    for name, tensor in tensors_by_role(bifpn).items():
        assert name not in given or torch.equal(tensor, given[name])


@pytest.mark.skipif(not IS_COMPLETE, reason="torch before 2.6")
def test_neck_of_a_network_of_ours(tmp_path, d0):
    rows = [[-1, 1, "Conv", [16, 3, 4]], [-1, 1, "Conv", [40, 3, 2]], [-1, 1, "Conv", [112, 3, 2]]]
    head = [[[1, 2], 2, "BiFPN", [32]], [3, 1, "PyramidLevel", [3]], [[4], 1, "Detect", ["nc"]]]
    network = DetectionModel({"nc": 1, "backbone": rows, "head": head}, verbose=False)
    torch.save({"epoch": -1, "ema": None, "model": network.half(), "train_args": {}}, tmp_path / "best.pt")
    bifpn, report = load(str(tmp_path / "best.pt"), {3: 40, 4: 112}, channels=32, repeats=2)
    assert report.is_complete and "Ultralytics layout" in report.details
    trained = tensors_by_role(network.model[3])
    for name, tensor in tensors_by_role(bifpn).items():
        assert torch.equal(tensor, trained[name].float()), name
    with pytest.raises(WeightsError, match="holds no backbone"):
        load_backbone(tmp_path / "best.pt")


def load_backbone(path):
    from effyolo_ultra.nn import EfficientNetBackbone

    EfficientNetBackbone("b0", pretrained=str(path)).load_pretrained()


def without(state, name):
    return {key: value for key, value in state.items() if key != name}


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (dict, {"channels": 88, "repeats": 4}, r"88 channels x 4 cells \(sep.*: the file holds 64 channels x 3 cells"),
        (dict, {"conv": "full"}, r"\(full convolutions\): the file holds 64 channels x 3 cells \(separable"),
        (dict, {"in_channels": {3: 48, 4: 136, 5: 384}}, r"is \[64, 320, 1, 1\], not \[64, 384, 1, 1\]: .*backbone"),
        (lambda s: without(s, "fpn.cell.1.fnode.3.combine.edge_weights"), {}, r"cells.1.nodes.3.fuse.* is missing"),
        (lambda s: {k: v * float("nan") for k, v in s.items()}, {}, "not finite"),
        (lambda s: {k: v for k, v in s.items() if not k.startswith("fpn.")}, {}, "it holds no BiFPN"),
        (lambda s: {k[9:]: v for k, v in s.items() if k.startswith("backbone.")}, {}, r"timm layout.*holds no BiFPN"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, d0, change, options, message):
    path = tmp_path / "changed.pth"
    torch.save(change(torch.load(d0[1], weights_only=True)), path)
    options = {"in_channels": CHANNELS, "levels": [3, 4, 5, 6, 7], "pretrained": str(path), **options}
    bifpn = BiFPN(**options)
    before = {name: tensor.clone() for name, tensor in bifpn.state_dict().items()}
    with pytest.raises(WeightsError, match=message) as error:
        bifpn.load_pretrained()
    assert str(path) in str(error.value)
    assert all(torch.equal(tensor, before[name]) for name, tensor in bifpn.state_dict().items())


@pytest.mark.parametrize("fpn_name", ["pan_fa", "pan_sum", "qufpn_fa", "qufpn_sum"])
def test_another_neck_is_refused(tmp_path, fpn_name):
    torch.save(efficientdet("tf_efficientdet_d0", fpn_name=fpn_name).state_dict(), tmp_path / "det.pth")
    with pytest.raises(WeightsError, match="its neck is no BiFPN"):
        load(str(tmp_path / "det.pth"), levels=[3, 4, 5, 6, 7])
    load_backbone(tmp_path / "det.pth")


def test_error_of_a_training_names_file_row_and_sizes(tmp_path, d0):
    text = zoo.model_path("yolov5-effdet-p7.yaml").read_text(encoding="utf-8")
    row = "BiFPN, [64, {"
    text = text.replace(row, f"{row}pretrained: '{d0[1]}', ")
    (tmp_path / "yolov5-effdet-p7.yaml").write_text(text, encoding="utf-8")
    file = tmp_path / "yolov5s-effdet-p7.yaml"
    network = DetectionModel(str(file), verbose=False)
    network.model[0].pretrained = False
    with pytest.raises(WeightsError) as error:
        start(network)
    message = str(error.value)
    assert f"{file}, row 1 (BiFPN): " in message
    assert "88 channels x 4 cells" in message and "64 channels x 3 cells" in message


@pytest.mark.parametrize(
    ("line", "backbone", "neck", "expected"),
    [
        ("d.pth", {}, {}, ["d.pth", "d.pth"]),
        ("d.pth", {"pretrained": False}, {}, [False, "d.pth"]),
        ("d.pth", {"pretrained": True}, {"pretrained": False}, [True, False]),
        (False, {}, {}, [False, False]),
        (None, {}, {}, ["auto", False]),
        ("files", {}, {}, ["d1.pth", "d1.pth"]),
    ],
)
def test_the_file_s_line_is_for_rows_that_say_nothing(line, backbone, neck, expected):
    d = {"nc": 1, "scale": "s", "scales": {"n": [1, 1, 1024], "s": [1, 1, 1024]}, "pretrained": line}
    d["files"] = {"n": "d0.pth", "s": "d1.pth"}
    d["backbone"] = [[-1, 1, "EfficientNetBackbone", ["b0", {"levels": [3, 4], **backbone}]]]
    d["head"] = [[0, 1, "BiFPN", [16, neck]], [1, 1, "PyramidLevel", [3]], [[2], 1, "Detect", ["nc"]]]
    network = DetectionModel(d, verbose=False)
    assert [network.model[i].pretrained for i in (0, 1)] == expected


@pytest.mark.parametrize("pretrained", [True, "auto", "ap_in1k", "https://a.b/d0.pth", 3, ["d0.pth"]])
def test_option_that_no_bifpn_can_have(pretrained):
    with pytest.raises(ValueError, match=r"must be false or the path of a file"):
        BiFPN(CHANNELS, pretrained=pretrained)
