"""Networks that are built, refused and used again and again leave nothing behind."""

import pytest

from benchmarks.leaks import build, course, predictor
from effyolo_ultra.errors import ModelYAMLError


def test_builds_and_predictions(model_yaml):
    from ultralytics import YOLO

    wrong = model_yaml("nc: 1\nbackbone: [[-1, 1, EfficientNetBackbone, [b0]]]\nhead: [[[0], 1, Detect, [nc]]]\n")
    left = []

    def build_two():
        left.append(build())
        with pytest.raises(ModelYAMLError):
            YOLO(wrong)

    for function in (build_two, predictor()):
        first, *_, last = course(function, 12, warm_up=2)
        assert last[1:] == first[1:]  # modules and tensors
    assert len(left) == 14 and not any(reference() for reference in left)
