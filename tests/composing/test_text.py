"""Composed YAMLs: parts as asked for, networks that run, and errors that say what is allowed."""

import re

import pytest
import timm
import yaml
from ultralytics.nn import tasks

from effyolo_ultra import compose
from effyolo_ultra.composing.blocks import FAMILIES
from effyolo_ultra.composing.files import try_model
from effyolo_ultra.composing.sizes import PARAMETERS, nearest_efficientnet

STOCK = {"yolov5": "yolov5.yaml", "yolov8": "yolov8.yaml", "yolo11": "yolo11.yaml", "yolo26": "yolo26.yaml"}
STOCK_SUFFIXES = {"detect": "", "segment": "-seg", "pose": "-pose", "obb": "-obb"}


def rows(text):
    d = yaml.safe_load(text)
    return [*d["backbone"], *d["head"]]


def modules(all_rows):
    return [(row[1], row[2], row[3]) for row in all_rows if row[2] != "PyramidLevel"]


def stock_head(name):
    return tasks.yaml_model_load(name)["head"]


@pytest.mark.parametrize(
    ("name", "given"),
    [
        *((file, {"head": head}) for head, file in STOCK.items()),
        ("yolov5-p6.yaml", {"head": "yolov5", "levels": "3-6"}),
        ("yolov8-p2.yaml", {"head": "yolov8", "levels": "2-5"}),
        ("yolo26-p2.yaml", {"head": "yolo26", "levels": "2-5"}),
        ("yolo26-p6.yaml", {"head": "yolo26", "levels": "3-6"}),
        *(
            (file.replace(".yaml", f"{suffix}.yaml"), {"head": head, "task": task})
            for head, file in STOCK.items()
            for task, suffix in STOCK_SUFFIXES.items()
            if suffix and head != "yolov5"
        ),
    ],
)
def test_plain_neck_and_head_are_those_of_the_stock_file(name, given):
    """Row by row, but for the rows that take or make the backbone's levels, and for which layer is which."""
    text = compose(neck="pan", **given)
    stock = modules(stock_head(name))
    ours = modules(yaml.safe_load(text)["head"])
    assert ours[-len(stock) :] == stock
    d, stock_d = yaml.safe_load(text), tasks.yaml_model_load(name)
    for key in ("end2end", "reg_max", "kpt_shape"):
        assert d.get(key) == stock_d.get(key)


@pytest.mark.parametrize("head", ["yolov5", "yolov8", "yolo11", "yolo26"])
def test_weighted_neck_is_the_plain_one_with_weights_and_a_skip_edge(head):
    plain, weighted = (rows(compose(head=head, neck=neck)) for neck in ("pan", "wpan"))
    changed = [(a, b) for a, b in zip(plain, weighted) if a != b]
    assert [(a[2], b[2]) for a, b in changed] == [("Concat", "BiFPN_Concat")] * 4
    skips = [(b[0][2:], len(a[0])) for a, b in changed if a[0] != b[0]]
    assert skips == [([2], 2)]  # layer 2 is P4 of the backbone


@pytest.mark.parametrize(
    ("given", "strides"),
    [
        ({"levels": "2-5"}, [4, 8, 16, 32]),
        ({"levels": [2, 3, 4], "head": "yolo26"}, [4, 8, 16]),
        ({"levels": "3-7", "head": "yolov8", "neck": "pan"}, [8, 16, 32, 64, 128]),
        ({"levels": "5-7", "neck": "bifpn"}, [32, 64, 128]),
        ({"levels": "1-3", "neck": "bifpn", "head": "yolo11"}, [2, 4, 8]),
        ({"backbone": "v2-b0", "head": "yolo26", "levels": "4-6", "task": "obb"}, [16, 32, 64]),
        ({"backbone": "lite0", "neck": "bifpn", "channels": 40, "repeats": 2, "task": "segment"}, [8, 16, 32]),
        ({"backbone": "resnet18.a1_in1k", "head": "yolov8", "scale": "n"}, [8, 16, 32]),
        ({"backbone": "vit_tiny_patch16_224", "levels": "4-6", "scale": "n"}, [16, 32, 64]),
        ({"backbone": "mobilenetv3_small_050", "head": "rtdetr", "neck": "bifpn"}, [8, 16, 32]),
        ({"backbone": "mobilenetv3_small_050", "task": "classify"}, [32]),
        ({"scale": "m", "head": "yolo26", "neck": "pan", "levels": "4-5"}, [16, 32]),
    ],
)
def test_network_runs_with_the_levels_asked_for(given, strides):
    assert try_model(compose(**given), "model.yaml") == strides


def top_block(d):
    """Return the channels of the last block before width."""
    return [row[3][0] for row in d["head"] if row[2] == "C3k2"][-1]


@pytest.mark.parametrize("levels", ["3-5", "2-4", "3-6"])
@pytest.mark.parametrize("scale", "nsmlx")
def test_attention_of_yolo26_fits_every_scale(levels, scale):
    """Ultralytics' attention fails where its channels do not divide into its heads."""
    from ultralytics.nn.modules.block import Attention

    growing = yaml.safe_load(compose(head="yolo26", levels=levels))
    fixed = yaml.safe_load(compose(head="yolo26", levels=levels, scale=scale))
    _, width, cap = growing["scales"][scale]
    channels = tasks.make_divisible(min(top_block(growing), cap) * width, 8)
    assert tasks.make_divisible(top_block(fixed) * fixed["width_multiple"], 8) == channels
    attention = Attention(channels // 2, max(channels // 2 // 64, 1), 0.5)
    assert attention.num_heads * attention.head_dim == channels // 2


def test_large_sizes_of_one_scale_are_as_those_that_grow():
    """Ultralytics makes C3k2 of the scales m, l and x larger, by the letter; a file of one size has none."""
    composed = {scale: rows(compose(head="yolo11", scale=scale)) for scale in "nsmlx"}
    blocks = {scale: [row[3][1] for row in given if row[2] == "C3k2"] for scale, given in composed.items()}
    assert blocks == {x: [False, False, False, True] for x in "ns"} | {x: [True] * 4 for x in "mlx"}


@pytest.mark.parametrize(("variant", "millions"), PARAMETERS.items())
def test_parameters_are_those_of_timm(variant, millions):
    import torch

    with torch.device("meta"):
        model = timm.create_model(f"tf_efficientnet_{variant}")
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, rel=0.03)


@pytest.mark.parametrize(
    ("model", "variant"), [("resnet18", "b3"), ("efficientnet_b1", "b1"), ("mobilenetv3_small_050", "b0")]
)
def test_size_is_that_of_the_nearest_efficientnet(model, variant):
    assert nearest_efficientnet(model) == variant
    lines = [line for line in compose(backbone=model).splitlines() if "multiple" in line]
    assert lines == [line for line in compose(backbone=variant).splitlines() if "multiple" in line]


@pytest.mark.parametrize("head", FAMILIES)
def test_light_is_for_bifpn_by_default(head):
    stock = FAMILIES[head].heads["detect"]
    light = stock if head == "rtdetr" else f"Light{stock}"
    assert rows(compose(backbone="b0", head=head, neck="bifpn"))[-1][2] == light
    assert rows(compose(backbone="b0", head=head, neck="wpan"))[-1][2] == stock


@pytest.mark.parametrize("task", ["segment", "pose", "obb"])
def test_light_on_demand(task):
    head = FAMILIES["yolo26"].heads[task]
    assert rows(compose(head="yolo26", task=task, light=True))[-1][2] == f"Light{head}"


def test_light_heads_of_three_families_are_one():
    """Their full heads differ in the convolutions that the light one replaces; the comment says so."""
    assert len({str(yaml.safe_load(compose(neck="bifpn", head=head))) for head in ("yolov5", "yolov8", "yolo11")}) == 1
    assert "the same as YOLOv8's" in compose(neck="bifpn", head="yolo11")


def test_heavy_head_behind_bifpn():
    assert rows(compose(neck="bifpn", head="yolov8", light=False))[-1][2] == "Detect"


def test_bifpn_has_the_channels_and_cells_asked_for():
    text = compose(backbone="b2", neck="bifpn", channels=96, repeats=2, task="segment")
    d = yaml.safe_load(text)
    assert d["head"][0] == [0, 2, "BiFPN", [96]] and d["head"][-1][3] == ["nc", 32, 96]
    assert (d["depth_multiple"], d["width_multiple"]) == (1.0, 1.0)
    assert "2 BiFPN cells of 96 channels" in text
    growing = yaml.safe_load(compose(neck="bifpn", channels=96))
    assert {(width, depth > 0.9) for depth, width, _ in growing["scales"].values()} == {(1.0, True)}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"backbone": "b33"}, "no backbone 'b33'"),
        ({"backbone": "convnext_tin"}, "Did you mean convnext_tiny"),
        ({"backbone": "vit_tiny_patch16_224"}, "need P3 of the backbone, but vit_tiny_patch16_224 of timm gives P4: "),
        ({"backbone": "vit_tiny_patch16_224", "levels": "3-4", "neck": "bifpn"}, "such as 4-5 (--levels 4-5)"),
        ({"neck": "fpn"}, "neck must be one of wpan, pan, bifpn, not 'fpn'. Did you mean bifpn"),
        ({"head": "yolov9"}, "head must be one of yolov5, yolov8"),
        ({"task": "seg"}, "task must be one of detect, segment"),
        ({"scale": "q"}, "scale must be one of n, s, m, l, x"),
        ({"levels": "3"}, "such as 3-5, not '3'"),
        ({"levels": "5-3"}, "write 3-5, not '5-3'"),
        ({"levels": "3-9"}, "up to 8"),
        ({"levels": "4-4"}, "two or more"),
        ({"levels": [3, 5]}, "leave out no level"),
        ({"levels": "6-7"}, "such as 5-6 (--levels 5-6)"),
        ({"channels": 64}, "those of neck bifpn"),
        ({"repeats": 3, "neck": "pan"}, "those of neck bifpn"),
        ({"channels": 65, "neck": "bifpn"}, "multiple of 8"),
        ({"repeats": 9, "neck": "bifpn"}, "at most 8"),
        ({"task": "classify", "neck": "pan", "levels": "3-5"}, "no neck, levels"),
        ({"head": "rtdetr"}, "needs a backbone or a scale"),
        ({"head": "rtdetr", "backbone": "b0", "light": True}, "no light form"),
        ({"head": "rtdetr", "backbone": "b0", "task": "pose"}, "has no task pose, only detect"),
        ({"head": "yolo11", "neck": "bifpn", "light": False}, "leave out --no-light (light=False)"),
    ],
)
def test_what_does_not_go_together_is_refused(given, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        compose(**given)


def test_public_name_is_the_function():
    """A package of this name inside effyolo_ultra would replace it."""
    import effyolo_ultra.composing.zoo_files

    assert callable(effyolo_ultra.compose)
