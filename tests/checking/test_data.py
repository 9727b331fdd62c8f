"""A model YAML beside the data that it is to be trained on."""

import json

import pytest
from small_data import write_small_data

import effyolo_ultra
from effyolo_ultra.checking.data import Data, label_problems

ROWS = """nc: {nc}
{extra}
backbone:
  - [-1, 1, Conv, [8, 3, 2]]
head:
  - [[-1], 1, {head}]
"""
DETECT, SEGMENT, OBB, POSE = "Detect, [nc]", "Segment, [nc, 8, 8]", "OBB, [nc, 1]", "Pose, [nc, kpt_shape]"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A data set of boxes."""
    folder = tmp_path_factory.mktemp("data")
    write_small_data(folder, train=4, val=2)
    return folder


@pytest.fixture
def model(model_yaml):
    """Write a model YAML."""
    return lambda head=DETECT, nc=8, extra="": model_yaml(ROWS.format(head=head, nc=nc, extra=extra))


@pytest.fixture
def data(folder, tmp_path):
    """Write a data YAML that differs from that of the boxes."""

    def write(**changes):
        d = {**json.loads((folder / "small.yaml").read_text(encoding="utf-8")), **changes}
        path = tmp_path / "data.yaml"
        path.write_text(json.dumps({k: v for k, v in d.items() if v is not None}), encoding="utf-8")
        return path

    return write


def test_data_that_fit(model, folder):
    assert effyolo_ultra.check(model(), folder / "small.yaml", 64) == []


def test_other_classes_are_a_note(model, data):
    (found,) = effyolo_ultra.check(model(nc=80), data())
    assert (found.severity, found.line) == ("note", 1)
    assert "has 8 classes; the trainer takes that instead of nc 80" in found.message


def test_channels_of_the_data_are_built(model_yaml, data):
    text = ROWS.format(head=DETECT, nc=8, extra="channels: 3")
    (found,) = effyolo_ultra.check(model_yaml(text), data(channels=4))
    assert (found.severity, found.line) == ("note", 2) and "images of 4 channels" in found.message
    text = text.replace("Conv, [8, 3, 2]", "nn.Conv2d, [3, 3, 3]")
    error = next(f for f in effyolo_ultra.check(model_yaml(text), data(channels=4)) if f.severity == "error")
    assert "4 channels" in error.message


@pytest.mark.parametrize(("head", "task"), [(SEGMENT, "segment"), (OBB, "obb")])
def test_labels_of_another_task_are_an_error(model, folder, head, task):
    (found,) = effyolo_ultra.check(model(head), folder / "small.yaml")
    assert found.severity == "error" and f"labels are not for {task}" in found.message
    assert "4 of the first 4 label files" in found.message


def test_keypoints(model, data):
    pose = model(POSE, extra="kpt_shape: [17, 3]")
    (found,) = effyolo_ultra.check(pose, data())
    assert found.severity == "error" and "No `kpt_shape`" in found.message
    note, error = effyolo_ultra.check(pose, data(kpt_shape=[5, 3]))
    assert (note.severity, note.line) == ("note", 2) and "kpt_shape [5, 3]; the trainer takes that" in note.message
    assert error.severity == "error" and "each needs 20 numbers" in error.message
    *_, found = effyolo_ultra.check(pose, data(kpt_shape=[5]))
    assert found.severity == "error" and "must be [number of keypoints, 2 or 3]" in found.message


def test_class_beyond_the_data(model, data):
    found = effyolo_ultra.check(model(nc=1), data(names=["circle"]))
    assert [f.severity for f in found][:1] and "a class beyond the 1 of the data" in found[0].message
    assert list(label_problems([["²", *"1111"]], "detect", Data("data", 3, 3, None, ()))) == [
        "labels do not begin with the number of a class"
    ]


def test_data_that_are_not_here_are_not_fetched(model, data, tmp_path):
    trap = tmp_path / "trap"
    absent = data(path=str(tmp_path / "none"), download=f"open({str(trap)!r}, 'w')")
    (found,) = effyolo_ultra.check(model(), absent)
    assert found.severity == "warning" and "a check downloads nothing; a training would fetch them" in found.message
    (found,) = effyolo_ultra.check(model(), data(path=str(tmp_path / "none")))
    assert found.severity == "error" and f": no images at {tmp_path / 'none'}" in found.message
    assert "a training would fail" in found.message and "dataset download directory" not in found.message
    (found,) = effyolo_ultra.check(model(), "https://example.com/data.yaml")
    assert found.severity == "error" and "downloads nothing" in found.message
    assert not trap.exists()


@pytest.mark.parametrize(
    ("changes", "fragment"),
    [
        ({"names": None}, "either 'names' or 'nc'"),
        ({"nc": 3}, "must match"),
        ({"train": None}, "'train:' key missing"),
        ({"channels": "three"}, "'channels' of data"),
    ],
)
def test_data_that_the_trainer_refuses(model, data, changes, fragment):
    (found,) = effyolo_ultra.check(model(), data(**changes))
    assert found.severity == "error" and fragment in found.message


def test_missing_data_yaml_is_an_error_of_the_call(model):
    with pytest.raises(FileNotFoundError):
        effyolo_ultra.check(model(), "no-such-data.yaml")


def test_folder_of_classes(model_yaml, tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / "pictures" / "train" / name).mkdir(parents=True)
    file = model_yaml("nc: 5\nbackbone:\n  - [-1, 1, Conv, [8, 3, 2]]\nhead:\n  - [-1, 1, Classify, [nc]]\n")
    (found,) = effyolo_ultra.check(file, tmp_path / "pictures")
    assert found.severity == "note" and "has 2 classes" in found.message
    (found,) = effyolo_ultra.check(file, tmp_path / "elsewhere")
    assert found.severity == "error" and "is no folder on this machine" in found.message
