"""Modules of users: channel rules, what is refused and how, and that every process knows them."""

import os
import subprocess
import sys

import pytest
import torch
from sharing.tiny import YAML, write_checkpoint
from test_readme import blocks, run_bash
from torch import nn
from ultralytics import YOLO

import effyolo_ultra
from effyolo_ultra import register_module
from effyolo_ultra.errors import ModelYAMLError, ModuleRegistrationError, SharingError
from effyolo_ultra.sharing.contents import CARD, read
from effyolo_ultra.user_modules import USER_MODULES

ROWS = """
nc: 3
depth_multiple: 0.5
width_multiple: 0.5
backbone:
  - [-1, 1, Conv, [16, 3, 2]] # 0: 8 channels, stride 2
  - [-1, 1, Conv, [32, 3, 2]] # 1: 16 channels, stride 4
head:
  - {row} # 2
  - {behind} # 3
  - [[3], 1, Detect, [nc]]
"""


@pytest.fixture(autouse=True)
def _forget():
    before = dict(USER_MODULES)
    yield
    USER_MODULES.clear()
    USER_MODULES.update(before)


class Same(nn.Module):
    def __init__(self, channels, kernel=1):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, kernel, padding=kernel // 2)

    def forward(self, x):
        return self.conv(x)


class First(nn.Module):
    def __init__(self, c1, c2, stride=1, *, bias=True):
        super().__init__()
        self.conv = nn.Conv2d(c1, c2, 3, stride, 1, bias=bias)

    def forward(self, x):
        return self.conv(x)


class Counted(nn.Module):
    def __init__(self, c1, c2, n, kernel=1):
        super().__init__()
        self.conv = nn.Sequential(*(nn.Conv2d(c1 if i == 0 else c2, c2, kernel) for i in range(n)))

    def forward(self, x):
        return self.conv(x)


class Joined(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.gates = nn.ModuleList(nn.Conv2d(c, c, 1) for c in channels)

    def forward(self, x):
        size = x[0].shape[2:]
        return torch.cat([nn.functional.interpolate(g(f), size=size) for g, f in zip(self.gates, x)], 1)


class Shuffle(nn.Module):
    def __init__(self, c1, factor):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return nn.functional.pixel_unshuffle(x, self.factor)


class Levels(nn.Module):
    """A pyramid of a feature map: itself and two coarser ones."""

    def __init__(self, c1, c2):
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(c, c2, 3, 2, 1) for c in (c1, c2))

    def forward(self, x):
        p3 = self.convs[0](x)
        return [x, p3, self.convs[1](p3)]


class Doubled(nn.Module):
    def __init__(self, channels):
        super().__init__()

    def forward(self, x):
        return x * 2


class LooksAtValues(Same):
    def forward(self, x):
        return x * (1 if float(x.sum()) >= 0 else 2)


def build(model_yaml, row, behind="[-1, 1, nn.Identity, []]"):
    return YOLO(model_yaml(ROWS.format(row=row, behind=behind))).model


@pytest.mark.parametrize(
    ("cls", "told", "row", "kind", "stride"),
    [
        (Same, {}, "[-1, 1, Same, []]", "Conv2d(16, 16, kernel_size=(1, 1)", 4),
        (Same, {}, "[-1, 1, Same, [{kernel: 3}]]", "Conv2d(16, 16, kernel_size=(3, 3)", 4),
        (Same, {"name": "Other"}, "[-1, 1, Other, [3]]", "Conv2d(16, 16, kernel_size=(3, 3)", 4),
        (
            First,
            {"channels": "first_arg"},
            "[-1, 1, First, [64, 2]]",
            "Conv2d(16, 32, kernel_size=(3, 3), stride=(2",
            8,
        ),
        (First, {"channels": "first_arg"}, "[-1, 1, First, [64, {bias: False}]]", "bias=False", 4),
        (Counted, {"channels": "first_arg", "repeats": "argument"}, "[-1, 6, Counted, [64]]", "(2): Conv2d(32, 32", 4),
        (Joined, {"channels": "sum", "inputs": None}, "[[1, 0], 1, Joined, []]", "(1): Conv2d(8, 8", 4),
        (Shuffle, {"channels": lambda c1, factor: c1 * factor**2}, "[-1, 1, Shuffle, [2]]", "Shuffle", 8),
        (LooksAtValues, {}, "[-1, 1, LooksAtValues, []]", "Conv2d(16, 16", 4),
    ],
)
def test_rules(cls, told, row, kind, stride, model_yaml):
    assert register_module(cls, **told) is cls
    network = build(model_yaml, row)
    assert isinstance(network.model[2], cls) and kind in str(network.model[2])
    assert network.stride.tolist() == [stride] and network.names.keys() == {0, 1, 2}
    assert network.eval()(torch.rand(1, 3, 64, 96))[0].shape == (1, 7, 64 * 96 // stride**2)


def test_stock_rows_behind_take_what_it_gives(model_yaml):
    register_module(First, channels="first_arg")
    network = build(model_yaml, "[-1, 1, First, [64]]", "[-1, 2, C3, [128]]")
    assert network.model[3].cv1.conv.in_channels == 32


def test_repeats_stack(model_yaml):
    register_module(First, channels="first_arg")
    stacked = build(model_yaml, "[-1, 4, First, [64]]").model[2]
    assert [(m.conv.in_channels, m.conv.out_channels) for m in stacked] == [(16, 32), (32, 32)]


def test_pyramid(model_yaml):
    decorated = register_module(channels=lambda c1, c2: [c1, c2, c2], pyramid=True)(Levels)
    network = build(model_yaml, "[-1, 1, Levels, [24]]", "[-1, 1, PyramidLevel, [4]]")
    assert isinstance(network.model[2], decorated) and network.stride.tolist() == [16]


@pytest.mark.parametrize(
    ("cls", "told", "row", "expected"),
    [
        (Same, {}, "[[0, 1], 1, Same, []]", "'from' must be one layer for Same"),
        (Same, {}, "[-1, 1, Same, [{kernl: 3}]]", "Same(16, kernl=3) does not fit Same(channels, kernel=1)"),
        (Same, {}, "[-1, 1, Same, [{kernl: 3}]]", "unexpected keyword argument 'kernl'. Did you mean kernel?"),
        (Same, {}, "[-1, 1, Same, [1, 2, 3]]", "too many positional arguments"),
        (Same, {"repeats": "none"}, "[-1, 2, Same, []]", "repeats must be 1 for Same, not 2"),
        (
            First,
            {"channels": "first_arg"},
            "[-1, 1, First, []]",
            "the first arg of First must be its number of channels",
        ),
        (First, {}, "[-1, 1, First, [64]]", "First gives 64 channels, but its channel rule says 16: mend `channels`"),
        (Joined, {"channels": "sum", "inputs": None}, "[-1, 1, Joined, []]", "needs a list of at least 2 layers"),
        (
            Joined,
            {"channels": "sum", "inputs": ("low", "high")},
            "[[1], 1, Joined, []]",
            "2 layers in 'from' (low, high)",
        ),
        (Joined, {"inputs": None}, "[[0, 1], 1, Joined, []]", "must have equal channels, but they have [8, 16]"),
        (Shuffle, {"channels": lambda c1: c1}, "[-1, 1, Shuffle, [2]]", "the channel rule of Shuffle fails: TypeError"),
        (
            Shuffle,
            {"channels": lambda c1, f: c1},
            "[-1, 1, Shuffle, [3]]",
            "Shuffle cannot run on what its inputs give",
        ),
        (Levels, {"channels": lambda c1, c2: c1}, "[-1, 1, Levels, [24]]", "register it with pyramid=True"),
        (Same, {"pyramid": True}, "[-1, 1, Same, []]", "register it with pyramid=False"),
    ],
)
def test_errors_name_the_row(cls, told, row, expected, model_yaml):
    register_module(cls, **told)
    with pytest.raises(ModelYAMLError) as error:
        build(model_yaml, row)
    assert expected in str(error.value) and "model.yaml, row 2: " in str(error.value)


@pytest.mark.parametrize("cls", [Same, Doubled])  # fails where it is built, and where it is run
def test_on_a_pyramid_the_error_has_the_row_to_put_between(cls, model_yaml):
    register_module(cls)
    backbone = "[-1, 1, TimmBackbone, [test_efficientnet]]"
    text = f"nc: 3\nbackbone: [{backbone}]\nhead: [[0, 1, {cls.__name__}, []], [[1], 1, Detect, [nc]]]\n"
    with pytest.raises(ModelYAMLError, match=r"row 1: (.|\n)*put a row \[0, 1, PyramidLevel, \[3\]\] between") as error:
        YOLO(model_yaml(text))
    assert f"If {cls.__name__} is made for pyramids: " in str(error.value)


@pytest.mark.parametrize(
    ("what", "told", "expected"),
    [
        (len, {}, "only a subclass of torch.nn.Module can be registered, not <built-in function len>"),
        (Same(1), {}, "only a subclass of torch.nn.Module"),
        (Same, {"name": "Conv"}, "Ultralytics has a module of this name"),
        (Same, {"name": "BiFPN"}, "effyolo_ultra has a module of this name"),
        (Same, {"name": "LightDetect"}, "effyolo_ultra has a module of this name"),
        (Same, {"name": "nn.Same"}, "must be one of Python's identifiers"),
        (Same, {"channels": "firstarg"}, "Did you mean first_arg?"),
        (Same, {"repeats": 3}, "repeats must be one of stack, argument, none, not 3"),
        (Same, {"inputs": ()}, "inputs must be names or None"),
        (Same, {"channels": "sum"}, "channels='sum' needs several inputs"),
        (First, {"name": "Same"}, "cannot be registered as 'Same': "),
    ],
)
def test_registration_is_refused(what, told, expected):
    if told.get("name") == "Same":
        register_module(Same)
    before = dict(USER_MODULES)
    with pytest.raises(ModuleRegistrationError) as error:
        register_module(what, **told)
    assert expected in str(error.value) and before == USER_MODULES
    if what is First:
        assert f"{Same.__module__}.Same ({__file__}) is" in str(error.value)


def test_same_class_again_replaces_it():
    register_module(Same, channels="same")
    register_module(Same, channels="first_arg")
    assert USER_MODULES["Same"].channels == "first_arg"


def test_checkpoint_and_variant_need_the_module_and_say_so(tmp_path):
    register_module(Same)
    checkpoint = write_checkpoint(
        tmp_path, YAML.replace("head:", "  - [-1, 2, Same, []]\nhead:").replace("[2, 3]", "[2, 4]")
    )
    shared = effyolo_ultra.pack(checkpoint, tmp_path / "variant.zip")
    assert f"`Same` (`{__name__}.Same`)" in read(shared)[CARD].decode()
    USER_MODULES.clear()
    with pytest.raises(ModuleRegistrationError, match=f"needs {__name__}.Same.*EFFYOLO_ULTRA_MODULES"):
        YOLO(checkpoint)
    with pytest.raises(SharingError, match=rf"not in it: Same \({__name__}.Same\)\..*EFFYOLO_ULTRA_MODULES"):
        effyolo_ultra.unpack(shared, tmp_path / "again.pt")
    register_module(Same)
    for file in (checkpoint, effyolo_ultra.unpack(shared, tmp_path / "again.pt")):
        assert [type(module) for module in YOLO(file).model.model[4]] == [Same, Same]


def test_stock_yaml_is_untouched_by_it(model_yaml):
    before = YOLO("yolov8n.yaml").model.state_dict().keys()
    register_module(Same)
    assert YOLO("yolov8n.yaml").model.state_dict().keys() == before


MODULE = """
from torch import nn
from effyolo_ultra import register_module

@register_module
class {name}(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.scale = nn.Conv2d(channels, channels, 1)
    def forward(self, x):
        return self.scale(x)
"""
BUILD = "from ultralytics import YOLO; print(type(YOLO('model.yaml').model.model[2]))"


@pytest.fixture
def project(tmp_path):
    (tmp_path / "model.yaml").write_text(ROWS.format(row="[-1, 1, Scale, []]", behind="[-1, 1, nn.Identity, []]"))
    (tmp_path / "mine.py").write_text(MODULE.format(name="Scale"))
    return tmp_path


def test_entry_point(project, run_python):
    site = project / "site"
    (site / "their_pkg-1.0.dist-info").mkdir(parents=True)
    (site / "their_pkg-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: their-pkg\nVersion: 1.0\n")
    (site / "their_pkg-1.0.dist-info" / "entry_points.txt").write_text(
        "[effyolo_ultra.modules]\nall = their_pkg.parts\n"
    )
    (site / "their_pkg").mkdir()
    (site / "their_pkg" / "__init__.py").touch()
    (site / "their_pkg" / "parts.py").write_text(MODULE.format(name="Scale"))
    path = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = run_python(BUILD, cwd=project, PYTHONPATH=path)
    assert "<class 'their_pkg.parts.Scale'>" in done.stdout, done.stderr


@pytest.mark.parametrize(("first", "value"), [("", "mine.py"), ("", "mine"), ("import mine; ", "../{name}/mine.py")])
def test_environment_variable(project, run_python, first, value):
    done = run_python(first + BUILD, cwd=project, EFFYOLO_ULTRA_MODULES=value.format(name=project.name))
    assert "<class 'mine.Scale'>" in done.stdout, done.stderr


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("raise RuntimeError('not today')", "RuntimeError: not today"),
        (MODULE.format(name="Conv"), "Ultralytics has a module of this name"),
        (None, "there is no such file"),
    ],
)
def test_what_cannot_be_loaded_stops_only_who_needs_it(project, run_python, text, why):
    (project / "mine.py").unlink()
    if text:
        (project / "mine.py").write_text(text)
    stock = "from ultralytics import YOLO; YOLO('yolov8n.yaml'); print('stock works')"
    done = run_python(f"{stock}\n{BUILD}", cwd=project, EFFYOLO_ULTRA_MODULES="mine.py")
    printed = done.stdout + done.stderr
    assert "stock works" in printed and f"'{project / 'mine.py'}' cannot be used: " in printed and why in printed
    assert (
        "there is no module 'Scale'" in done.stderr and f"Not loaded: EFFYOLO_ULTRA_MODULES '{project}" in done.stderr
    )


def test_processes_started_elsewhere_know_it(project, run_python):
    """The variable is made absolute, so a child in another directory, as those of Ray are, finds the file."""
    (project / "elsewhere").mkdir()
    code = f"""
import multiprocessing, os
def child():
    os.chdir({str(project)!r})
    {BUILD}
if __name__ == "__main__":
    from ultralytics import YOLO
    os.chdir("elsewhere")
    process = multiprocessing.get_context("spawn").Process(target=child)
    process.start(); process.join(); raise SystemExit(process.exitcode)
"""
    (project / "main.py").write_text(code)
    done = subprocess.run(
        [sys.executable, "main.py"],
        cwd=project,
        capture_output=True,
        text=True,
        env={**os.environ, "EFFYOLO_ULTRA_MODULES": "mine.py"},
        timeout=300,
    )
    assert done.returncode == 0 and "<class 'mine.Scale'>" in done.stdout, done.stderr


@pytest.mark.slow
def test_page_is_run_as_it_stands(tmp_path, run_python):
    printed = run_bash(blocks("run: own modules", "bash")[0], tmp_path)
    assert "my_modules.CBAM" in printed and (tmp_path / "runs" / "own" / "weights" / "best.onnx").is_file()
    best = "runs/own/weights/best.pt"
    load = f"from ultralytics import YOLO; print(type(YOLO({best!r}).model.model[3]))"
    known = {"EFFYOLO_ULTRA_MODULES": "my_modules.py", "ULTRALYTICS_SAFE_LOAD": "1"}
    done = run_python(load, cwd=tmp_path, **known)
    assert "<class 'my_modules.CBAM'>" in done.stdout, done.stderr
