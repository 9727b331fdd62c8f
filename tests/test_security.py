"""A model YAML from anywhere is data: nothing in it runs, and none takes long or much memory before it is refused."""

import json

import pytest

from effyolo_ultra.errors import ModelYAMLError

FILE = """\
nc: 3
{top}
backbone:
  - [-1, 1, EfficientNetBackbone, [b0]]
head:
  - [0, 1, PyramidLevel, [5]]
{rows}
  - [[-1], 1, Detect, [nc]]
"""
ALIASES = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
ALIASES += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]  # 10^9 values in 1 kB
ROW = "  - [-1, 1, {}, [{}]]"
CASES = {
    "channels": ("", ROW.format("Conv", "1000000000, 1, 1"), "row 2", "at most 65536 after scaling, not 1e+09"),
    "rows": ("", "\n".join([ROW.format("nn.Identity", "")] * 1_000_000), "model.yaml", "bytes is not read"),
    "rows in a small file": ("", "\n".join([ROW.format("nn.Identity", "")] * 1500), "model.yaml", "1503 rows"),
    "repeats": ("", "  - [-1, 100000, Conv, [64, 1, 1]]", "row 2", "repeats must be at most 1000, not 100000"),
    "depth": ("depth_multiple: 900", "  - [-1, 999, C3, [64]]", "row 2", "899100 after scaling"),
    "aliases": ("\n".join(ALIASES), "", "model.yaml", "more than 50000 values, aliases expanded"),
    "aliases in args": ("\n".join(ALIASES), ROW.format("Conv", "*a8"), "model.yaml", "more than 50000 values"),
    "nested": ("x: " + "[" * 5000 + "]" * 5000, "", "model.yaml", "is no YAML mapping"),
    "call": ("activation: __import__('os').mkdir('pwned')", "", "model.yaml", "is refused"),
    "call in an argument": ("activation: nn.ReLU(__import__('os').mkdir('pwned'))", "", "model.yaml", "is refused"),
    "no activation": ("activation: nn.Conv2d(8, 8, 1)", "", "model.yaml", "is no activation of torch.nn"),
    "text of code": (
        "",
        ROW.format("Conv", "\"__import__('os').mkdir('pwned')\""),
        "row 2",
        "Ultralytics cannot build",
    ),
    "function of Ultralytics": ("", ROW.format("torch_safe_load", "w.pt"), "row 2", "'torch_safe_load' is no layer"),
    "function of torch": ("", ROW.format("nn.init.zeros_", "w.pt"), "row 2", "no module 'nn.init.zeros_'"),
    "network in a network": (
        "",
        ROW.format(
            "DetectionModel", "{nc: 1, backbone: [], head: [], activation: \"__import__('os').mkdir('pwned')\"}"
        ),
        "row 2",
        "'DetectionModel' is no layer",
    ),
    "classes": ("reg_max: 1000000", "", "model.yaml", "'reg_max' must be at most 65536"),
    "feature maps": ("", ROW.format("nn.Upsample", "None, 5000"), "row 2", "numbers in the feature maps"),
    "parameters": ("", "\n".join([ROW.format("Conv", "60000, 3")] * 2), "row 3", "e+10 parameters; more than 2e+09"),
    "parameters of ours": ("", "  - [0, 3, BiFPN, [60000]]", "row 2", "parameters; more than 2e+09"),
    "locals of the parser": (
        "",
        ROW.format("BiFPN_Concat", "{fusion: args}").replace("-1,", "[1, 1],", 1),
        "row 2",
        "args",
    ),
    "no local file": ("", ROW.format("TimmBackbone", "'local-dir:/etc'").replace("-1,", "-1,", 1), "row 2", ""),
    "no download": ("", ROW.format("TimmBackbone", "'hf-hub:somebody/model'"), "row 2", ""),
}
SCRIPT = """
import json, resource, socket, sys, time
from ultralytics import YOLO
from effyolo_ultra.errors import ModelYAMLError
YOLO("yolov5n-effdet.yaml")  # imports, and what is made once
def refuse(*args): raise AssertionError("network")
socket.socket.connect = refuse
results = {}
for name in json.loads(sys.argv[1]):
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    try:
        YOLO(f"{name}/model.yaml")
        message = "no error"
    except ModelYAMLError as error:
        message = str(error)
    seconds = time.process_time() - start
    results[name] = message, seconds, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
print(json.dumps(results))
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Load all the files in one process, whose imports take longer than they do."""
    import os
    import subprocess
    import sys

    folder = tmp_path_factory.mktemp("strangers")
    for name, (top, rows, *_) in CASES.items():
        (folder / name).mkdir()
        (folder / name / "model.yaml").write_text(FILE.format(top=top, rows=rows), encoding="utf-8")
    command = [sys.executable, "-c", SCRIPT, json.dumps(list(CASES))]
    done = subprocess.run(command, cwd=folder, env=dict(os.environ), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert not list(folder.glob("**/pwned"))
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", CASES)
def test_refused_in_a_moment(name, results):
    *_, where, what = CASES[name]
    message, seconds, megabytes = results[name]
    assert where in message and what in message, message
    assert seconds < 1 and megabytes < 500


def test_large_file_whose_only_module_of_ours_is_a_light_head(model_yaml):
    from ultralytics.nn.tasks import yaml_model_load

    rows = "\n".join([ROW.format("nn.Identity", "")] * 10_000)
    text = f"backbone:\n{rows}\nhead:\n  - [[-1], 1, LightDetect, [nc]]\n"
    with pytest.raises(ModelYAMLError, match="bytes is not read"):
        yaml_model_load(model_yaml(text))


@pytest.mark.parametrize("activation", ["nn.ReLU()", "torch.nn.LeakyReLU(0.1)", "nn.Hardswish(inplace=True)"])
def test_activations_of_torch_are_taken(activation, model_yaml):
    from ultralytics import YOLO

    network = YOLO(model_yaml(FILE.format(top=f"activation: {activation}", rows=ROW.format("Conv", "8, 1, 1")))).model
    assert type(network.model[2].act).__name__ == activation.split("(")[0].split(".")[-1]
