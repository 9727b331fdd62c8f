"""Every recipe: an argument file for `yolo train cfg=`, by its bare name."""

import json
import re

import pytest
import yaml
from small_data import write_small_data
from ultralytics.utils import DEFAULT_CFG_DICT

from effyolo_ultra import zoo

NAMES = zoo.list_files("recipes")
MODEL = {
    "nc": 8,
    "backbone": [[-1, 1, "EfficientNetBackbone", ["b0", {"levels": [3, 4]}]]],
    "head": [[0, 1, "PyramidLevel", [3]], [0, 1, "PyramidLevel", [4]], [[1, 2], 1, "Detect", ["nc"]]],
}


@pytest.mark.parametrize("name", NAMES)
def test_only_what_differs_and_why(name):
    lines = zoo.find(name, "recipes").read_text(encoding="utf-8").splitlines()
    assert f"#   yolo train cfg={name} model=" in "\n".join(lines)
    recipe = yaml.safe_load("\n".join(lines))
    differing = {key: value for key, value in recipe.items() if DEFAULT_CFG_DICT.get(key) != value}
    assert recipe == differing and recipe.keys() <= DEFAULT_CFG_DICT.keys()
    for before, line in zip(lines, lines[1:]):
        if line and not line.startswith("#"):
            assert re.search(r": \S.* # [\w`]|^freeze: \{.+\}$", line), line
            assert "freeze" not in line or before.startswith("# ")


def test_each_runs_by_its_bare_name(tmp_path, run_python):
    """As in the `yolo` command, in a process that knows this package by its start-up file alone."""
    write_small_data(tmp_path)
    (tmp_path / "model.yaml").write_text(json.dumps(MODEL), encoding="utf-8")
    code = f"""
import sys
from ultralytics.cfg import entrypoint
small = "model=model.yaml data=small.yaml imgsz=64 epochs=1 batch=4 device=cpu workers=0 plots=False val=False"
for name in {NAMES}:
    entrypoint(f"yolo train cfg={{name}} {{small}} project={tmp_path}/runs name={{name}}")
entrypoint(f"yolo train cfg=effyolo-finetun.yaml {{small}}")
"""
    done = run_python(code, cwd=tmp_path)
    assert "Did you mean effyolo-finetune.yaml" in done.stderr.splitlines()[-1], done.stderr
    for name in NAMES:
        used = yaml.safe_load((tmp_path / "runs" / name / "args.yaml").read_text(encoding="utf-8"))
        recipe = yaml.safe_load(zoo.find(name, "recipes").read_text(encoding="utf-8"))
        expected = {**recipe, "epochs": 1, "batch": 4}  # the command goes first
        assert {key: used[key] for key in expected} == expected
