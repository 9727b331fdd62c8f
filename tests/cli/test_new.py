"""`effyolo new`."""

import pytest
import yaml

from effyolo_ultra import compose
from effyolo_ultra.cli import main


def test_prints_what_compose_gives_and_nothing_else(capsys):
    assert main(["new", "--backbone", "b0", "--neck", "bifpn", "--channels", "40", "--repeats", "2"]) == 0
    assert capsys.readouterr().out == compose(backbone="b0", neck="bifpn", channels=40, repeats=2)


def test_every_option_reaches_the_file(tmp_path, capsys):
    path = tmp_path / "mine.yaml"
    options = ["--backbone", "lite0", "--neck", "wpan", "--head", "yolo11", "--task", "obb", "--levels", "4-6"]
    assert main(["new", *options, "--scale", "n", "--light", "-o", str(path)]) == 0
    assert capsys.readouterr().out == f"wrote {path}\n"
    d = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert d["backbone"][0][3] == ["lite0", {"levels": [4, 5]}] and d["width_multiple"] == 0.25
    assert d["head"][-1][2:] == ["LightOBB", ["nc", 1]] and len(d["head"][-1][0]) == 3


def test_no_light(capsys):
    assert main(["new", "--backbone", "b0", "--neck", "bifpn", "--no-light"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["head"][-1][2] == "Detect"


def test_overwrite(tmp_path, capsys):
    path = tmp_path / "mine.yaml"
    path.write_text("mine", encoding="utf-8")
    arguments = ["new", "--backbone", "b0", "--task", "classify", "-o", str(path)]
    assert main(arguments) == 2
    assert "there already" in capsys.readouterr().err and path.read_text(encoding="utf-8") == "mine"
    assert main([*arguments, "--overwrite"]) == 0
    assert yaml.safe_load(path.read_text(encoding="utf-8"))["head"][-1][2] == "Classify"


@pytest.mark.parametrize(("name", "message"), [("gone/mine.yaml", "no folder"), ("mine.txt", "ends in .yaml")])
def test_output_is_looked_at_before_anything_is_composed(tmp_path, capsys, name, message):
    assert main(["new", "--backbone", "none-such", "-o", str(tmp_path / name)]) == 2
    assert message in capsys.readouterr().err


def test_bad_combination_is_one_line(capsys):
    assert main(["new", "--head", "rtdetr"]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("error: head rtdetr needs a backbone")
