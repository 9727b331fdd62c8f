"""Every model YAML of the zoo, by every name that it has."""

import copy
import re
from collections.abc import Iterator

import pytest
import torch
from ultralytics import RTDETR, YOLO, __version__
from ultralytics.nn import tasks
from ultralytics.nn.tasks import DetectionModel, yaml_model_load

import effyolo_ultra
from effyolo_ultra import zoo
from effyolo_ultra.composing.files import head_strides
from effyolo_ultra.composing.zoo_files import zoo_files
from effyolo_ultra.errors import ModelYAMLError, UnknownNameError

NAMES = zoo.list_models()
SMALL = ["yolov5-effb0-bifpn.yaml", "yolov5-effb0-pan.yaml", "yolov5n-effnet-bifpn.yaml", "yolov5n-effdet.yaml"]
SMALL += ["yolov5n-effdet-p7.yaml"]
# Every file at its smallest scale, but for the larger ones of a backbone, which differ from b0 in numbers only.
FIRST = [n for n in NAMES if zoo.split_scale(n)[1] == "n" or "effb0" in n]
LAST = [n for n in NAMES if zoo.split_scale(n)[1] in ("", "x")]
TASKS = ("-seg", "-pose", "-obb")
FAMILIES = ("yolov5", "yolov8", "yolo11", "yolo26")
BLOCKS = {"yolov5": "C3", "yolov8": "C2f", "yolo11": "C3k2", "yolo26": "C3k2", "rtdetr": "C2f"}
HEADS = {"seg": "Segment", "pose": "Pose", "obb": "OBB", "cls": "Classify"}
BACKBONE_OF_SCALE = dict(zip("nsmlx", ("b0", "b1", "b2", "b3", "b4")))
EFFICIENTDET = {"b0": (64, 3), "b1": (88, 4), "b2": (112, 5), "b3": (160, 6), "b4": (224, 7)}
EFFICIENTDET |= {"b5": (288, 7), "b6": (384, 8), "b7": (384, 8)}


def strides(name):
    if "-cls" in name:
        return [32]
    level = int((re.search(r"-p(\d)\.yaml", name) or [0, 5])[1])
    return [2**k for k in range(min(level, 3), max(level, 5) + 1)]


def head(name):
    """Return the name of the head's class."""
    if name.startswith("rtdetr"):
        return "RTDETRDecoder"
    task = re.search(r"-(seg|pose|obb|cls)\.yaml", name)
    return (HEADS[task[1]] + ("26" if "yolo26" in name else "")) if task else "Detect"


def is_refused(name):
    """Whether the file needs a newer Ultralytics, which is what its error says, alone."""
    if "yolo26" not in name or hasattr(tasks, "OBB26"):
        return False
    needs = re.escape(f"needs ultralytics >= 8.4.0 for 'end2end'; installed is {__version__}.")
    with pytest.raises(ModelYAMLError, match=needs):
        YOLO(name)
    assert [re.search(needs, finding.message) is not None for finding in effyolo_ultra.check(name)] == [True]
    return True


def layers_of(name):
    """Build a network without memory; return its layers."""
    d = yaml_model_load(name)
    with torch.device("meta"):
        return tasks.parse_model(d, 3, verbose=False)[0]


def network(name):
    model = (RTDETR if name.startswith("rtdetr") else YOLO)(name).model
    torch.manual_seed(0)
    return model


def tensors(output) -> Iterator[torch.Tensor]:
    """Give the floating-point tensors in what a network gives."""
    if isinstance(output, torch.Tensor):
        yield from [output] if output.is_floating_point() else []
    elif isinstance(output, (dict, list, tuple)):
        for item in output.values() if isinstance(output, dict) else output:
            yield from tensors(item)


def test_zoo_is_complete():
    fixed = [f"yolov5-effb{i}-{neck}.yaml" for i in range(8) for neck in ("bifpn", "pan")]
    fixed += [f"yolov5-eff{kind}.yaml" for kind in ("b5-effdet-p7", "b6-effdet-p7", "b7-effdet-p8")]
    fixed += ["rtdetr-effb0-bifpn.yaml"]
    kinds = [(y, f"effnet-{neck}") for y in FAMILIES for neck in ("pan", *(f"bifpn{t}" for t in ("", *TASKS)))]
    kinds += [("yolov5", f"effdet{kind}") for kind in ("", *TASKS, "-p2", "-p7")]
    kinds += [("yolov5", f"effnet-{kind}") for kind in ("bifpn-p2", "bifpn-p6", "cls")]
    growing = [f"{family}{x}-{kind}.yaml" for x in "nsmlx" for family, kind in kinds]
    assert sorted(NAMES) == sorted(fixed + growing)
    assert effyolo_ultra.list_models() == NAMES


def test_files_are_as_composed():
    files = {path.name: path.read_text(encoding="utf-8") for path in zoo.folder("models").rglob("*.yaml")}
    assert files == zoo_files()


@pytest.mark.parametrize("name", NAMES)
def test_name_survives_ultralytics(name):
    """No name that Ultralytics rewrites or takes for another model family (see check_yolov5u_filename, YOLO, cfg)."""
    assert not name.endswith("u.yaml")
    assert not re.search(r"yoloe|-world|fastsam|sam_|sam2|sam3|yolo_nas|-(sem|depth)", name)
    assert ("rtdetr" in name) == (head(name) == "RTDETRDecoder")
    assert len(re.findall(r"\d[nslmx]", name)) == (0 if zoo.split_scale(name)[1] == "" else 1)


@pytest.mark.parametrize("name", LAST)
def test_builds_with_its_sizes(name):
    if is_refused(name):
        return
    layers = layers_of(name)
    with torch.device("meta"), torch.no_grad():
        assert head_strides(layers) == strides(name)
    base, scale = zoo.split_scale(name)
    variant = BACKBONE_OF_SCALE[scale] if scale else re.search(r"eff(b\d)", name)[1]
    assert layers[0].model_name == f"tf_efficientnet_{variant}"
    assert type(layers[-1]).__name__ == head(name)
    if "effdet" in base:
        channels, cells = EFFICIENTDET[variant]
        assert len(layers[1].cells) == cells
        assert {node.conv[-1].conv.out_channels for cell in layers[1].cells for node in cell.nodes} == {channels}
        fusions = {node.fuse.weights.fusion for cell in layers[1].cells for node in cell.nodes}
        assert fusions == {"sum" if variant in ("b6", "b7") else "fast"}
    elif head(name) != "Classify":
        kinds = {type(layer).__name__ for layer in layers}
        assert BLOCKS[re.match(r"yolov?\d+|rtdetr", base)[0]] in kinds
        assert ("BiFPN_Concat" if "bifpn" in base else "Concat") in kinds


@pytest.mark.parametrize("scale", "nx")
def test_growing_file_equals_the_file_of_one_size(scale):
    growing = layers_of(f"yolov5{scale}-effnet-bifpn.yaml")
    fixed = layers_of(f"yolov5-eff{BACKBONE_OF_SCALE[scale]}-bifpn.yaml")
    shapes = [{k: v.shape for k, v in layers.state_dict().items()} for layers in (growing, fixed)]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("name", FIRST)
def test_forward_at_two_sizes_and_a_gradient_for_every_parameter(name):
    if is_refused(name):
        return
    model = network(name)
    assert model.model[-1]._get_name() == head(name) and model.yaml["nc"] == (1000 if "-cls" in name else 80)
    if head(name) == "Detect":
        assert model.stride.tolist() == strides(name)
        anchors = sum(-(-64 // s) * -(-128 // s) for s in strides(name))
        with torch.no_grad():
            output = model.eval()(torch.rand(1, 3, 64, 128))[0]
        # Of YOLO26, the 300 best pairs of box and class; Ultralytics 8.4.0 gives no more than there are anchors.
        expected = {(1, 300, 6), (1, anchors, 6)} if model.model[-1].end2end else {(1, 84, anchors)}
        assert output.shape in expected
    else:
        image = torch.rand(1, 3, 96, 160)  # has the 300 anchors that RT-DETR wants
        with torch.no_grad():
            assert all(t.isfinite().all() for t in tensors(model.eval()(image)))
    sum(t.sum() for t in tensors(model.train()(torch.rand(2, 3, 128, 128)))).backward()
    # Of Ultralytics' heads: the fixed integration of the distribution, what takes the labels of a batch, and the part
    # of Pose26 that only its loss runs.
    fixed = re.compile(r"dfl.conv.weight|denoising_class_embed|flow_model")
    assert [n for n, p in model.named_parameters() if p.grad is None and not fixed.search(n)] == []


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
