"""What a network sees: the maps are those of the prediction, and the activation maps point at what is there."""

import sys

import cv2
import numpy as np
import pytest
import torch
from timm.models._efficientnet_builder import efficientnet_init_weights
from ultralytics import YOLO

from effyolo_ultra import features
from effyolo_ultra.errors import MissingPackageError
from effyolo_ultra.feature_maps.cam import METHODS, Score, activation_maps
from effyolo_ultra.feature_maps.maps import look, open_yolo

STOCK = ["yolo11n-cls.yaml", "yolo11n-seg.yaml", "yolo11n-pose.yaml", "yolo11n-obb.yaml"]


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    """A picture wider than high, black but for a bright square at the left."""
    path = tmp_path_factory.mktemp("pictures") / "square.png"
    image = np.zeros((48, 96, 3), np.uint8)
    image[8:40, 8:40] = (40, 200, 250)
    cv2.imwrite(str(path), image)
    return path


@pytest.fixture(scope="module")
def yolo():
    torch.manual_seed(1)
    yolo = YOLO("yolov5n-effdet.yaml")
    # Without statistics of the BatchNorms, the small weights that a training begins with make the features vanish.
    for conv in yolo.model.modules():
        if isinstance(conv, torch.nn.Conv2d) and conv.bias is None and conv.weight.requires_grad:
            conv.reset_parameters()
    efficientnet_init_weights(yolo.model.model[0].body)
    return yolo


def test_maps_are_those_of_the_prediction(yolo, picture):
    seen = look(open_yolo(yolo), picture, None, imgsz=128)
    assert seen.image.shape == (1, 3, 64, 128)  # as Ultralytics pads it, to a multiple of the stride
    assert [row.layer for row in seen.rows] == [0, 1]
    assert [row.levels for row in seen.rows] == [("P3", "P4", "P5")] * 2
    with torch.no_grad():
        expected = yolo.model.eval().model[0](seen.image)
    for x, y in zip(seen.rows[0].maps, expected):
        torch.testing.assert_close(x, y[0], rtol=1e-3, atol=1e-4)


def test_files_and_no_overwriting(yolo, picture, tmp_path):
    before = {name: x.clone() for name, x in yolo.model.state_dict().items()}
    paths = features(yolo, picture, tmp_path / "out", imgsz=64)
    assert [p.name for p in paths] == ["layer00_EfficientNetBackbone_P3-P5_mean.png", "layer01_BiFPN_P3-P5_mean.png"]
    assert all(cv2.imread(str(p)).std() > 5 for p in paths)
    assert all(torch.equal(before[name], x) for name, x in yolo.model.state_dict().items())
    kept = paths[1].read_bytes()
    with pytest.raises(FileExistsError, match="there already"):
        features(yolo, picture, tmp_path / "out", imgsz=64, layers=[1])
    assert paths[1].read_bytes() == kept
    features(yolo, picture, tmp_path / "out", imgsz=64, layers=[1], overwrite=True)
    (path,) = features(yolo, picture, tmp_path / "out", imgsz=64, layers=[3], reduce="max")
    assert path.name == "layer03_PyramidLevel_P4_max.png"


@pytest.mark.parametrize("method", METHODS)
def test_activation_maps(yolo, picture, method):
    seen = look(open_yolo(yolo), picture, [], imgsz=128)
    maps = activation_maps(yolo.model, seen.image, method)
    assert maps.together.shape == (64, 128) and list(maps.levels) == ["P3", "P4", "P5"]
    assert maps.together.min() >= 0 and 0.9 < maps.together.max() <= 1
    if method != "eigen":
        (found,) = open_yolo(yolo).predict(picture, imgsz=128, conf=1e-6, max_det=1, verbose=False)[0].boxes
        assert (maps.explained[0].number, len(maps.explained)) == (found.cls, 1)
        expected = [round(v / 0.75) for v in found.xyxy[0].tolist()]  # the picture is enlarged from 96 to 128
        assert maps.explained[0].xyxy == pytest.approx(expected, abs=1)


def test_what_is_explained_and_flat_maps_are_said(yolo, picture, tmp_path, lines):
    """Of the best prediction alone, the levels that it does not come from show nothing."""
    features(yolo, picture, tmp_path, imgsz=64, cam="grad", conf=0.99)
    explained, flat = lines
    assert "explains class" in explained and "in the box" in explained and "none reaches 0.99" in explained
    assert "is flat" in flat and "cam layer" in flat and "--conf" in flat


def test_layer_cam_against_its_definition(yolo, picture):
    """Positive gradient times activation, summed over the channels, on each level by itself."""
    seen = look(open_yolo(yolo), picture, [], imgsz=128)
    maps = activation_maps(yolo.model, seen.image, "layer", number=3, conf=0)
    network = open_yolo(yolo).model.float().eval()
    acts = []
    network.model[-1].register_forward_pre_hook(
        lambda _, inputs: (acts.extend(x.detach().requires_grad_() for x in inputs[0]), ([*acts],))[1]
    )
    scores = network(seen.image)[0][0, 4 + 3]
    gradients = torch.autograd.grad(torch.logit(scores).sum(), acts)
    for level, act, gradient in zip(maps.levels.values(), acts, gradients):
        expected = (gradient.clamp(min=0) * act).sum(1)[0].clamp(min=0).detach().numpy()
        expected = expected - expected.min()
        expected = cv2.resize(expected / (1e-7 + expected.max()), (128, 64))
        np.testing.assert_allclose(level, expected, atol=1e-3)


@pytest.mark.parametrize("name", STOCK)
def test_stock_networks_of_every_task(name, picture, tmp_path):
    torch.manual_seed(0)
    yolo = YOLO(name)
    paths = features(yolo, picture, tmp_path, imgsz=64, layers=[0, 4], cam="layer")
    assert [p.name for p in paths][-1] == "cam_layer.png" and len(paths) == 3
    seen = look(open_yolo(yolo), picture, [], imgsz=64)
    score = Score(open_yolo(yolo).model.float().eval(), None, 0.25)(seen.image)
    assert score.shape == (1, 1) and score.requires_grad and torch.isfinite(score).all()


def test_bad_input(yolo, picture, tmp_path):
    for message, options in (
        ("from 0 to 4", {"layers": [9]}),
        ("reduce must be", {"reduce": "men"}),
        ("top must be", {"top": 0}),
        ("conf must be", {"conf": 2}),
        ("Did you mean layer", {"cam": "layers"}),
        ("no class 'stra'", {"cam": "layer", "target": "stra"}),
        ("ask for cam", {"target": "person"}),
        ("knows no classes", {"cam": "eigen", "target": 0}),
    ):
        with pytest.raises(ValueError, match=message):
            features(yolo, picture, tmp_path / "out", imgsz=64, **options)
    with pytest.raises(FileNotFoundError, match="no picture"):
        features(yolo, tmp_path / "no.jpg", tmp_path / "out")
    with pytest.raises(TypeError, match="YOLO"):
        features(yolo.model.model[1], picture, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_missing_package_is_named(picture, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pytorch_grad_cam", None)  # as if it were not installed
    with pytest.raises(MissingPackageError, match=r'pip install "effyolo-ultra\[cam\]"'):
        features("yolov5n-effdet.yaml", picture, tmp_path / "out", cam="eigen")
    assert not list(tmp_path.iterdir())


def test_classes_of_a_head_without_nms(picture):
    torch.manual_seed(0)
    yolo = YOLO("yolo26n.yaml")
    network = yolo.model.float().eval()
    network.model[-1].end2end = True  # it gives 300 predictions at most, each with its class
    for branch in network.model[-1].one2one_cv3:
        branch[-1].weight.data.zero_()
        branch[-1].bias.data[3] = 2
    image = look(open_yolo(yolo), picture, [], imgsz=64).image
    cells = sum(image.shape[2] * image.shape[3] // stride**2 for stride in (8, 16, 32))
    for number in (None, 3):
        torch.testing.assert_close(Score(network, number, conf=0.5)(image), torch.full((1, 1), 2.0 * cells))
    with pytest.raises(ValueError, match="nothing of class 7"):
        activation_maps(network, image, "layer", number=7)
