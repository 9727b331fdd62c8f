"""Every model YAML of the zoo, by every name that it has."""

import copy
import re

import pytest
import torch
from ultralytics import YOLO
from ultralytics.nn.tasks import DetectionModel

import effyolo_ultra
from effyolo_ultra import zoo
from effyolo_ultra.composing.zoo_files import zoo_files
from effyolo_ultra.errors import UnknownNameError

NAMES = zoo.list_models()
SMALL = ["yolov5-effb0-bifpn.yaml", "yolov5-effb0-pan.yaml", "yolov5n-effnet-bifpn.yaml", "yolov5n-effdet.yaml"]
SMALL += ["yolov5n-effdet-p7.yaml"]
BACKBONE_OF_SCALE = dict(zip("nsmlx", ("b0", "b1", "b2", "b3", "b4")))
EFFICIENTDET = {"b0": (64, 3), "b1": (88, 4), "b2": (112, 5), "b3": (160, 6), "b4": (224, 7)}
EFFICIENTDET |= {"b5": (288, 7), "b6": (384, 8), "b7": (384, 8)}


def strides(name):
    last = re.search(r"-p(\d)\.yaml", name)
    return [2**k for k in range(3, int(last[1]) + 1 if last else 6)]


def test_zoo_is_complete():
    fixed = [f"yolov5-effb{i}-{neck}.yaml" for i in range(8) for neck in ("bifpn", "pan")]
    fixed += [f"yolov5-eff{kind}.yaml" for kind in ("b5-effdet-p7", "b6-effdet-p7", "b7-effdet-p8")]
    growing = [f"yolov5{x}-{kind}.yaml" for x in "nsmlx" for kind in ("effnet-bifpn", "effdet", "effdet-p7")]
    assert sorted(NAMES) == sorted(fixed + growing)
    assert effyolo_ultra.list_models() == NAMES


def test_files_are_as_composed():
    files = {path.name: path.read_text(encoding="utf-8") for path in zoo.folder("models").rglob("*.yaml")}
    assert files == zoo_files()


@pytest.mark.parametrize("name", NAMES)
def test_name_survives_ultralytics(name):
    """No name that Ultralytics rewrites or takes for another model family (see check_yolov5u_filename, YOLO, cfg)."""
    assert not name.endswith("u.yaml")
    assert not re.search(r"yoloe|-world|rtdetr|fastsam|sam_|sam2|sam3|yolo_nas|-(cls|obb|pose|seg|sem|depth)", name)
    assert len(re.findall(r"\d[nslmx]", name)) == (0 if zoo.split_scale(name)[1] == "" else 1)


@pytest.mark.parametrize("name", NAMES)
def test_builds_with_its_sizes(name):
    model = DetectionModel(name, verbose=False)
    assert model.stride.tolist() == strides(name)
    base, scale = zoo.split_scale(name)
    variant = BACKBONE_OF_SCALE[scale] if scale else re.search(r"eff(b\d)", name)[1]
    assert model.model[0].model_name == f"tf_efficientnet_{variant}"
    assert model.yaml["nc"] == 80 and len(model.model[-1].cv3) == len(strides(name))
    if "effdet" in base:
        channels, cells = EFFICIENTDET[variant]
        assert len(model.model[1].cells) == cells
        assert {node.conv[-1].conv.out_channels for cell in model.model[1].cells for node in cell.nodes} == {channels}
        fusions = {node.fuse.weights.fusion for cell in model.model[1].cells for node in cell.nodes}
        assert fusions == {"sum" if variant in ("b6", "b7") else "fast"}


@pytest.mark.parametrize("scale", BACKBONE_OF_SCALE)
def test_growing_file_equals_the_file_of_one_size(scale):
    growing = DetectionModel(f"yolov5{scale}-effnet-bifpn.yaml", verbose=False)
    fixed = DetectionModel(f"yolov5-eff{BACKBONE_OF_SCALE[scale]}-bifpn.yaml", verbose=False)
    shapes = [{k: v.shape for k, v in model.state_dict().items()} for model in (growing, fixed)]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("size_hw", [(64, 64), (96, 160)])
def test_forward(name, size_hw):
    model = DetectionModel(name, nc=3, verbose=False)
    height, width = size_hw
    anchors = sum(-(-height // s) * -(-width // s) for s in strides(name))
    assert model.eval()(torch.rand(2, 3, height, width))[0].shape == (2, 4 + 3, anchors)


@pytest.mark.parametrize("name", SMALL)
def test_every_parameter_gets_a_gradient(name):
    model = DetectionModel(name, nc=3, verbose=False)
    model.args = YOLO("yolov8n.yaml").model.args
    from ultralytics.utils import IterableSimpleNamespace

    model.args = IterableSimpleNamespace(**{**model.args, "box": 7.5, "cls": 0.5, "dfl": 1.5})
    batch = {
        "img": torch.rand(2, 3, 96, 64),
        "batch_idx": torch.tensor([0.0, 1.0]),
        "cls": torch.tensor([[0.0], [2.0]]),
        "bboxes": torch.tensor([[0.5, 0.5, 0.4, 0.6], [0.3, 0.6, 0.2, 0.3]]),
    }
    model.train().loss(batch)[0].sum().backward()
    fixed = {"dfl.conv.weight"}  # of Ultralytics' head: the fixed integration of the distribution
    missing = [n for n, p in model.named_parameters() if p.grad is None and not n.endswith(tuple(fixed))]
    assert missing == []


def realistic(model):
    """Give the BatchNorms statistics of data, not their fresh ones."""
    generator = torch.Generator().manual_seed(0)
    for m in model.modules():
        if isinstance(m, torch.nn.BatchNorm2d):
            m.running_mean.normal_(0, 0.1, generator=generator)
            m.running_var.uniform_(0.5, 2, generator=generator)
    return model


@pytest.mark.parametrize("name", SMALL)
def test_fused_equals_unfused(name):
    model = realistic(DetectionModel(name, verbose=False)).eval()
    image = torch.rand(1, 3, 64, 96)
    fused = copy.deepcopy(model).fuse(verbose=False)
    torch.testing.assert_close(fused(image)[0], model(image)[0], rtol=1e-4, atol=1e-3)


def test_flops_are_counted():
    # EfficientNet-B0 alone is 0.39 GMACs at 224 x 224 (EfficientNet, table 2), so 2 * 0.39 * (640 / 224)^2 = 6.4 at 640
    gflops = YOLO("yolov5n-effdet.yaml").info()[3]
    assert 6.4 < gflops < 12


class TestNames:
    def test_file_in_the_working_directory_wins(self, tmp_path, monkeypatch):
        text = zoo.model_path("yolov5-effb0-bifpn.yaml").read_text(encoding="utf-8")
        (tmp_path / "yolov5-effb0-bifpn.yaml").write_text(text.replace("nc: 80", "nc: 5"), encoding="utf-8")
        monkeypatch.chdir(tmp_path)
        assert YOLO("yolov5-effb0-bifpn.yaml").model.yaml["nc"] == 5
        monkeypatch.chdir(tmp_path.parent)
        assert YOLO("yolov5-effb0-bifpn.yaml").model.yaml["nc"] == 80

    def test_growing_file_in_the_working_directory_wins(self, tmp_path, monkeypatch):
        text = zoo.model_path("yolov5s-effdet.yaml").read_text(encoding="utf-8")
        (tmp_path / "yolov5-effdet.yaml").write_text(text.replace("nc: 80", "nc: 5"), encoding="utf-8")
        monkeypatch.chdir(tmp_path)
        model = YOLO("yolov5s-effdet.yaml").model
        assert (model.yaml["nc"], model.yaml["scale"], len(model.model[1].cells)) == (5, "s", 4)

    @pytest.mark.parametrize("name", ["yolov5-effb3-bifpn.yaml", "yolov5s-effnet-bifpn.yaml"])
    def test_model_path(self, name):
        path = effyolo_ultra.model_path(name)
        assert path.is_file() and path.name == zoo.split_scale(name)[0]

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("yolov5s-effb3-bifpn.yaml", "called 'yolov5-effb3-bifpn.yaml'"),
            ("yolov5q-effdet.yaml", "Did you mean yolov5"),
            ("../yolov5-effdet.yaml", "there is no model"),
            ("yolov5-*.yaml", "there is no model"),
        ],
    )
    def test_unknown_name(self, name, message):
        with pytest.raises(UnknownNameError, match=re.escape(message)):
            effyolo_ultra.model_path(name)
