"""`effyolo check`."""

import json

import pytest

from effyolo_ultra.cli import main

GOOD = "nc: 2\nbackbone:\n  - [-1, 1, Conv, [8, 3, 2]]\nhead:\n  - [[-1], 1, Detect, [nc]]\n"


def test_file_in_order(model_yaml, capsys):
    file = model_yaml(GOOD)
    assert main(["check", file]) == 0
    assert capsys.readouterr().out == f"{file}: no errors\n"


def test_lines_as_compilers_write_them(model_yaml, capsys):
    file = model_yaml(GOOD.replace("Conv", "Cnov") + "scale: n\n")
    assert main(["check", file]) == 1
    first, second, last = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{file}:3: error: row 0: there is no module 'Cnov'. Did you mean ")
    assert second.startswith(f"{file}:6: warning: 'scale' has no effect")
    assert last == f"{file}: 1 error, 1 warning"


def test_warnings_alone_are_no_failure(model_yaml, capsys):
    assert main(["check", model_yaml(GOOD + "scale: n\n"), "--imgsz", "100"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith(": 1 warning, 1 note")


@pytest.mark.parametrize(("text", "code"), [(GOOD, 0), (GOOD.replace("[8, 3, 2]", "[]"), 1)])
def test_json_is_all_of_stdout(model_yaml, capsys, text, code):
    assert main(["check", model_yaml(text), "--json"]) == code
    records = json.loads(capsys.readouterr().out)
    assert len(records) == code
    assert all(set(record) == {"severity", "line", "row", "message"} for record in records)


def test_missing_file(capsys):
    assert main(["check", "yolov5n-effdett.yaml"]) == 2
    assert "Did you mean yolov5n-effdet.yaml" in capsys.readouterr().err


def test_data_by_name(model_yaml, capsys):
    assert main(["check", model_yaml(GOOD), "--data", "no-such-data.yaml"]) == 2
    assert "no-such-data.yaml" in capsys.readouterr().err
