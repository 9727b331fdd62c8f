"""All errors of a file at once, each with its line, in the words of a training."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import yaml
from torch import nn
from ultralytics import YOLO
from ultralytics.nn import tasks
from ultralytics.nn.modules import Conv
from ultralytics.utils import LOGGER

import effyolo_ultra
from effyolo_ultra._limits import MAX_BYTES
from effyolo_ultra.checking.passes import FailedPass, build_network, silence, trace
from effyolo_ultra.errors import ModelYAMLError, UnknownNameError

OURS = """nc: 2
backbone:
  - [-1, 1, TimmBackbone, [test_efficientnet]]
  - [0, 1, PyramidLevel, [3]]
  - [0, 1, PyramidLevel, [4]]
  - [0, 1, PyramidLevel, [5]]
head:
"""
HEAD = "  - [[1, 2, 3], 1, Detect, [nc]]\n"
STOCK = """nc: 2
backbone:
  - [-1, 1, Conv, [8, 3, 2]]
  - [-1, 1, Conv, [16, 3, 2]]
  - [-1, 1, Conv, [16, 3, 2]]
head:
"""
STOCK_HEAD = "  - [[-1], 1, Detect, [nc]]\n"

# (name, text, [(line, fragment of the message)]); the message is also what YOLO(file) raises.
BROKEN = [
    ("empty", "", [(None, "is empty")]),
    ("no head", STOCK.replace("head:\n", ""), [(None, "has a 'head'")]),
    ("no backbone", (OURS + HEAD).replace("backbone:", "bakbone:"), [(None, "has a 'backbone'")]),
    ("backbone no list", "nc: 1\nbackbone: 5\nhead: []\n", [(2, "has a 'backbone'")]),
    ("unknown module", OURS + "  - [-1, 1, BiFPN_Conct, []]\n" + HEAD, [(8, "Did you mean BiFPN_Concat")]),
    ("unknown nn module", STOCK + "  - [-1, 1, nn.Upsmaple, []]\n" + STOCK_HEAD, [(7, "no module 'nn.Upsmaple'")]),
    ("module no name", OURS + "  - [-1, 1, [Conv], []]\n" + HEAD, [(8, "the module must be a name")]),
    ("row too short", OURS + "  - [-1, 1]\n" + HEAD, [(8, "a row is a list")]),
    ("forward reference", OURS + "  - [[-1, 5], 1, BiFPN_Concat, []]\n" + HEAD, [(8, "layer 5 comes later")]),
    ("no such layer", OURS + "  - [[-1, 9], 1, BiFPN_Concat, []]\n" + HEAD, [(8, "layers 0 to 5 only")]),
    ("args of a head", OURS + HEAD.replace("Detect", "Segment"), [(8, "such as [nc, 32, 256], but the row has 1")]),
    ("too many of them", OURS + HEAD.replace("nc]", "nc, 1]"), [(8, "takes the args [nc], but the row has 2")]),
    (
        "from of a head",
        OURS + HEAD.replace("[1, 2, 3]", "3"),
        [(8, "must be a list of layers for Detect, such as [3]")],
    ),
    ("keypoints", OURS + HEAD.replace("Detect, [nc", "Pose, [nc, kpt_shape"), [(8, "needs a 'kpt_shape' at the top")]),
    ("no nc", OURS.replace("nc: 2", "") + HEAD, [(None, "'nc', the number of classes, is missing")]),
    ("nc", OURS.replace("nc: 2", "nc: two") + HEAD, [(1, "must be a whole number, at least 1, not 'two'")]),
    ("repeats", OURS + "  - [-1, 0, Conv, [8]]\n" + HEAD, [(8, "at least 1, not 0")]),
    ("args", OURS + "  - [0, 1, BiFPN, 64]\n" + HEAD, [(8, "args must be a list")]),
    ("option", OURS + "  - [0, 1, BiFPN, [64, {fusoin: fast}]]\n" + HEAD, [(8, "Did you mean fusion")]),
    ("sizes", OURS + "  - [[1, 2], 1, BiFPN_Concat, []]\n" + HEAD, [(8, "same height and width")]),
    ("pyramid", OURS + "  - [0, 1, Conv, [8]]\n" + HEAD, [(8, "put a row [0, 1, PyramidLevel, [3]]")]),
    ("stock row", OURS + "  - [-1, 1, Conv, []]\n" + HEAD, [(8, "IndexError: list index out of range")]),
    ("stock row alone", STOCK + "  - [-1, 1, Conv, [8, 3, two]]\n" + STOCK_HEAD, [(7, "conv2d() received an invalid")]),
    (
        "stock sizes",
        STOCK + "  - [[1, 2], 1, Concat, [1]]\n" + STOCK_HEAD,
        [(7, "Sizes of tensors must match except in dimension 1. Expected size 64 but got size 32")],
    ),
    ("no head at the end", OURS + "  - [0, 1, BiFPN, [8]]\n", [(8, "the last row must be a head")]),
    ("scales", OURS + HEAD + "scales: {n: 1}\n", [(9, "scale 'n' must be [depth, width, max_channels]")]),
    ("width", OURS + HEAD + "width_multiple: wide\n", [(9, "numbers above 0")]),
    ("named value", OURS + "  - [0, 1, BiFPN, [w]]\n" + HEAD + "w: {s: 64}\n", [(8, "'w' has no entry")]),
    (
        "row of several lines",
        OURS + "  - [-1, 1, Conv, [8]]\n  -\n    - 0\n    - 1\n    - BiFPN\n    - []\n" + HEAD,
        [(10, "the channels are missing")],
    ),
    (
        "flow style and anchors",
        "nc: 2\nb: &b [[-1, 1, Conv, [8]],\n  [-1, 1, Cnov, [8]]]\nbackbone: *b\nhead: [[[-1], 1, Detect, [nc]]]\n",
        [(3, "no module 'Cnov'")],
    ),
]


@pytest.mark.parametrize(("text", "expected"), [c[1:] for c in BROKEN], ids=[c[0] for c in BROKEN])
def test_error_has_its_line_and_the_words_of_a_training(model_yaml, text, expected):
    file = model_yaml(text)
    default_act, random_state = Conv.default_act, torch.get_rng_state()
    errors = [f for f in effyolo_ultra.check(file) if f.severity == "error"]
    assert torch.equal(torch.get_rng_state(), random_state)
    assert len(errors) == len(expected)
    for found, (line, fragment) in zip(errors, expected):
        assert found.line == line and fragment in found.message
    with pytest.raises(Exception) as raised:  # of the stock parser in a file without our modules
        YOLO(file)
    if isinstance(raised.value, ModelYAMLError):
        assert (errors[0].message, errors[0].row) == (raised.value.problem, raised.value.row)
    else:
        assert str(raised.value).strip() in errors[0].message
    assert Conv.default_act is default_act


def test_syntax_error_has_the_words_of_a_training(model_yaml):
    file = model_yaml("nc: 1\nbackbone:\n\t- [-1, 1, Conv, [8]]\nhead: []\n")
    (found,) = effyolo_ultra.check(file)
    with pytest.raises(ModelYAMLError) as raised:
        YOLO(file)
    assert found.severity == "error" and found.line == 3 and "There is a tab" in found.message
    for said in ("is no YAML mapping with 'backbone' and 'head'", "that cannot start any token"):
        assert said in found.message and said in str(raised.value)


FIVE = """nc: 2
backbone:
  - [-1, 1, EfficientNetBackbone, [b0, {drop_path: 0.1}]]
  - [0, 1, PyramidLevel, [3]]
  - [0, 1, PyramidLevel, [4]]
  - [0, 1, PyramidLevel, [5]]
head:
  - [-1, 1, Cnov, [64]]
  - [[-1, 3], 1, BiFPN_Concat, [1, {fusoin: fast}]]
  - [3, 0, Conv, [64]]
  - [[-1, 1], 1, BiFPN_Add, []] # of a row that is not known: nothing to say
  - [-1, 1, Conv, []]
  - [[1, 2, 12], 1, Detect, [nc]]
activation: open("{file}", "w")
"""


def test_independent_errors_come_at_once_and_their_consequences_do_not(model_yaml, tmp_path):
    trap = tmp_path / "trap"
    findings = effyolo_ultra.check(model_yaml(FIVE.replace("{file}", str(trap))))
    assert [(f.line, f.row) for f in findings] == [(3, 0), (8, 4), (9, 5), (10, 6), (12, 8), (13, 9), (14, None)]
    for finding, fragment in zip(
        findings,
        (
            "Did you mean drop_path_rate",
            "Did you mean Conv",
            "Did you mean fusion",
            "repeats",
            "IndexError",
            "the file has layers 0 to 9 only",
            "no activation of torch.nn",
        ),
    ):
        assert finding.severity == "error" and fragment in finding.message
    assert not trap.exists()


@pytest.mark.parametrize(
    "activation",
    [
        "open('trap', 'w')",
        "nn.ReLU(open('trap', 'w'))",
        "(nn.ReLU() if open('trap', 'w') else 0)",
        "nn.Conv2d(8, 8, 1)",
        "nn.ReLU",
        "nn.GLU(1)",
        "nn.Relu()",
        "torch.nn.functional.relu(1)",
        "nn.init.zeros_(1)",
        "nn.ReLU(nothing=1)",
        "SiLU",
    ],
)
def test_activation_is_read_and_never_run(model_yaml, tmp_path, monkeypatch, activation):
    monkeypatch.chdir(tmp_path)
    text = STOCK + STOCK_HEAD + f'activation: "{activation}"\n'
    (found,) = effyolo_ultra.check(model_yaml(text))
    assert (found.severity, found.line) == ("error", 8) and "activation" in found.message
    assert not (tmp_path / "trap").exists()


@pytest.mark.parametrize("activation", ["nn.ReLU()", "torch.nn.LeakyReLU(0.1)", "nn.ReLU(inplace=True)", "nn.PReLU()"])
def test_activation_of_torch_is_fine_and_in_all_that_is_run(model_yaml, activation):
    levels = "".join(f"  - [3, 1, PyramidLevel, [{level}]]\n" for level in (1, 2, 3))
    head = f"  - [[0, 1, 2], 1, BiFPN, [8]]\n{levels}  - [[4, 5, 6], 1, Detect, [nc]]\nactivation: {activation}\n"
    ran = set()
    hook = nn.modules.module.register_module_forward_hook(lambda module, *_: ran.add(type(module).__name__))
    assert effyolo_ultra.check(model_yaml(STOCK + head)) == []
    hook.remove()
    assert ran & {"ReLU", "LeakyReLU", "PReLU", "SiLU"} == {activation.split("(")[0].rpartition(".")[2]}


def test_function_of_ultralytics_is_no_layer(model_yaml, tmp_path):
    text = STOCK + f"  - [-1, 1, torch_safe_load, ['{tmp_path}/x.pt']]\n" + STOCK_HEAD
    (found,) = effyolo_ultra.check(model_yaml(text))
    assert found.line == 7 and "'torch_safe_load' is no layer" in found.message


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefghi", "bcdefghij")
)
TOO_LARGE = [
    ("bytes", "# " + "x" * MAX_BYTES, None, "is not read"),
    ("aliases", BOMB + STOCK + STOCK_HEAD, 5, "aliases expanded"),
    ("alias in itself", "a: &a [*a]\n" + STOCK + STOCK_HEAD, 1, "inside what it names"),
    ("depth", "a: " + "[" * 900 + "]" * 900 + "\n" + STOCK + STOCK_HEAD, 1, "nested more than 50 deep"),
    ("more depth", "a: " + "[" * 100_000, None, "nest"),
    ("rows", STOCK + "  - [-1, 1, Conv, [8]]\n" * 1000 + STOCK_HEAD, 2, "more than 1000 are not built"),
    ("scales", STOCK + STOCK_HEAD + f"scales: { {i: [1, 1, 64] for i in range(21)} }\n", 8, "there are 21 scales"),
    ("repeats", STOCK + "  - [-1, 1001, C3, [8]]\n" + STOCK_HEAD, 7, "repeats must be at most 1000, not 1001"),
    (
        "repeats after scaling",
        STOCK + "  - [-1, 11, C3, [8]]\n" + STOCK_HEAD + "depth_multiple: 100\n",
        7,
        "not 11, 1100 after scaling",
    ),
    ("all repeats", STOCK + "  - [-1, 400, C3, [8]]\n" * 3 + STOCK_HEAD, 3, "the rows stand for 1204 layers"),
    ("channels", STOCK + "  - [-1, 1, Conv, [65537]]\n" + STOCK_HEAD, 7, "at most 65536"),
    ("classes", (STOCK + STOCK_HEAD).replace("nc: 2", "nc: 100000"), 1, "'nc' must be at most 65536"),
    ("maps", STOCK + "  - [-1, 1, nn.Upsample, [None, 500]]\n" + STOCK_HEAD, None, "too many to run it here"),
    ("parameters", STOCK + "  - [-1, 1, Conv, [60000, 3]]\n" + STOCK_HEAD, None, "billion parameters and is not built"),
]


@pytest.mark.parametrize(("text", "line", "fragment"), [c[1:] for c in TOO_LARGE], ids=[c[0] for c in TOO_LARGE])
def test_too_large_is_said_before_anything_is_built(model_yaml, text, line, fragment):
    file = model_yaml(text)
    began = time.process_time()
    (found,) = effyolo_ultra.check(file)
    assert time.process_time() - began < 1
    assert fragment in found.message and line in (None, found.line)


WARNINGS = [
    ("key", STOCK + STOCK_HEAD + "depth_mutiple: 0.5\n", 8, None, "Did you mean depth_multiple"),
    ("scale", STOCK + STOCK_HEAD + "scale: n\n", 8, None, "Did you mean scales"),
    ("neck", STOCK + STOCK_HEAD + "neck: []\n", 8, None, "Rows of a neck stand in 'head'"),
    ("twice", STOCK + STOCK_HEAD + "nc: 3\n", 8, None, "first in line 1"),
    ("coarse to fine", OURS + HEAD.replace("1, 2, 3", "3, 2, 1"), 8, 4, "the strides 32, 16, 8"),
    (
        "row not used",
        STOCK + "  - [1, 1, Conv, [8]]\n  - [2, 1, Conv, [8]]\n" + STOCK_HEAD,
        7,
        3,
        "it is not used: no row takes its output",
    ),
    (
        "levels not used",
        OURS + "  - [0, 1, BiFPN, [8]]\n  - [-1, 1, PyramidLevel, [3]]\n  - [[-1], 1, Detect, [nc]]\n",
        8,
        4,
        "get no gradient",
    ),
]


@pytest.mark.parametrize(("text", "line", "row", "fragment"), [c[1:] for c in WARNINGS], ids=[c[0] for c in WARNINGS])
def test_warning(model_yaml, text, line, row, fragment):
    findings = effyolo_ultra.check(model_yaml(text))
    assert {f.severity for f in findings} == {"warning"}
    assert any((f.line, f.row) == (line, row) and fragment in f.message for f in findings)


def test_error_of_one_scale_names_it_and_a_letter_in_the_name_checks_that_scale_only(model_yaml, tmp_path):
    text = OURS + "  - [0, 5, BiFPN, [64]]\n" + HEAD + "scales: {n: [1, 1, 64], s: [2, 1, 64]}\n"
    (found,) = (f for f in effyolo_ultra.check(model_yaml(text, "yolov5-mine.yaml")) if f.severity == "error")
    assert found.line == 8 and found.message.endswith("at most 8, not 10 (scale s)")
    errors = [
        [f for f in effyolo_ultra.check(tmp_path / f"yolov5{s}-mine.yaml") if f.severity == "error"] for s in "ns"
    ]
    assert errors[0] == [] and "at most 8" in errors[1][0].message
    (found,) = effyolo_ultra.check(tmp_path / "yolov5x-mine.yaml")[:1]
    assert "has no scale 'x'" in found.message and found.line == 10


@pytest.mark.parametrize(
    ("text", "line", "row"),
    [(OURS.replace("net]", "net, {pretrained: ./none.pth}]"), 3, 0), ("pretrained: ./none.pth\n" + OURS, 1, None)],
)
def test_file_of_weights_is_looked_for(model_yaml, text, line, row):
    (found,) = effyolo_ultra.check(model_yaml(text + HEAD))
    assert found[:3] == ("error", line, row) and "there is no file './none.pth'" in found.message


def test_all_wrong_options_of_a_row_and_its_weights_come_at_once(model_yaml):
    text = OURS.replace("net]", "net, {drop_path_rate: 7, pretrained: ./none.pth, sync_bm: true, lr_mult: -1}]")
    text += "  - [0, 1, BiFPN, [63, {levels: [3, 4], fusion: fats, eps: 0.1, conv: sep}]]\n"
    findings = effyolo_ultra.check(model_yaml(text + HEAD.replace("Detect", "Segment")))
    expected = [
        (3, "there is no file './none.pth'"),
        (3, "Did you mean sync_bn"),
        (3, "drop_path_rate must be at least 0 and below 1, not 7"),
        (3, "lr_mult must be above 0 and below 1000, not -1"),
        (8, "fusion must be one of fast, softmax, sum, not 'fats'"),
        (8, "conv must be one of separable, full, not 'sep'"),
        (8, "its 63 channels become 64"),
        (9, "takes the args [nc, nm, npr]"),
    ]
    assert [f.line for f in findings] == [line for line, _ in expected]
    assert all(fragment in f.message for f, (_, fragment) in zip(findings, expected))


def test_size_of_images(model_yaml):
    file = model_yaml(OURS + HEAD)
    assert [f.message for f in effyolo_ultra.check(file, imgsz=650)] == [
        "imgsz 650 is no multiple of 32: the trainer rounds it to 672."
    ]
    assert "two cells of the coarsest stride, 32" in effyolo_ultra.check(file, imgsz=32)[0].message
    with pytest.raises(ValueError, match="imgsz must be a whole number"):
        effyolo_ultra.check(file, imgsz=0)


class Counts(nn.Module):
    """Gives no tensor outside of training."""

    def forward(self, x):
        return x if self.training else x.sum().item()


def test_layer_that_cannot_be_traced_is_named(model_yaml):
    network = build_network(tasks, tasks.yaml_model_load(model_yaml(STOCK + STOCK_HEAD)), 3, None)
    trace(network, 3)
    network.model[1].act = Counts()
    with pytest.raises(FailedPass) as failed:
        trace(network, 3)
    assert failed.value.row == 2  # which takes what row 1 gives


@pytest.mark.parametrize(
    "name",
    [
        "yolov5n-effdet-p7.yaml",
        "yolov8n.yaml",
        "yolo26n-pose.yaml",
        "yolo11-cls-resnet18.yaml",
    ],
)
def test_files_in_order(name):
    assert effyolo_ultra.check(name) == []


def test_missing_file_is_named():
    with pytest.raises(UnknownNameError, match=r"Did you mean yolov5n-effdet\.yaml"):
        effyolo_ultra.check("yolov5n-effdett.yaml")
    for name, message in (
        ("https://example.com/yolov8n.yaml", "is no model YAML"),
        ("model.pt", "`effyolo info model.pt`"),
        ("nofile.yaml", r"nor in the zoo\.$"),  # no names that have the suffix alone in common
    ):
        with pytest.raises(UnknownNameError, match=message):
            effyolo_ultra.check(name)


def test_what_is_checked_is_what_yaml_says(model_yaml):
    d = yaml.safe_load(OURS + HEAD)
    assert effyolo_ultra.check(model_yaml(json.dumps(d))) == []  # JSON is YAML


def test_only_the_thread_of_a_check_is_silent(lines):
    with silence():
        LOGGER.info("of a network for a check")
        with ThreadPoolExecutor(1) as pool:
            pool.submit(LOGGER.info, "of a training")
    LOGGER.info("afterwards")
    assert lines == ["of a training", "afterwards"]
