"""Every bad input gives one clear error that names the file and the row, and leaves nothing behind."""

import pytest
from ultralytics import YOLO
from ultralytics.nn.modules import Conv
from ultralytics.nn.tasks import DetectionModel

from effyolo_ultra.errors import ModelYAMLError, UnknownNameError

HEAD = """
  - [[1, 2, 3], 1, Detect, [nc]]
"""
GOOD = """nc: 2
backbone:
  - [-1, 1, EfficientNetBackbone, [b0]]
  - [0, 1, PyramidLevel, [3]]
  - [0, 1, PyramidLevel, [4]]
  - [0, 1, PyramidLevel, [5]]
head:
"""

# (name, rows put before the head, parts of the message)
BAD_ROWS = [
    (
        "unknown module",
        "- [-1, 1, BiFPN_Conct, []]",
        ["row 4", "no module 'BiFPN_Conct'", "BiFPN_Concat", "EFFYOLO_ULTRA_MODULES"],
    ),
    ("unknown nn module", "- [-1, 1, nn.Upsmaple, []]", ["row 4", "nn.Upsmaple"]),
    ("too few inputs", "- [-1, 1, BiFPN_Concat, []]", ["row 4", "at least 2 layers", "not 1"]),
    ("too few inputs in a list", "- [[-1], 1, BiFPN_Add, []]", ["row 4", "at least 2 layers", "not 1"]),
    ("unequal channels", "- [[2, 3], 1, BiFPN_Add, []]", ["row 4", "same height and width", "stride 16", "stride 32"]),
    (
        "unequal channels, equal size",
        "- [3, 1, Conv, [64]]\n  - [[-1, 3], 1, BiFPN_Add, []]",
        ["row 5", "equal channels", "layer 4 has 64", "layer 3 has 320"],
    ),
    ("unequal size", "- [[1, 2], 1, BiFPN_Concat, []]", ["row 4", "same height and width", "layer 1 has stride 8"]),
    ("missing level", "- [0, 1, PyramidLevel, [7]]", ["row 4", "[3, 4, 5]", "7"]),
    ("level of no pyramid", "- [1, 1, PyramidLevel, [3]]", ["row 4", "layer 1 gives one tensor"]),
    ("level missing", "- [0, 1, PyramidLevel, []]", ["row 4", "[level]"]),
    ("stock row on a pyramid", "- [0, 1, Conv, [64]]", ["row 4", "pyramid (P3, P4, P5)", "PyramidLevel"]),
    ("stock list on a pyramid", "- [[0, 3], 1, Concat, [1]]", ["row 4", "layer 0 gives a pyramid", "PyramidLevel"]),
    ("fusion of a pyramid", "- [[0, 3], 1, BiFPN_Concat, []]", ["row 4", "layer 0 gives a pyramid"]),
    ("backbone on a pyramid", "- [0, 1, TimmBackbone, [resnet18]]", ["row 4", "layer 0 gives a pyramid"]),
    ("backbone not on the image", "- [3, 1, TimmBackbone, [resnet18]]", ["row 4", "must be the image", "stride 32"]),
    ("repeats", "- [0, 2, PyramidLevel, [3]]", ["row 4", "repeats must be 1", "not 2"]),
    ("repeats of a fusion", "- [[3, 3], 3, BiFPN_Add, []]", ["row 4", "repeats must be 1"]),
    ("repeats zero", "- [0, 0, BiFPN, [64]]", ["row 4", "repeats", "at least 1", "not 0"]),
    ("repeats a word", "- [0, two, BiFPN, [64]]", ["row 4", "repeats", "'two'"]),
    ("option without value", "- [0, 1, BiFPN, [64, {fusion: }]]", ["row 4", "'fusion' has no value", "'fast'"]),
    ("unknown option", "- [0, 1, BiFPN, [64, {fusoin: fast}]]", ["row 4", "no option 'fusoin'", "Did you mean fusion"]),
    ("option of wrong value", "- [0, 1, BiFPN, [64, {fusion: mean}]]", ["row 4", "fast, softmax, sum", "'mean'"]),
    ("option of wrong type", "- [0, 1, BiFPN, [64, {eps: small}]]", ["row 4", "eps must be a number", "'small'"]),
    ("negative eps", "- [[3, 3], 1, BiFPN_Add, [{eps: -1}]]", ["row 4", "eps must be at least 1e-12", "-1"]),
    ("channels a word", "- [0, 1, BiFPN, [wide]]", ["row 4", "channels must be a whole number", "'wide'"]),
    ("channels missing", "- [0, 1, BiFPN, []]", ["row 4", "channels are missing"]),
    ("channels negative", "- [0, 1, BiFPN, [-64]]", ["row 4", "channels must be at least 1", "-64"]),
    ("too many args", "- [0, 1, BiFPN, [64, 3, 5]]", ["row 4", "[channels, {options}]", "3 before"]),
    ("args no list", "- [0, 1, BiFPN, 64]", ["row 4", "args must be a list", "64"]),
    ("levels with a gap", "- [0, 1, BiFPN, [64, {levels: [3, 4, 5, 7]}]]", ["row 4", "no level in between"]),
    ("levels taken away", "- [0, 1, BiFPN, [64, {levels: [3, 4]}]]", ["row 4", "take levels away at the backbone"]),
    ("BiFPN order", "- [[3, 2, 1], 1, BiFPN, [64]]", ["row 4", "from fine to coarse"]),
    ("BiFPN twice a level", "- [[1, 1, 2], 1, BiFPN, [64]]", ["row 4", "two of the layers", "stride 8"]),
    (
        "channels on a concatenation",
        "- [[-1, 3], 1, BiFPN_Concat2, [256]]",
        ["row 4", "dimension, 1 (channels), not 256", "Write [[3, 3], 1, BiFPN_Concat2, [1]]"],
    ),
    ("channels in and out on a concatenation", "- [[3, 3], 1, Concat_BiFPN, [640, 256]]", ["row 4", "not 640, 256"]),
    ("too few inputs for the name", "- [[3, 3], 1, BiFPN_Concat3, []]", ["takes 3 layers", "has 2", "BiFPN_Concat,"]),
    ("too many inputs for the name", "- [[3, 3, 3], 1, BiFPN_Add2, []]", ["takes 2 layers", "has 3", "BiFPN_Add,"]),
    ("one input for the name", "- [3, 1, BiFPN_Add2, []]", ["row 4", "BiFPN_Add2 takes 2 layers", "has 1"]),
    (
        "other channels on a sum",
        "- [[3, 3], 1, BiFPN_Add2, [320, 256]]",
        ["row 4", "of 320 channels", "out_channels is 256", "1x1 Conv"],
    ),
    (
        "channels a word on a sum",
        "- [[3, 3], 1, BiFPN_Add, [wide]]",
        ["row 4", "in_channels must be a whole", "'wide'"],
    ),
    ("cells above 8", "- [0, 9, BiFPN, [64]]", ["row 4", "repeats (9 x depth 1) must be", "at most 8, not 9"]),
    ("unknown convolution", "- [0, 1, BiFPN, [64, {conv: ful}]]", ["row 4", "separable, full", "Did you mean full"]),
    ("no truth value", "- [0, 1, BiFPN, [64, {act_first: maybe}]]", ["row 4", "act_first must be true or false"]),
    ("cycle", "- [4, 1, Conv, [64]]", ["row 4", "earlier layer", "layer 4 comes here"]),
    ("forward reference", "- [[-1, 9], 1, BiFPN_Concat, []]", ["row 4", "names layer 9, but the file has layers 0 to"]),
    ("before the start", "- [[-1, -9], 1, BiFPN_Concat, []]", ["row 4", "-9 reaches before the first layer"]),
    ("from a word", "- [last, 1, Conv, [64]]", ["row 4", "'from' must be the number of a layer", "'last'"]),
    ("from an empty list", "- [[], 1, BiFPN_Concat, []]", ["row 4", "'from' must be the number of a layer", "[]"]),
    ("row too short", "- [-1, 1, Conv]", ["row 4", "[from, repeats, module, args]"]),
    ("row no list", "- Conv", ["row 4", "[from, repeats, module, args]"]),
    ("module no name", "- [-1, 1, 3, []]", ["row 4", "module must be a name"]),
    ("stock row without args", "- [-1, 1, Conv, []]", ["row 4", "Ultralytics cannot build this row", "IndexError"]),
    ("stock row of wrong type", "- [-1, 1, Conv, [wide]]", ["row 4", "Ultralytics cannot build this row"]),
    ("level a fraction", "- [0, 1, PyramidLevel, [3.0]]", ["row 4", "level must be a whole number", "3.0"]),
    ("dim true", "- [[3, 3], 1, BiFPN_Concat, [true]]", ["row 4", "dim must be a whole number"]),
    ("eps that vanishes", "- [[3, 3], 1, BiFPN_Add, [{eps: 1.0e-50}]]", ["row 4", "eps must be at least 1e-12"]),
    ("literal of no type", "- [0, 1, BiFPN, ['{[]}']]", ["row 4", "channels must be a whole number"]),
    (
        "list of a stock row",
        "- [3, 1, CBLinear, [[64, 32]]]\n  - [[-1, 3], 1, BiFPN_Concat, []]",
        ["row 5", "layer 4 gives no single feature map"],
    ),
    (
        "stock row after a change",
        "- [-1, 1, Conv, [8]]\n  - [-1, 1, nn.Conv2d, [9]]",
        ["row 5", "cannot build this row"],
    ),
    ("named value without the scale", "- [0, 1, BiFPN, [widths]]\nwidths: {s: 64}", ["row 4", "'widths' has no entry"]),
]


@pytest.mark.parametrize(("rows", "parts"), [case[1:] for case in BAD_ROWS], ids=[case[0] for case in BAD_ROWS])
def test_bad_row_is_named(model_yaml, rows, parts):
    rows, _, extra = rows.partition("\nwidths")
    file = model_yaml(GOOD + f"  {rows}" + HEAD + "activation: nn.ReLU()\n" + (f"widths{extra}\n" if extra else ""))
    default_act = Conv.default_act
    with pytest.raises(ModelYAMLError) as error:
        YOLO(file)
    for part in [file, *parts]:
        assert part in str(error.value)
    assert Conv.default_act is default_act
    assert YOLO(model_yaml(GOOD + HEAD, "good.yaml")).model.stride.tolist() == [8, 16, 32]


BAD_BACKBONES = [
    ("unknown variant", "EfficientNetBackbone, [b9]", ["an EfficientNet is one of b0", "'b9'"]),
    ("variant missing", "EfficientNetBackbone, []", ["the model is missing"]),
    ("unknown timm model", "TimmBackbone, [resnet19]", ["timm", "no model 'resnet19'", "resnet18"]),
    ("model no string", "TimmBackbone, [18]", ["named by a string", "18"]),
    (
        "level that the model lacks",
        "TimmBackbone, [vit_tiny_patch16_224]",
        ["no level P3 (stride 8), P5 (stride 32)", "the strides 16"],
    ),
    ("level 2 of ConvNeXt is there, 1 is not", "TimmBackbone, [convnext_atto, {levels: [1]}]", ["no level P1"]),
    ("levels no list", "EfficientNetBackbone, [b0, {levels: 3}]", ["levels must be a list", "not 3"]),
    ("levels out of order", "EfficientNetBackbone, [b0, {levels: [5, 3]}]", ["from fine to coarse", "[5, 3]"]),
    ("drop path", "EfficientNetBackbone, [b0, {drop_path_rate: 1.5}]", ["drop_path_rate", "below 1", "1.5"]),
    ("repeats", "EfficientNetBackbone, [b0]", ["repeats must be 1"]),
]


@pytest.mark.parametrize(("module", "parts"), [c[1:] for c in BAD_BACKBONES], ids=[c[0] for c in BAD_BACKBONES])
def test_bad_backbone_is_named(model_yaml, module, parts):
    repeats = 2 if "repeats must be 1" in parts else 1
    file = model_yaml(f"nc: 2\nbackbone:\n  - [-1, {repeats}, {module}]\nhead:\n  - [[0], 1, Detect, [nc]]\n")
    with pytest.raises(ModelYAMLError) as error:
        YOLO(file)
    for part in [file, "row 0", *parts]:
        assert part in str(error.value)


BAD_FILES = [
    ("empty", "", ["is empty", "'backbone'"]),
    ("only a comment", "# nothing\n", ["is empty"]),
    ("not YAML", "backbone: [1, {", ["is no YAML mapping", "line 2"]),
    ("a list", "- [-1, 1, Conv, [64]]\n", ["is no YAML mapping", "'backbone' and 'head'"]),
    ("a text", "hello\n", ["is no YAML mapping", "'backbone' and 'head'"]),
    ("no head", "nc: 2\nbackbone:\n  - [-1, 1, EfficientNetBackbone, [b0]]\n", ["has a 'head'", "missing"]),
    ("backbone a number", "backbone: 5\nhead: []\n", ["has a 'backbone'", "not 5"]),
    ("backbone no list", "backbone: b0\nhead: []\n", ["has a 'backbone'", "not 'b0'"]),
    ("scales of wrong form", GOOD + HEAD + "scales: {n: 1}\n", ["scale 'n'", "[depth, width, max_channels]"]),
    ("scales a list", GOOD + HEAD + "scales: [n, s]\n", ["'scales' must be a mapping", "['n', 's']"]),
    ("scales a number", GOOD + HEAD + "scales: 5\n", ["'scales' must be a mapping", "not 5"]),
    ("infinite width", GOOD + HEAD + "width_multiple: .inf\n", ["width", "inf"]),
    ("width a word", GOOD + HEAD + "width_multiple: wide\n", ["numbers above 0", "'wide'"]),
    (
        "unknown activation",
        GOOD + "  - [0, 1, BiFPN, [8]]" + HEAD + "activation: nn.Foo()\n",
        ["activation 'nn.Foo()'"],
    ),
    ("first row too short", "backbone: [[-1, 1]]\nhead: []\n", ["row 0", "[from, repeats, module, args]"]),
    ("first row a number", "backbone: [5]\nhead: []\n", ["row 0: 5", "[from, repeats, module, args]"]),
    ("misspelt head", GOOD + "  - [[1, 2, 3], 1, Detct, [nc]]\n", ["row 4", "no module 'Detct'", "Detect"]),
    ("no head at the end", GOOD + "  - [0, 1, BiFPN, [8]]\n", ["row 4", "the last row must be a head"]),
]


@pytest.mark.parametrize(("text", "parts"), [case[1:] for case in BAD_FILES], ids=[case[0] for case in BAD_FILES])
def test_bad_file_is_named(model_yaml, text, parts):
    file = model_yaml(text)
    with pytest.raises(ModelYAMLError) as error:
        YOLO(file)
    for part in [file, *parts]:
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("yolov5-effb3-bfpn.yaml", ["yolov5-effb3-bfpn.yaml", "Did you mean", "yolov5-effb3-bifpn.yaml"]),
        ("yolov5n-effdett.yaml", ["'yolov5n-effdett.yaml'", "Did you mean yolov5n-effdet.yaml"]),
        ("yolov8-sge.yaml", ["'yolov8-sge.yaml'", "Did you mean yolov8-seg.yaml"]),
        ("yolov8z-mine.yaml", ["'yolov8z-mine.yaml'", "Did you mean yolov8-mine.yaml"]),
        ("yolov5s-effb3-bifpn.yaml", ["one size only", "'yolov5-effb3-bifpn.yaml'"]),
        ("yolov5x-effb0-pan.yaml", ["one size only", "'yolov5-effb0-pan.yaml'"]),
    ],
)
def test_unknown_model_name_says_which_is_meant(name, parts, tmp_path, monkeypatch):
    (tmp_path / "yolov8-mine.yaml").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnknownNameError) as error:
        YOLO(name)
    for part in parts:
        assert part in str(error.value)


def test_unknown_name_far_from_ours_is_ultralytics_own_error(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError) as error:
        YOLO("nothing-like-it.yaml")
    assert type(error.value) is FileNotFoundError


def test_dictionary_without_file_is_named():
    with pytest.raises(ModelYAMLError, match=r"model dictionary, row 0: .*EfficientNetBackbone"):
        DetectionModel({"nc": 1, "backbone": [[-1, 1, "EfficientNetBackbone", ["b99"]]], "head": []}, verbose=False)
