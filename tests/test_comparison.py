"""How two networks differ, on files that differ in known ways."""

import pytest

from effyolo_ultra import compare
from effyolo_ultra.comparison import key_changes

ROWS = """
nc: 3
backbone:
  - [-1, 1, Conv, [8, 3, 4]]
  - [-1, 1, Conv, [16, 3, 2]] # 1, stride 8
  - [-1, 1, Conv, [16, 3, 2]] # 2, stride 16
head:
  - [-1, 1, nn.Upsample, [None, 2, nearest]]
  - [[-1, 1], 1, Concat, [1]]
  - [-1, 1, C3, [16, False]] # 5
  - [[5, 2], 1, Detect, [nc]]
"""
INSERTED = ROWS.replace("# 1, stride 8", "\n  - [-1, 1, C3, [16]]").replace("[[5, 2]", "[[6, 3]")


@pytest.fixture
def differences(model_yaml):
    def run(text):
        return compare(model_yaml(ROWS, "a.yaml"), model_yaml(text, "b.yaml"), 50)

    return run


def numbers(found):
    return [(change.part, change.first, change.second) for change in found.rows]


def test_same(differences):
    found = differences(ROWS)
    assert found.same and found.rows == found.keys == ()
    assert found.first.imgsz == found.second.imgsz == 64  # as the trainer rounds it


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        (ROWS.replace("C3, [16, False]", "C3, [24, False]"), [("neck", 5, 5)]),
        (ROWS.replace("Concat", "BiFPN_Concat"), [("neck", 4, 4)]),
        (ROWS.replace("[[5, 2]", "[[5, -4]"), []),  # the same layer in other words
        (ROWS.replace("1, Detect", "1, LightDetect"), [("head", 6, 6)]),
        (INSERTED.replace("[[-1, 1]", "[[-1, 2]"), [("backbone", None, 2), ("neck", 4, 5)]),
        (ROWS.replace("- [-1, 1, C3", "- [-1, 2, C3"), [("neck", 5, 5)]),
    ],
    ids=["args", "module", "from in other words", "head", "from the inserted row", "repeats"],
)
def test_changed_row(differences, text, rows):
    assert numbers(differences(text)) == rows


def test_inserted_row_moves_the_others_without_a_difference(differences):
    found = differences(INSERTED)
    assert numbers(found) == [("backbone", None, 2)]
    assert found.rows[0].before == "" and found.rows[0].after == "[-1, 1, C3, [16]]"
    added = found.second_parts[0].parameters - found.first_parts[0].parameters
    assert added == found.second.parameters - found.first.parameters > 0
    assert found.second_parts[0].gflops > found.first_parts[0].gflops


def test_removed_row(model_yaml):
    found = compare(model_yaml(INSERTED, "a.yaml"), model_yaml(ROWS, "b.yaml"), 64)
    assert numbers(found) == [("backbone", 2, None)]


def test_keys(differences):
    found = differences(ROWS.replace("nc: 3", "nc: 4\nactivation: nn.ReLU()"))
    assert found.keys == (("nc", 3, 4), ("activation", None, "nn.ReLU()")) and not found.same


def test_scales_of_one_file():
    found = compare("yolov5n-effdet.yaml", "yolov5s-effdet.yaml", 64)
    assert found.keys == (("scale", "n", "s"),) and found.rows == () and not found.same


def test_image_of_other_channels():
    """Ultralytics notes the channels of the data in a trained network; older versions did not, or under another key."""
    assert list(key_changes({}, {"channels": 1})) == [("channels", 3, 1)]
    assert list(key_changes({"ch": 3}, {"channels": 3})) == []
