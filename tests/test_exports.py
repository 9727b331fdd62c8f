"""Exported files of networks that find boxes, each run by its own runtime under the stock predict: torch's boxes."""

import collections

import onnx
import pytest
import torch
from ultralytics import YOLO

from benchmarks.ecosystem import IMGSZ, PICTURES
from benchmarks.exports import zoo
from benchmarks.exports.checks import boxes, compare, raw, raw_deviation
from benchmarks.exports.models import calibrated, picture_batch
from benchmarks.page import rows_between
from effyolo_ultra.nn import BiFPN_Add

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("exports")]  # one process trains for all of them

MODELS = ["yolov5n-effdet.yaml", "yolov5-effb0-bifpn.yaml", "yolov5-effb0-pan.yaml", "yolov5n-effdet-p7.yaml"]


@pytest.fixture(scope="module")
def spread(tmp_path_factory):
    """Checkpoints that are not trained, but have scores from 0 to 1 at any size of an image."""
    folder = tmp_path_factory.mktemp("random")
    return lambda name: calibrated(name, folder, PICTURES)


@pytest.fixture(scope="module")
def pictures(learned):
    return sorted((learned.parent / "pictures" / "images").rglob("*.jpg"))


def export(weights, **options):
    return YOLO(weights).export(device="cpu", verbose=False, **{"imgsz": IMGSZ, **options})


def check_boxes(weights, file, pictures, pixels=0.1, scores=0.001, batch=1):
    found = compare(boxes(weights, pictures, IMGSZ), boxes(file, pictures, IMGSZ, batch))
    assert found["boxes"] >= 8 and found["unpaired"] == 0, found
    assert found["pixels"] <= pixels and found["scores"] <= scores, found


def check_raw(weights, file, images, pixels=0.1, scores=0.001):
    """Check the output before NMS."""
    expected, given = raw(weights, images), raw(file, images)
    assert expected.shape == given.shape and expected[:, 4:].max() > 0.5
    found = raw_deviation(expected, given)
    assert found["raw pixels"] <= pixels and found["raw scores"] <= scores, found


@pytest.mark.parametrize("format_", ["onnx", "torchscript", "openvino", "ncnn", "mnn"])
def test_same_boxes(learned, pictures, format_):
    check_boxes(learned, export(learned, format=format_), pictures)


@pytest.mark.parametrize("format_", ["onnx", "openvino"])
def test_same_boxes_in_half_precision(learned, pictures, format_):
    check_boxes(learned, export(learned, format=format_, half=True), pictures, pixels=1, scores=0.02)


@pytest.mark.parametrize("format_", ["onnx", "torchscript"])
@pytest.mark.parametrize("options", [{"batch": 4}, {"nms": True}], ids=str)
def test_same_boxes_with_options(learned, pictures, format_, options):
    file = export(learned, format=format_, **options)
    check_boxes(learned, file, pictures, batch=options.get("batch", 1))


@pytest.mark.parametrize("format_", ["onnx", "openvino"])
def test_dynamic_file_at_other_sizes_and_batches(spread, format_):
    """Sizes are multiples of the largest stride, 32."""
    weights = spread(MODELS[0])
    file = export(weights, format=format_, dynamic=True)
    pictures = sorted((weights.parent / "pictures" / "images").rglob("*.jpg"))
    for size_hw in ((64, 64), (96, 96), (64, 160)):
        check_raw(weights, file, picture_batch(pictures[:4], size_hw))


@pytest.mark.parametrize("name", MODELS)
def test_graph_of_a_static_file(spread, name):
    """No sizes computed, no BatchNorm, and a fusion that is products with constants and sums."""
    weights = spread(name)
    stride = int(YOLO(weights).model.stride.max())
    size_hw = [max(64, stride), max(96, 2 * stride)]
    file = export(weights, format="onnx", imgsz=size_hw)
    operations = collections.Counter(node.op_type for node in onnx.load(file).graph.node)
    computed = {"Shape", "Gather", "Where", "Expand", "Range", "ConstantOfShape", "If", "Cast"}
    fusion = {"Relu", "ReduceSum", "Squeeze", "Split", "Identity"}
    assert not operations.keys() & {*computed, *fusion, "BatchNormalization"}, operations
    # One division is in the mean distance of a box side, the other one in Ultralytics' centre of a box.
    assert operations["Div"] <= 2, operations
    pictures = sorted((weights.parent / "pictures" / "images").rglob("*.jpg"))
    check_raw(weights, file, picture_batch(pictures[:2], size_hw))


def test_every_model_has_its_row_of_the_page():
    rows = rows_between(zoo.PAGE, zoo.TABLE)
    assert [row.split("`")[1] for row in rows] == zoo.smallest()


@pytest.mark.parametrize("by", ["trace", "export"])
def test_graph_of_a_sum_has_no_factor(by):
    """The converters to CoreML and LiteRT know no `add` with `alpha`."""
    module = BiFPN_Add(3).eval()
    module.weights.weight.data = torch.tensor([0.5, 1.0, 2.0])
    module.weights.fuse()
    features = [torch.rand(1, 2, 4, 4) for _ in range(3)]
    if by == "trace":
        graph = torch.jit.trace(module, (features,)).graph
        adds = [node for node in graph.nodes() if node.kind().startswith("aten::add")]
        factors = [list(node.inputs())[2].toIValue() for node in adds]
    else:
        graph = torch.export.export(module, (features,)).graph
        adds = [node for node in graph.nodes if str(node.target).startswith("aten.add")]
        factors = [node.kwargs.get("alpha", 1) for node in adds]
    assert factors == [1, 1]
