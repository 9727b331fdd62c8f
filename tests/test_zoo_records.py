"""The index of the zoo, against the zoo; all of it is built by `python -m benchmarks.zoo_table --check`."""

from itertools import groupby

import pytest

from benchmarks.page import ROOT
from benchmarks.zoo_table import family_name, full_table, index_text, record, short_table
from effyolo_ultra import list_models, model_records
from effyolo_ultra.errors import UnknownNameError
from effyolo_ultra.zoo_records import INDEX

RECORDS = model_records()


def kind(item):
    return item.task, item.head, item.neck.partition(" ")[0]


# The smallest model of each kind: the others differ from it in size only.
SMALLEST = [
    min(items, key=lambda item: item.parameters).name
    for items in (list(group) for _, group in groupby(sorted(RECORDS, key=kind), key=kind))
]


def test_index_names_every_model():
    assert [item.name for item in RECORDS] == list_models()
    assert [item.name[6] for item in RECORDS if item.name[7:] == "-effdet.yaml"] == list("nsmlx")


@pytest.mark.parametrize("name", SMALLEST)
def test_index_is_what_the_models_are(name):
    assert [record(name)] == [item for item in RECORDS if item.name == name]


def test_pages_are_what_the_script_makes_of_the_index():
    assert INDEX.read_text(encoding="utf-8") == index_text(RECORDS)
    readme, page = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/zoo.md"))
    assert f"--write -->\n{short_table(RECORDS)}<!-- end of zoo table -->" in readme
    assert f"--write -->\n{full_table(RECORDS)}<!-- end of full zoo table -->" in page


def test_short_table_has_every_model_in_one_line():
    lines = short_table(RECORDS).splitlines()[2:]
    names = [line.split("`")[1] for line in lines]
    assert len(set(names)) == len(names) < len(RECORDS)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["yolov5-effb0-pan.yaml", "yolov5-effb1-pan.yaml", "yolov5-effb7-pan.yaml"], "yolov5-effb{0..7}-pan.yaml"),
        (["yolov5n-effdet.yaml", "yolov5x-effdet.yaml"], "yolov5{n,x}-effdet.yaml"),
        (["yolo11n-effnet-bifpn-seg.yaml", "yolo11s-effnet-bifpn-seg.yaml"], "yolo11{n,s}-effnet-bifpn-seg.yaml"),
        (["yolov5-effb7-effdet-p8.yaml"], "yolov5-effb7-effdet-p8.yaml"),
    ],
)
def test_name_of_a_family(names, expected):
    assert family_name(names) == expected


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("effb3-pan", ["yolov5-effb3-pan.yaml"]),
        ("EFFB3-PAN", ["yolov5-effb3-pan.yaml"]),
        ("yolov5[ns]-effdet", ["yolov5n-effdet.yaml", "yolov5s-effdet.yaml"]),
        ("*b?-effdet-p8.yaml", ["yolov5-effb7-effdet-p8.yaml"]),
    ],
)
def test_pattern(pattern, expected):
    assert [item.name for item in model_records(pattern)] == expected


def test_task():
    assert {item.task for item in model_records(task="detect")} == {"detect"}
    with pytest.raises(UnknownNameError, match=r"task 'paint', only for detect"):
        model_records(task="paint")


def test_nothing_found():
    with pytest.raises(UnknownNameError, match=r"'yolov5n-efdet'\. Did you mean yolov5n-effdet"):
        model_records("yolov5n-efdet")
