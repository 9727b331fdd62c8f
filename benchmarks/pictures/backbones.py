"""Pictures of the backbones: stages and levels of an EfficientNet, and the levels of other timm models."""

from __future__ import annotations

import math

import torch

from benchmarks.pictures.sheet import BLACK, BLUE, GRAY, GREEN, RED, Sheet
from effyolo_ultra.nn import EfficientNetBackbone, TimmBackbone
from effyolo_ultra.nn.timm_body import stages
from effyolo_ultra.nn.timm_models import feature_maps

IMAGE = 640
MODELS = (
    "tf_efficientnet_b0",
    "tf_efficientnetv2_s",
    "mobilenetv4_conv_small",
    "resnet18",
    "convnext_atto",
    "swin_tiny_patch4_window7_224",
    "shvit_s1",
    "vit_tiny_patch16_224",
)


def efficientnet() -> Sheet:
    """Draw the stages of EfficientNet-B0, what is frozen with them, and the levels that they give."""
    backbone = EfficientNetBackbone("b0", pretrained=False).eval()
    given: list[tuple[str, torch.Tensor]] = []
    body = backbone.body
    for name in ("conv_stem", *(f"blocks.{i}" for i in range(len(body.blocks)))):
        body.get_submodule(name).register_forward_hook(lambda _, __, x, name=name: given.append((name, x)))
    with torch.no_grad():
        pyramid = backbone(torch.zeros(1, 3, IMAGE, IMAGE))
    number = stages(backbone.model_name, body)

    sheet = Sheet(17.4, 7.2)
    sheet.text((0.3, 6.8), f"EfficientNetBackbone, [b0]: {backbone.model_name}", align="left", font=10)
    sheet.box((1.1, 4), (1.6, 1.1), f"image\n3 x {IMAGE} x {IMAGE}", GRAY, font=7)
    sheet.arrow((1.9, 4), (2.2, 4))
    sheet.box((3, 4), (1.6, 1.1), "minus mean,\nby std", GREEN, font=7)
    x, levels = 4.1, dict(zip((x.shape[2] for x in pyramid), zip(backbone.levels, pyramid)))
    last_of_size = {map_.shape[2]: name for name, map_ in given}
    for name, map_ in given:
        stage = next(stage for parameter, stage in number.items() if parameter.startswith(f"{name}."))
        blocks = "stem" if name == "conv_stem" else plural(len(body.get_submodule(name)), "block")
        height = 1.2 + 0.45 * math.log2(map_.shape[2] / given[-1][1].shape[2])
        middle = (x + 0.7, 4)
        sheet.arrow((x - 0.3, 4), (x, 4))
        sheet.box(middle, (1.35, height), f"{blocks}\n{map_.shape[1]} ch", BLUE)
        sheet.text((middle[0], 4 + height / 2 + 0.25), f"stride {IMAGE // map_.shape[2]}", GRAY, font=7)
        sheet.text((middle[0], 0.55), str(stage), RED, font=9)
        if last_of_size[map_.shape[2]] == name and map_.shape[2] in levels:
            level, out = levels[map_.shape[2]]
            sheet.arrow((middle[0], 4 - height / 2), (middle[0], 2.15))
            size = f"{out.shape[1]} ch\n{out.shape[2]} x {out.shape[3]}"
            sheet.box((middle[0], 1.55), (1.35, 1.2), f"P{level}\n{size}", GREEN)
        x += 1.65
    sheet.text((3.9, 0.55), "frozen_stages: k freezes 0 to", RED, align="right", font=8)
    sheet.text((3.9, 1.55), f"levels: {list(backbone.levels)}", BLACK, align="right", font=8)
    return sheet


def families() -> Sheet:
    """Draw which levels timm models have, with their channels."""
    maps = {name: {info["reduction"]: info["num_chs"] for info in feature_maps(name)} for name in MODELS}
    strides = sorted({stride for given in maps.values() for stride in given})
    defaults = [2**level for level in TimmBackbone.__init__.__kwdefaults__["levels"]]
    height = 0.75 * len(MODELS) + 2.1
    sheet = Sheet(15, height)
    sheet.text(
        (0.3, height - 0.4), "TimmBackbone, [model]: channels of each level, as timm states them", align="left", font=10
    )
    for column, stride in enumerate(strides):
        x = 7.3 + 1.35 * column
        sheet.text((x, height - 1.15), f"P{stride.bit_length() - 1}\nstride {stride}", GRAY, font=7)
        for row, name in enumerate(MODELS):
            y = height - 2 - 0.75 * row
            if column == 0:
                sheet.text((6.3, y), name, align="right", family="monospace")
            if stride in maps[name]:
                asked = stride in defaults
                sheet.box((x, y), (1.1, 0.52), str(maps[name][stride]), GREEN if asked else GRAY)
            elif stride in defaults:
                sheet.text((x, y), "none", RED)
    sheet.text(
        (0.3, 0.35),
        "green: what the default, levels: [3, 4, 5], takes; a model without one of them needs other levels",
        GRAY,
        align="left",
        font=7,
    )
    return sheet


def plural(number: int, word: str) -> str:
    """Return '1 block' or '2 blocks'."""
    return f"{number} {word}{'' if number == 1 else 's'}"
