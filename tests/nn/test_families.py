"""timm's families under a YOLO: the quick part of what benchmarks/families.py checks, and the page that it writes."""

import re
from pathlib import Path

import pytest
import torch
from ultralytics import YOLO

from benchmarks import families
from benchmarks import family_checks as checks
from effyolo_ultra.errors import ModelYAMLError

PAGE = families.PAGE.read_text(encoding="utf-8")
LISTED = re.findall(r"^\| ([^`|]+) \| `(\w+)` \|", PAGE, re.MULTILINE)

QUICK = [
    "convnext_atto",
    "convnextv2_atto",
    "cs3darknet_s",
    "dla46_c",
    "edgenext_xx_small",
    "efficientnet_b0",
    "efficientnet_lite0",
    "efficientvit_b0",
    "fasternet_t0",
    "fastvit_t8",
    "fbnetc_100",
    "gernet_s",
    "ghostnet_050",
    "hardcorenas_a",
    "hgnetv2_b0",
    "hrnet_w18_small",
    "inception_next_atto",
    "lcnet_035",
    "mambaout_femto",
    "mixnet_s",
    "mnasnet_050",
    "mobilenetv2_035",
    "mobilenetv3_small_050",
    "mobilenetv4_conv_small_035",
    "mobileone_s1",
    "mobilevit_xxs",
    "nf_regnet_b0",
    "pvt_v2_b0",
    "regnetx_002",
    "regnety_002",
    "regnetz_b16",
    "repghostnet_050",
    "repvit_m0_9",
    "resnet18",
    "rexnet_100",
    "starnet_s050",
    "swin_tiny_patch4_window7_224",
    "tinynet_e",
    "xception41",
]


@pytest.mark.parametrize("name", QUICK)
def test_trains_and_survives_a_checkpoint(name, tmp_path):
    model = checks.build(name, [3, 4, 5], tmp_path).model
    note = checks.check_training(model, imgsz=64)
    assert note == ("yes, 21 tensors unused" if name.startswith("hrnet") else "yes")
    checks.check_checkpoint(model, [3, 4, 5], torch.rand(1, 3, 96, 64))


@pytest.mark.parametrize(("name", "levels"), [("vit_tiny_patch16_224", [4]), ("shvit_s1", [4, 5, 6])])
def test_other_levels(name, levels, tmp_path):
    model = checks.build(name, levels, tmp_path).model
    assert model.stride.tolist() == [2**k for k in levels]
    assert checks.check_training(model) == "yes"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("resnet18", "FeatureListNet"),
        ("mambaout_femto", "FeatureListNet"),  # (N, H, W, C)
        ("xception41", "FeatureHookNet"),
        ("mobilenetv3_small_050", "MobileNetV3Features"),
        ("efficientnet_b0", "EfficientNetFeatures"),
    ],
)
def test_export(name, kind, tmp_path):
    yolo = checks.build(name, [3, 4, 5], tmp_path)
    assert type(yolo.model.model[0].body).__name__ == kind
    assert yolo.model.model[0].gives_nhwc == name.startswith("mambaout")
    images = torch.rand(4, 3, 64, 96)
    checks.make_realistic(yolo.model, images)
    checks.check_export(yolo, images)


@pytest.mark.parametrize(
    ("name", "problem", "what_to_do"),
    [
        ("vit_tiny_patch16_224", "no level P3 (stride 8), P5 (stride 32)", "Ask for {levels: [4]}, or name another"),
        ("crossvit_tiny_240", "crossvit_tiny_240", "Name another model."),  # no feature maps before timm 1.0.23
        ("mixer_s32_224", "no level P3 (stride 8), P4 (stride 16)", "Ask for {levels: [5]}, or name another model."),
        ("coatnet_nano_rw_224", "takes images of 224 x 224 pixels only", "Name another model."),
        ("halonet_h1", "takes no image of 416 x 352 pixels", "Name another model."),
    ],
)
def test_error_names_file_row_model_and_what_to_do(name, problem, what_to_do, model_yaml):
    text = f"nc: 1\nbackbone:\n- [-1, 1, TimmBackbone, [{name}]]\nhead:\n- [0, 1, PyramidLevel, [3]]\n"
    file = model_yaml(f"{text}- [[1], 1, Detect, [nc]]\n", "mine.yaml")
    with pytest.raises(ModelYAMLError) as error:
        YOLO(file)
    for part in ("mine.yaml", f"row 0: [-1, 1, TimmBackbone, [{name}]]", problem, what_to_do):
        assert part in str(error.value)


def test_page_lists_every_family():
    assert dict(LISTED) == families.FAMILIES
    assert set(QUICK) <= set(families.FAMILIES.values())


@pytest.mark.slow
@pytest.mark.parametrize("family", ["LCNet", "HRNet", "ViT"])
def test_page_is_what_the_script_gives(family):
    name = families.FAMILIES[family]
    cells, error = families.check(name)
    assert f"| {family} | `{name}` | {' | '.join(cells)} |\n" in PAGE
    assert not error or f"| `{name}` | {error} |\n" in PAGE


def test_yaml_of_the_page(model_yaml):
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert YOLO(model_yaml(text)).model.stride.tolist() == [8, 16, 32]


def test_readme_links_the_page():
    assert "(docs/families.md)" in (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
