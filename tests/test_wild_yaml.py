"""Model YAMLs in the form in which people publish them for the YOLOv5 repository and for Ultralytics."""

import pytest
import torch
from ultralytics import YOLO
from ultralytics.nn import tasks
from ultralytics.nn.tasks import DetectionModel

from effyolo_ultra.errors import ModelYAMLError
from effyolo_ultra.nn import BiFPN_Add, BiFPN_Concat
from effyolo_ultra.registry import ALIASES

BACKBONE = """
# Parameters
nc: 4  # number of classes
depth_multiple: 0.33
width_multiple: 0.50
anchors:
  - [10,13, 16,30, 33,23]  # P3/8
  - [30,61, 62,45, 59,119]  # P4/16
  - [116,90, 156,198, 373,326]  # P5/32

backbone:
  # [from, number, module, args]
  [[-1, 1, Conv, [64, 6, 2, 2]],  # 0
   [-1, 1, Conv, [128, 3, 2]],
   [-1, 3, C3, [128]],
   [-1, 1, Conv, [256, 3, 2]],
   [-1, 6, C3, [256]],  # 4, P3
   [-1, 1, Conv, [512, 3, 2]],
   [-1, 9, C3, [512]],  # 6, P4
   [-1, 1, Conv, [1024, 3, 2]],
   [-1, 3, C3, [1024]],
   [-1, 1, SPPF, [1024, 5]],  # 9, P5
  ]
"""
SUM = (
    BACKBONE
    + """
head:
  [[-1, 1, Conv, [512, 1, 1]],
   [-1, 1, nn.Upsample, [None, 2, 'nearest']],
   [[-1, 6], 1, BiFPN_Add2, [256, 256]],
   [-1, 3, C3, [512, False]],  # 13

   [-1, 1, Conv, [256, 1, 1]],
   [-1, 1, nn.Upsample, [None, 2, 'nearest']],
   [[-1, 4], 1, BiFPN_Add2, [256, 128]],
   [-1, 3, C3, [256, False]],  # 17

   [-1, 1, Conv, [512, 3, 2]],
   [[-1, 13, 6], 1, BiFPN_Add3, [512, 512]],
   [-1, 3, C3, [512, False]],  # 20

   [-1, 1, Conv, [512, 3, 2]],
   [[-1, 10], 1, BiFPN_Add2, []],
   [-1, 3, C3, [1024, False]],  # 23

   [[17, 20, 23], 1, Detect, [nc, anchors]],
  ]
"""
)
CONCATENATION = (
    BACKBONE.replace("Conv, [64, 6, 2, 2]", "Focus, [64, 3]")
    + """
head:
  [[-1, 1, Conv, [512, 1, 1]],
   [-1, 1, nn.Upsample, [None, 2, 'nearest']],
   [[-1, 6], 1, BiFPN_Concat2, [1]],
   [-1, 3, C3, [512, False]],  # 13

   [-1, 1, Conv, [256, 1, 1]],
   [-1, 1, nn.Upsample, [None, 2, 'nearest']],
   [[-1, 4], 1, Concat_BiFPN, [1]],
   [-1, 3, C3, [256, False]],  # 17

   [-1, 1, Conv, [256, 3, 2]],
   [[-1, 14, 6], 1, BiFPN_Concat3, [1]],
   [-1, 3, C3, [512, False]],  # 20

   [-1, 1, Conv, [512, 3, 2]],
   [[-1, 10], 1, BiFPN_Concat2, [1]],
   [-1, 3, C3, [1024, False]],  # 23

   [[17, 20, 23], 1, Detect, [nc, anchors]],
  ]
"""
)
# The later form: scales, rows as a list with dashes, four levels.
FOUR_LEVELS = """
nc: 4
anchors: 3
scales:
  n: [0.33, 0.25, 1024]
  s: [0.33, 0.50, 1024]
backbone:
  - [-1, 1, Conv, [64, 3, 2]]
  - [-1, 1, Conv, [128, 3, 2]]
  - [-1, 3, C2f, [128, True]]  # 2, P2
  - [-1, 1, Conv, [256, 3, 2]]
  - [-1, 6, C2f, [256, True]]  # 4, P3
  - [-1, 1, Conv, [512, 3, 2]]
  - [-1, 6, C2f, [512, True]]  # 6, P4
  - [-1, 1, Conv, [1024, 3, 2]]
  - [-1, 3, C2f, [1024, True]]
  - [-1, 1, SPPF, [1024, 5]]  # 9, P5
head:
  - [-1, 1, nn.Upsample, [None, 2, "nearest"]]
  - [[-1, 6], 1, Concat_BiFPN, []]
  - [-1, 3, C2f, [512]]  # 12
  - [-1, 1, nn.Upsample, [None, 2, "nearest"]]
  - [[-1, 4], 1, BiFPN_Concat2, [1, {fusion: softmax}]]
  - [-1, 3, C2f, [256]]  # 15
  - [-1, 1, nn.Upsample, [None, 2, "nearest"]]
  - [[-1, 2], 1, BiFPN_Concat2, []]
  - [-1, 3, C2f, [128]]  # 18
  - [-1, 1, Conv, [256, 3, 2]]
  - [[-1, 15, 4], 1, Concat_BiFPN, [1]]
  - [-1, 3, C2f, [256]]  # 21
  - [-1, 1, Conv, [512, 3, 2]]
  - [[-1, 12, 6], 1, BiFPN_Concat3, [1]]
  - [-1, 3, C2f, [512]]  # 24
  - [-1, 1, Conv, [512, 3, 2]]
  - [[-1, 9], 1, BiFPN_Concat2, [1]]
  - [-1, 3, C2f, [1024]]  # 27
  - [[18, 21, 24, 27], 1, Detect, [nc]]
"""
# name -> text, strides, the number of inputs of each fusion
FILES = {
    "yolov5s_bifpn_add.yaml": (SUM, [8, 16, 32], [2, 2, 3, 2]),
    "yolov5s-BiFPN.yaml": (CONCATENATION, [8, 16, 32], [2, 2, 3, 2]),
    "yolov8n-bifpn-p2.yaml": (FOUR_LEVELS, [4, 8, 16, 32], [2, 2, 2, 3, 3, 2]),
}


@pytest.mark.parametrize("name", FILES)
def test_file_builds_and_learns(name, model_yaml):
    text, strides, inputs = FILES[name]
    net = DetectionModel(model_yaml(text, name), verbose=False)
    fusions = [m for m in net.model if isinstance(m, (BiFPN_Add, BiFPN_Concat))]
    assert net.stride.tolist() == strides and [len(m.weights.weight) for m in fusions] == inputs
    out = net.eval()(torch.rand(2, 3, 64, 96))[0]
    assert out.shape == (2, 4 + 4, sum((64 // s) * (96 // s) for s in strides))
    out.square().mean().backward()
    assert all(m.weights.weight.grad.abs().sum() > 0 for m in fusions)


@pytest.mark.parametrize("name", FILES)
def test_anchors_are_named_once(name, model_yaml, lines):
    file = model_yaml(FILES[name][0], name)
    YOLO(file, verbose=True)
    notices = [line for line in lines if "'anchors'" in line]
    assert len(notices) == 1 and file in notices[0] and "not used" in notices[0]


def test_checkpoint_of_such_a_file(model_yaml, tmp_path, monkeypatch):
    model = YOLO(model_yaml(SUM, "yolov5s_bifpn.yaml"))
    model.save(tmp_path / "wild.pt")
    monkeypatch.setenv("ULTRALYTICS_SAFE_LOAD", "1")
    loaded = YOLO(tmp_path / "wild.pt").model.float()
    assert type(loaded.model[12]).__qualname__ == "BiFPN_Add" and loaded.model[12].type.endswith(".BiFPN_Add")
    assert loaded.yaml["anchors"] == model.model.yaml["anchors"]
    again = DetectionModel(loaded.yaml, verbose=False)  # what the trainer does with a checkpoint
    again.load_state_dict(loaded.state_dict())


def test_files_of_yolov5_without_our_modules_stay_what_they_are_to_ultralytics(model_yaml, lines):
    text = BACKBONE + "\nhead:\n  [[[4, 6, 9], 1, Detect, [{}]]]\n"
    with pytest.raises(TypeError) as error:
        YOLO(model_yaml(text.format("nc, anchors")))
    assert not isinstance(error.value, ModelYAMLError)
    assert YOLO(model_yaml(text.format("nc"))).model.stride.tolist() == [8, 16, 32]
    assert not any("anchors" in line for line in lines)


def test_other_head_of_yolov5(model_yaml):
    text = SUM.replace("Detect, [nc, anchors]", "Segment, [nc, anchors, 32, 256]")
    head = YOLO(model_yaml(text, "yolov5s-bifpn-seg.yaml")).model.model[-1]
    assert (type(head), head.nc, head.nm) == (tasks.Segment, 4, 32)


def test_head_without_anchors_at_the_top_is_an_error(model_yaml):
    text = SUM.replace("anchors:\n", "priors:\n")
    with pytest.raises(ModelYAMLError, match=r"row 24: .*anchors"):
        YOLO(model_yaml(text, "yolov5s-bifpn.yaml"))


def test_channels_of_a_sum_that_fit_neither_as_written_nor_scaled(model_yaml):
    with pytest.raises(ModelYAMLError, match=r"row 12: .*\n.*of 256 channels .* in_channels is 128"):
        YOLO(model_yaml(SUM.replace("[256, 256]", "[128, 128]"), "yolov5s-bifpn.yaml"))


def test_other_names_are_in_the_table_by_their_class(model_yaml, lines):
    YOLO(model_yaml(CONCATENATION, "yolov5s-bifpn.yaml"), verbose=True)
    rows = {line[:3].strip(): line for line in lines if line[:3].strip().isdigit()}
    assert "effyolo_ultra.nn.fusion.BiFPN_Concat " in rows["19"] and "[-1, 14, 6]" in rows["19"] and "[1]" in rows["19"]


@pytest.mark.parametrize("name", ALIASES)
def test_other_name_gives_the_same_module(name):
    cls, inputs = ALIASES[name]
    d = {
        "nc": 1,
        "backbone": [[-1, 1, "Conv", [8, 3, 2]]],
        "head": [[[-1] * (inputs or 4), 1, name, [{"fusion": "softmax"}]], [[1], 1, "Detect", ["nc"]]],
    }
    module = DetectionModel(d, verbose=False).model[1]
    assert type(module) is cls and module.weights.inputs == (inputs or 4) and module.weights.fusion == "softmax"
