"""The top of the package: it runs at every interpreter start, so what it imports is part of its contract."""

from __future__ import annotations

import ast
import configparser
import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

import effyolo_ultra

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("opt_out", ["", "1"])
def test_an_interpreter_start_imports_our_two_files_and_nothing_else(opt_out):
    # os and sys are there at every start, but not under -S, which keeps an installed copy of the package out.
    script = (
        f"import json, os, sys; sys.path.insert(0, {str(ROOT)!r})\n"
        f"os.environ['EFFYOLO_ULTRA_NO_AUTOLOAD'] = {opt_out!r}\n"
        "before = set(sys.modules)\n"
        "from effyolo_ultra._autoload import install; install()\n"
        "print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == ["effyolo_ultra", "effyolo_ultra._autoload"]


PUBLIC = [
    "check",
    "compare",
    "compose",
    "describe",
    "diagnose",
    "draw",
    "features",
    "fusion_weights",
    "list_models",
    "model_info",
    "model_path",
    "model_records",
    "nn",
    "pack",
    "plot_fusion_weights",
    "prune",
    "pull",
    "push",
    "register",
    "register_module",
    "shapes",
    "unpack",
    "write_model",
]


def test_public_names():
    assert sorted(effyolo_ultra._LAZY) == PUBLIC
    assert {*PUBLIC, "__version__"} <= set(dir(effyolo_ultra))


@pytest.mark.parametrize("name", PUBLIC)
def test_public_name_resolves(name):
    module_name, _, attribute = effyolo_ultra._LAZY[name].partition(":")
    module = importlib.import_module(module_name)
    assert getattr(effyolo_ultra, name) is (getattr(module, attribute) if attribute else module)


def test_a_public_name_is_looked_up_once(monkeypatch):
    monkeypatch.setitem(effyolo_ultra._LAZY, "probe", "fractions:Fraction")
    try:
        first = effyolo_ultra.probe
        monkeypatch.delitem(effyolo_ultra._LAZY, "probe")
        assert effyolo_ultra.probe is first
    finally:
        vars(effyolo_ultra).pop("probe", None)


def test_type_checkers_see_the_same_names():
    tree = ast.parse(Path(effyolo_ultra.__file__).read_text(encoding="utf-8"))
    [block] = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {}
    for statement in block.body:
        for alias in statement.names:
            module = f"{statement.module}.{alias.name}"
            seen[alias.asname] = (
                module if module in effyolo_ultra._LAZY.values() else f"{statement.module}:{alias.name}"
            )
    assert seen == effyolo_ultra._LAZY


def test_unknown_name():
    with pytest.raises(AttributeError, match="module 'effyolo_ultra' has no attribute 'regster'"):
        effyolo_ultra.regster  # noqa: B018


def test_version_has_a_single_source():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    assert config["metadata"]["version"] == "attr: effyolo_ultra.__version__"
    # setuptools reads it without importing the package only if it is a plain literal.
    tree = ast.parse(Path(effyolo_ultra.__file__).read_text(encoding="utf-8"))
    versions = [n.value for n in tree.body if isinstance(n, ast.Assign) and n.targets[0].id == "__version__"]
    assert [ast.literal_eval(version) for version in versions] == [effyolo_ultra.__version__]
