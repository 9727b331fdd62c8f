"""Light heads: every task, the same outputs as the heavy ones, no dense 3x3 convolution, weights that are kept."""

import copy

import pytest
import torch
from torch import nn
from ultralytics import YOLO
from ultralytics.nn import tasks
from ultralytics.nn.modules.block import DFL

from effyolo_ultra.nn.light_head import Integral, SeparableConv, light_heads

MODEL = """
nc: 3
kpt_shape: [5, 3]
{top}
backbone:
  - [-1, 1, Conv, [8, 3, 4]]
  - [-1, 1, Conv, [16, 3, 2]] # 1
  - [-1, 1, Conv, [32, 3, 2]] # 2
  - [-1, 1, {block}, [32]] # 3
head:
  - [[1, 3], 1, {head}, [{args}]]
"""
ARGS = {"Segment": "nc, 8, 16", "Pose": "nc, [5, 3]", "OBB": "nc, 1"}
HEADS = [name for name in light_heads(tasks).values() if name != "v10Detect"]  # which has no YAML key of its own
BLOCKS = ["C3", "C3k2"]  # the second one lets the stock parser choose its own light class branch


def build(model_yaml, head, block="C3", top=""):
    args = next((args for name, args in ARGS.items() if name in head), "nc")
    text = MODEL.format(top=top, block=block, head=head, args=args)
    return YOLO(model_yaml(text, f"{head.lower()}.yaml"))


def shapes(outputs):
    if isinstance(outputs, torch.Tensor):
        return tuple(outputs.shape)
    return [shapes(x) for x in (outputs.values() if isinstance(outputs, dict) else outputs)]


def test_every_task_has_one():
    assert {"LightDetect", "LightSegment", "LightPose", "LightOBB"} <= set(light_heads(tasks))
    assert not {"LightWorldDetect", "LightYOLOEDetect"} & set(light_heads(tasks))


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("head", HEADS)
def test_light_head(head, block, model_yaml):
    heavy, light = (build(model_yaml, f"{prefix}{head}", block) for prefix in ("", "Light"))
    assert light.task == heavy.task
    image = torch.rand(1, 3, 64, 96)
    outputs = [yolo.model.eval()(image) for yolo in (heavy, light)]
    assert shapes(outputs[1]) == shapes(outputs[0])
    for name, module in light.model.model[-1].named_modules():
        dense = isinstance(module, nn.Conv2d) and module.kernel_size != (1, 1) and module.groups == 1
        assert not dense, name
    assert light.model.model[-1].np < heavy.model.model[-1].np
    branches = [light.model.model[-1].cv3[0][i] for i in (0, 1)]
    assert [type(branch) for branch in branches] == [SeparableConv] * 2


@pytest.mark.skipif(not hasattr(tasks, "OBB26"), reason="an Ultralytics before YOLO26 has no end2end key")
def test_end_to_end(model_yaml):
    heavy, light = (
        build(model_yaml, f"{prefix}Detect", top="end2end: true\nreg_max: 1").model for prefix in ("", "Light")
    )
    assert isinstance(light.model[-1].one2one_cv2[0][0], SeparableConv)
    image = torch.rand(1, 3, 64, 96)
    for end2end in (False, True):
        heavy.end2end = light.end2end = end2end
        assert shapes(light.eval()(image)) == shapes(heavy.eval()(image))


@pytest.mark.parametrize("bins", [4, 16])
def test_integral_gives_the_numbers_of_dfl(bins):
    torch.manual_seed(0)
    logits = torch.randn(2, 4 * bins, 50) * torch.tensor([1.0, 100.0])[:, None, None]  # the second one saturates
    torch.testing.assert_close(Integral(bins)(logits), DFL(bins)(logits), rtol=1e-5, atol=1e-5)


def test_fused_equals_unfused_and_file(model_yaml, tmp_path, monkeypatch):
    model = build(model_yaml, "LightDetect").model.eval()
    image = torch.rand(1, 3, 64, 96)
    torch.save({"model": model}, tmp_path / "light.pt")
    monkeypatch.setenv("ULTRALYTICS_SAFE_LOAD", "1")
    again = YOLO(tmp_path / "light.pt").model.eval()
    with torch.no_grad():
        expected = model(image)[0]
        torch.testing.assert_close(again(image)[0], expected)
        fused = copy.deepcopy(model).fuse(verbose=False)
        torch.testing.assert_close(fused(image)[0], expected, rtol=1e-4, atol=1e-4)
    assert not [m for m in fused.modules() if isinstance(m, nn.BatchNorm2d)]


def test_other_number_of_classes(model_yaml, tmp_path):
    """Ultralytics looks into the branches of a head to take over what fits."""
    source = build(model_yaml, "LightDetect")
    text = MODEL.format(top="", block="C3", head="LightDetect", args="nc").replace("nc: 3", "nc: 7")
    target = YOLO(model_yaml(text, "seven.yaml")).model
    target.load(source.model)
    heads = source.model.model[-1], target.model[-1]
    assert torch.equal(heads[0].cv2[0][0].depthwise.weight, heads[1].cv2[0][0].depthwise.weight)
    assert target.model[-1].cv3[0][-1].out_channels == 7


def test_stock_head_stays_as_it_is(model_yaml):
    build(model_yaml, "LightDetect")
    assert isinstance(YOLO("yolov8n.yaml").model.model[-1].dfl, DFL)


def test_unknown_light_head(model_yaml):
    with pytest.raises(ValueError, match=r"there is no module 'LightDetct'.*Did you mean LightDetect"):
        build(model_yaml, "LightDetct")
