"""Pruning a trained network: what is left, and that Ultralytics takes it for any other checkpoint."""

import re
import subprocess
import sysconfig
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from small_data import write_small_data
from ultralytics import YOLO
from ultralytics.nn.tasks import DetectionModel

import effyolo_ultra
from effyolo_ultra.cli import main
from effyolo_ultra.errors import ModelYAMLError, PruningError, WeightsError
from effyolo_ultra.network import describe
from effyolo_ultra.nn import BiFPN
from effyolo_ultra.pruning import prune_network

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("pruning")]  # one process trains for all of them

QUICK = {"imgsz": 64, "batch": 8, "workers": 0, "device": "cpu", "plots": False}


def train(model, folder, name, **options):
    options = {"data": str(folder / "small.yaml"), "epochs": 1, "project": str(folder / "runs"), **QUICK, **options}
    YOLO(model).train(name=name, **options)
    return folder / "runs" / name / "weights" / "best.pt"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pruning")
    write_small_data(folder)
    return folder


@pytest.fixture(scope="module")
def whole(folder):
    """A network of one epoch."""
    return train("yolov5n-effdet.yaml", folder, "whole", pretrained=False)


@pytest.fixture(scope="module")
def pruned(folder, whole):
    """What is left of it."""
    return effyolo_ultra.prune(whole, folder / "pruned.pt", 0.3).path


def sizes(file):
    network = YOLO(file).model if isinstance(file, Path) else file
    return {name: list(tensor.shape) for name, tensor in network.state_dict().items()}


def test_channels_are_taken_out_of_every_part(whole, pruned):
    before, after = sizes(whole), sizes(pruned)
    assert before.keys() == after.keys()
    convolutions = [name for name, shape in before.items() if len(shape) == 4]
    fewer = [name for name in convolutions if after[name][0] < before[name][0]]
    assert {int(name.split(".")[1]) for name in fewer} == {0, 1, 5}  # backbone, BiFPN, head
    assert all(after[name][0] % 8 == 0 and after[name][0] >= 0.5 * before[name][0] for name in fewer)
    wide = [name for name in convolutions if before[name][0] >= 64 and ".5." not in name]
    assert len(wide) > 50 and set(wide) <= set(fewer)
    kept = [name for name in convolutions if name.startswith(("model.5.cv2.0.2", "model.5.cv3.0.2"))]
    assert len(kept) == 2 and all(after[name][0] == before[name][0] for name in kept)
    assert sum(map(np.prod, after.values())) < 0.6 * sum(map(np.prod, before.values()))


def test_what_is_left_is_of_the_network_that_was(whole, pruned):
    before, after = YOLO(whole).model, YOLO(pruned).model
    old, new = (net.model[0].body.conv_stem.weight.flatten(1) for net in (before, after))
    assert len(new) == 24 and all((row == old).all(1).any() for row in new)
    assert after.names == before.names and after.stride.tolist() == before.stride.tolist()
    backbone, neck = after.model[0], after.model[1]
    image = torch.rand(1, 3, 64, 96)
    assert [x.shape[1] for x in backbone(image)] == list(backbone.out_channels)
    assert isinstance(neck, BiFPN) and {x.shape[1] for x in neck(backbone(image))} == {neck.channels} == {48}


def test_stock_command_fine_tunes_it_for_other_classes(folder, pruned):
    data = {**yaml.safe_load((folder / "small.yaml").read_text()), "names": {0: "shape"}}
    (folder / "one.yaml").write_text(yaml.safe_dump(data))
    command = [str(Path(sysconfig.get_path("scripts")) / "yolo"), "train", f"model={pruned}", "data=one.yaml"]
    options = [f"{key}={value}" for key, value in QUICK.items()]
    run = ["epochs=1", "single_cls=True", f"project={folder / 'runs'}", "name=one"]
    done = subprocess.run([*command, *options, *run], cwd=folder, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "effyolo_ultra: the table is of the network before pruning" in done.stdout + done.stderr
    before, after = sizes(pruned), sizes(folder / "runs" / "one" / "weights" / "best.pt")
    other = {name for name in before if before[name] != after[name]}
    assert other == {f"model.5.cv3.{i}.2.{x}" for i in range(3) for x in ("weight", "bias")}


def test_resumed_training_keeps_the_shape(folder, pruned, lines):
    class Stopped(Exception):
        pass

    def stop(trainer):
        raise Stopped

    model = YOLO(pruned)
    model.add_callback("on_model_save", stop)
    with pytest.raises(Stopped):
        model.train(data=str(folder / "small.yaml"), epochs=2, project=str(folder / "runs"), name="stopped", **QUICK)
    last = folder / "runs" / "stopped" / "weights" / "last.pt"
    YOLO(last).train(resume=True)
    assert any(line.startswith("Resuming training") for line in lines)
    assert sizes(last) == sizes(pruned)


def test_pruned_again_and_exported(folder, pruned):
    again = effyolo_ultra.prune(pruned, folder / "again.pt", 0.3)
    assert again.parameters[1] < 0.7 * again.parameters[0]
    network = YOLO(again.path)
    onnx = network.export(format="onnx", imgsz=64, device="cpu")
    import onnxruntime

    image = torch.rand(1, 3, 64, 64)
    (given,) = onnxruntime.InferenceSession(onnx).run(None, {"images": image.numpy()})
    with torch.no_grad():
        expected = YOLO(again.path).model.eval()(image)[0].numpy()
    np.testing.assert_allclose(given, expected, rtol=1e-3, atol=1e-2)


def test_loads_safely_and_without_timms_classes(pruned, run_python):
    code = (
        "import sys; from ultralytics import YOLO; print(sum(p.numel() for p in YOLO(sys.argv[1]).model.parameters()))"
    )
    done = run_python(code, str(pruned), ULTRALYTICS_SAFE_LOAD="1")
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) == sum(p.numel() for p in YOLO(pruned).model.parameters())
    with zipfile.ZipFile(pruned) as archive:
        pickles = [archive.read(name) for name in archive.namelist() if name.endswith("data.pkl")]
    assert len(pickles) == 1 and b"timm.models" not in pickles[0] and b"torch_pruning" not in pickles[0]


def test_its_model_yaml_describes_it(pruned, tmp_path):
    document = YOLO(pruned).model.yaml
    file = tmp_path / "yolov5n-pruned.yaml"
    file.write_text(yaml.safe_dump(document))
    assert sizes(DetectionModel(str(file), verbose=False)) == sizes(pruned)
    five = DetectionModel(str(file), ch=1, nc=5, verbose=False)
    assert five.model[0].body.conv_stem.weight.shape[:2] == (24, 1) and five.model[-1].cv3[0][-1].out_channels == 5


@pytest.mark.parametrize(
    ("channels", "expected"),
    [
        ([1], "'pruned' must be a mapping"),
        ({"0.body.stem": [24]}, "there is no layer '0.body.stem'"),
        ({"0.body.conv_stem": 24}, "0.body.conv_stem must have a list of channels, not 24"),
        ({"0.body.conv_stem": [0]}, r"0.body.conv_stem must have a list of channels, not \[0\]"),
        ({"0.body.bn1": [24, 3]}, r"0.body.bn1 is a BatchNormAct2d and cannot have \[24, 3\]"),
        ({"2": [24]}, r"2 is a PyramidLevel and cannot have \[24\]"),
    ],
)
def test_model_yaml_with_channels_that_do_not_fit(model_yaml, channels, expected):
    document = yaml.safe_load(effyolo_ultra.model_path("yolov5n-effdet.yaml").read_text(encoding="utf-8"))
    with pytest.raises(ModelYAMLError, match=expected):
        DetectionModel(model_yaml(yaml.safe_dump({**document, "pruned": channels})), verbose=False)


def test_weights_of_the_other_shape_are_refused(whole, pruned):
    with pytest.raises(WeightsError, match=r"pruned.pt is pruned, but the network to train is not pruned"):
        YOLO("yolov5n-effdet.yaml").load(pruned)
    with pytest.raises(WeightsError, match=r"best.pt is not pruned, but the network to train is pruned"):
        YOLO(pruned).load(whole)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["missing.pt", "-o", "out.pt"], "there is no file 'missing.pt'"),
        (["yolov5n-effdet.yaml", "-o", "out.pt"], "expected a .pt file of Ultralytics"),
        (["{whole}", "-o", "out.onnx"], "a checkpoint ends in .pt, not 'out.onnx'"),
        (["{whole}", "-o", "no/out.pt"], "there is no folder 'no'"),
        (["{whole}", "-o", "{pruned}"], "is there already; choose another name"),
        (["{whole}", "-o", "out.pt", "--ratio", "1"], "ratio must be above 0 and below 1"),
        (["text.pt", "-o", "out.pt"], "'text.pt' holds no network of Ultralytics"),
    ],
)
def test_command_says_what_it_refuses(whole, pruned, arguments, expected, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("text.pt").write_text("text")
    there = pruned.read_bytes()
    assert main(["prune", *(a.format(whole=whole, pruned=pruned) for a in arguments)]) == 2
    assert expected in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["text.pt"] and pruned.read_bytes() == there


def test_command_replaces_a_file_where_asked(whole, tmp_path, capsys):
    out = tmp_path / "out.pt"
    out.write_text("text")
    assert main(["prune", str(whole), "-o", str(out), "--ratio", "0.5", "--overwrite"]) == 0
    assert isinstance(YOLO(out).model, DetectionModel)
    text = capsys.readouterr().out
    before, after = (describe(file).gflops for file in (whole, out))  # the figures of `effyolo info`
    assert str(out) in text and f", {before:.1f} GFLOPs -> {after:.1f}\n" in text
    assert main(["diff", str(whole), str(out)]) == 1
    changes = capsys.readouterr().out.split("\n\n")[0]
    assert re.search(r"^\+ pruned: the channels of \d+ layers$", changes, re.MULTILINE), changes


def test_missing_package_is_said(run_python, whole, tmp_path):
    code = "import sys; sys.modules['torch_pruning'] = None; from effyolo_ultra.cli import main; sys.exit(main())"
    done = run_python(code, "prune", str(whole), "-o", str(tmp_path / "out.pt"))
    assert done.returncode == 2 and "pip install torch-pruning" in done.stderr and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "model",
    ["yolov5-effb0-pan.yaml", "yolov5n-effdet-p7.yaml", "yolov8n-seg.yaml", "yolov5n-effnet-bifpn.yaml"],
)
def test_other_models(model):
    network = YOLO(model).model.eval()
    left = prune_network(network, 0.3, model)
    fewer, all_ = (sum(p.numel() for p in net.parameters()) for net in (left, network))
    assert fewer < 0.75 * all_ and type(left) is type(network)


@pytest.mark.parametrize(
    ("model", "ratio", "expected"),
    [
        ("yolo11n.yaml", 0.3, "yolo11n.yaml has attention"),
        ("yolov8n-cls.yaml", 0.3, "only networks with a head of kind Detect"),
        ("yolov5n.yaml", 0.001, "no layer of which 0.001 can be taken away"),
    ],
)
def test_models_that_cannot_be_pruned(model, ratio, expected):
    with pytest.raises(PruningError, match=expected):
        prune_network(YOLO(model).model, ratio, model)


def test_fused_network_is_refused():
    with pytest.raises(PruningError, match=r"fused.pt is fused for inference"):
        prune_network(YOLO("yolov5n-effdet.yaml").model.fuse(verbose=False), 0.3, "fused.pt")
