"""Composing a model YAML from a backbone, a neck and a head; the zoo is made by it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

# The sizes of EfficientDet (https://arxiv.org/abs/1911.09070, table 1): BiFPN channels and cells of D0 to D7.
EFFICIENTDET = {
    "b0": (64, 3),
    "b1": (88, 4),
    "b2": (112, 5),
    "b3": (160, 6),
    "b4": (224, 7),
    "b5": (288, 7),
    "b6": (384, 8),
    "b7": (384, 8),
}
# With eight cells it sums without weights, "for training stability" (efficientdet-pytorch, model_config.py).
UNWEIGHTED = ("b6", "b7")
BACKBONE_OF_SCALE = {"n": "b0", "s": "b1", "m": "b2", "l": "b3", "x": "b4"}
# As in YOLOv8, wide necks stop doubling their channels early: the cap on channels, before width, at P5.
MAX_CHANNELS = {"b4": 768, "b5": 512, "b6": 512, "b7": 512}


def pan_scale(variant: str) -> tuple[float, float]:
    """Return depth and width of YOLOv5's neck for an EfficientNet.

    They make its P3 as wide as the BiFPN that EfficientDet pairs with this backbone (256 channels at width 1), and its
    depth grows as EfficientDet's cells do; b0 gives depth 0.33 and width 0.25, those of YOLOv5n.
    """
    channels, cells = EFFICIENTDET[variant]
    return round(cells / 9, 4), channels / 256


def bifpn_scale(variant: str) -> tuple[float, float]:
    """Return depth and width that turn `[0, 3, BiFPN, [64]]` into the BiFPN of EfficientDet for a backbone."""
    channels, cells = EFFICIENTDET[variant]
    return round(cells / 3, 4), channels / 64


@dataclass(frozen=True)
class Neck:
    """A neck as YAML rows behind a backbone row (layer 0), with the layers that the head takes."""

    title: str
    rows: str
    outputs: str
    scale: Mapping[str, tuple[float, float]]
    last_level: int = 5
    head: str = "Detect"


def pan_rows(concat: str, skip: str) -> str:
    """Return YOLOv5's neck, with the fusion `concat` and the inputs `skip` of the bottom-up node of P4.

    `{p5}` stands for the channels of P5.
    """
    return f"""\
  - [0, 1, PyramidLevel, [3]] # 1
  - [0, 1, PyramidLevel, [4]] # 2
  - [0, 1, PyramidLevel, [5]] # 3

  - [3, 1, Conv, [512, 1, 1]] # 4
  - [-1, 1, nn.Upsample, [None, 2, nearest]]
  - [[-1, 2], 1, {concat}, [1]]
  - [-1, 3, C3, [512, False]] # 7

  - [-1, 1, Conv, [256, 1, 1]] # 8
  - [-1, 1, nn.Upsample, [None, 2, nearest]]
  - [[-1, 1], 1, {concat}, [1]]
  - [-1, 3, C3, [256, False]] # 11 (P3/8)

  - [-1, 1, Conv, [256, 3, 2]]
  - [[-1, {skip}], 1, {concat}, [1]]
  - [-1, 3, C3, [512, False]] # 14 (P4/16)

  - [-1, 1, Conv, [512, 3, 2]]
  - [[-1, 4], 1, {concat}, [1]]
  - [-1, 3, C3, [{{p5}}, False]] # 17 (P5/32)
"""


def bifpn_neck(title: str, last_level: int) -> Neck:
    """Return stacked BiFPN cells on P3 to `last_level`; `{options}` in its rows stands for the options of BiFPN."""
    levels = range(3, last_level + 1)
    rows = "  - [0, 3, BiFPN, [64{options}]] # 1\n"
    rows += "".join(f"  - [1, 1, PyramidLevel, [{k}]] # {k - 1} (P{k}/{2**k})\n" for k in levels)
    # The heads of EfficientDet are separable too; YOLOv5's would take more multiply-adds than such a neck saves.
    return Neck(title, rows, str([k - 1 for k in levels]), BIFPN_SCALE, last_level, "LightDetect")


PAN_SCALE = {variant: pan_scale(variant) for variant in EFFICIENTDET}
BIFPN_SCALE = {variant: bifpn_scale(variant) for variant in EFFICIENTDET}
NECKS = {
    "pan": Neck("YOLOv5's PAN neck", pan_rows("Concat", "8"), "[11, 14, 17]", PAN_SCALE),
    "wpan": Neck(
        "YOLOv5's PAN with weighted fusion and BiFPN's skip edge at P4 (EfficientDet, section 3.2)",
        pan_rows("BiFPN_Concat", "8, 2"),
        "[11, 14, 17]",
        PAN_SCALE,
    ),
    "bifpn": bifpn_neck("BiFPN cells on P3 to P5, as many and as wide as in EfficientDet D0 (n) to D4 (x)", 5),
    "bifpn-p7": bifpn_neck("the BiFPN of EfficientDet {sizes}, on P3 to P7", 7),
    "bifpn-p8": bifpn_neck("the BiFPN of EfficientDet {sizes}, on P3 to P8", 8),
}
# The sizes of EfficientDet whose weights fit, for files with its levels. Its D7 is a D6 for larger images, D7x has P8.
EFFICIENTDET_OF = {None: "D0 (n) to D4 (x)", "b5": "D5", "b6": "D6 and D7", "b7": "D7x"}


def compose(neck: str, variant: str | None = None) -> str:
    """Return a model YAML: an EfficientNet, a neck and YOLOv5's anchor-free detection head, light behind BiFPN cells.

    Args:
        neck: 'pan', 'wpan' (weighted PAN, row by row), or stacked BiFPN cells, 'bifpn', 'bifpn-p7' or 'bifpn-p8'.
        variant: 'b0' to 'b7' for a file of one size; None for one that grows with the scale letter, n (b0) to x (b4).
    """
    parts = NECKS[neck]
    if variant:
        depth, width = parts.scale[variant]
        p5 = MAX_CHANNELS.get(variant, 1024)
        size = f"depth_multiple: {depth} # repeats\nwidth_multiple: {width} # channels\n"
        backbone = f"EfficientNet-{variant.upper()}"
    else:
        p5 = 1024
        scales = {x: [*parts.scale[v], MAX_CHANNELS.get(v, 1024)] for x, v in BACKBONE_OF_SCALE.items()}
        size = "scales: # [depth, width, max_channels]\n" + "".join(f"  {x}: {s}\n" for x, s in scales.items())
        size += f"backbones: {{{', '.join(f'{x}: {v}' for x, v in BACKBONE_OF_SCALE.items())}}}\n"
        backbone = "an EfficientNet that grows with the scale letter, B0 (n) to B4 (x)"
    options = [f"levels: {list(range(3, parts.last_level + 1))}"] if parts.last_level > 5 else []
    options += ["fusion: sum"] if variant in UNWEIGHTED else []
    rows = parts.rows.format(p5=p5, options=f", {{{', '.join(options)}}}" if options else "")
    sizes = EFFICIENTDET_OF.get(variant)
    light = ", with separable convolutions" if parts.head == "LightDetect" else ""
    hint = f"# Weights:  a line `pretrained: <checkpoint>` starts backbone and neck from EfficientDet {sizes}\n"
    return f"""\
# Backbone: {backbone}
# Neck:     {parts.title.format(sizes=sizes)}
# Head:     YOLOv5's, anchor-free (the one of Ultralytics' yolov5*u models){light}, on P3 to P{parts.last_level}
{hint if parts.last_level > 5 else ""}# Needs the package effyolo_ultra. Licence: AGPL-3.0

nc: 80 # number of classes; the data set's own number replaces it
{size}
backbone: # [from, repeats, module, args]
  - [-1, 1, EfficientNetBackbone, [{variant or "backbones"}]] # 0

head:
{rows}
  - [{parts.outputs}, 1, {parts.head}, [nc]]
"""


def zoo() -> dict[str, str]:
    """Return every model YAML of the zoo, {file name: text}."""
    files = {"yolov5-effnet-bifpn.yaml": compose("wpan"), "yolov5-effdet.yaml": compose("bifpn")}
    for variant in EFFICIENTDET:
        files[f"yolov5-eff{variant}-bifpn.yaml"] = compose("wpan", variant)
        files[f"yolov5-eff{variant}-pan.yaml"] = compose("pan", variant)
    files["yolov5-effdet-p7.yaml"] = compose("bifpn-p7")
    for variant, neck in (("b5", "p7"), ("b6", "p7"), ("b7", "p8")):
        files[f"yolov5-eff{variant}-effdet-{neck}.yaml"] = compose(f"bifpn-{neck}", variant)
    return files
