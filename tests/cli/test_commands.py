"""The subcommands list, info, diff and doctor, and the command itself."""

import io
import json
import os
import shutil
import subprocess
import sys

import pytest

from effyolo_ultra import model_records
from effyolo_ultra.cli import COMMANDS, main
from effyolo_ultra.cli.doctor import report
from effyolo_ultra.doctor import Finding

COMMAND = [sys.executable, "-m", "effyolo_ultra.cli"]
SMALL = "yolov5n-effdet.yaml"


@pytest.fixture
def printed(capsys, monkeypatch):
    """Run the command on a terminal of a width, and return exit code and stdout."""

    def run(*arguments, width=80):
        monkeypatch.setenv("COLUMNS", str(width))
        code = main(arguments)
        return code, capsys.readouterr().out

    return run


def test_list(printed):
    code, text = printed("list", "yolov5?-effdet")
    assert code == 0 and all(len(line) <= 80 for line in text.splitlines())
    for record in model_records("yolov5?-effdet"):
        assert f"{record.name[:-5]} " in text and f" {record.gflops:.1f}" in text


def test_list_has_a_line_for_each_model_where_nobody_asks_for_a_width(capsys, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    assert main(["list"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1 + len(model_records())


def test_list_json(printed):
    code, text = printed("list", "effb0", "--task", "detect", "--json")
    records = [{**record._asdict(), "strides": list(record.strides)} for record in model_records("effb0", "detect")]
    assert code == 0 and json.loads(text) == records


def test_list_of_nothing(capsys):
    assert main(["list", "yolov9-effdet"]) == 2
    assert "the zoo has no model 'yolov9-effdet'" in capsys.readouterr().err


def test_info(printed):
    code, text = printed("info", SMALL)
    [record] = model_records("yolov5n-effdet.yaml")
    assert code == 0 and all(len(line) <= 80 for line in text.splitlines())
    for part in (f"{record.parameters:,}", f"{record.gflops:.2f}", "backbone:", "neck:", "head:", "64x80x80", "%"):
        assert part in text
    assert "tf_efficientnet_b0.ns_jft_in1k" in text and "[1, 1, PyramidLevel, [3]]" in text


def test_info_json_is_all_of_stdout(tmp_path):
    """On a machine where Ultralytics has never run, which it says, with a size that the trainer rounds and warns of."""
    command = [*COMMAND, "info", SMALL, "--imgsz", "50", "--json"]
    environment = {**os.environ, "YOLO_CONFIG_DIR": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0 and "must be multiple of max stride 32" in done.stderr
    found = json.loads(done.stdout)
    assert found["network"]["imgsz"] == 64 and found["checkpoint"] is None
    assert sum(part["parameters"] for part in found["parts"]) == found["parameters"]
    assert sum(part["of_gflops"] for part in found["parts"]) == pytest.approx(1)
    assert [item["layer"] for item in found["weights"]] == [0, 1, None]


def test_diff(printed):
    code, text = printed("diff", "yolov5-effb0-bifpn.yaml", "yolov5-effb0-pan.yaml", "--imgsz", "64")
    assert code == 1 and "- row 6: [[-1, 2], 1, BiFPN_Concat, [1]]\n+ row 6: [[-1, 2], 1, Concat, [1]]\n" in text
    assert text.count("- row") == text.count("+ row") == 4
    records = [model_records(f"yolov5-effb0-{neck}")[0] for neck in ("bifpn", "pan")]
    assert f"{records[1].parameters - records[0].parameters:+,}" in text


def test_diff_of_the_same_and_of_nothing(printed, capsys, model_yaml):
    stock = "nc: 2\nbackbone:\n  - [-1, 1, Conv, [8, 3, 8]]\nhead:\n  - [[0], 1, Detect, [nc]]\n"
    file = model_yaml(stock)
    code, text = printed("diff", file, file)
    assert code == 0 and "the networks are the same" in text
    code, text = printed("diff", file, model_yaml(stock.replace("nc: 2", "nc: 3"), "b.yaml"), "--json")
    found = json.loads(text)
    assert code == 1 and found["same"] is False and found["keys"] == [{"key": "nc", "before": 2, "after": 3}]
    broken = model_yaml(stock.replace("[8, 3, 8]", "[]"), "c.yaml")  # nothing is built before both are found
    assert main(["diff", broken, "gone.pt"]) == 2
    assert "gone.pt" in capsys.readouterr().err


def test_doctor_of_what_is_switched_off(printed, monkeypatch):
    monkeypatch.setenv("EFFYOLO_ULTRA_NO_AUTOLOAD", "1")
    code, text = printed("doctor", width=200)
    assert code == 1 and "would stop a training" in text.splitlines()[-1]
    assert "switched off" in text and "-> unset EFFYOLO_ULTRA_NO_AUTOLOAD" in text


@pytest.mark.parametrize(("state", "code", "last"), [("warning", 0, "nothing here"), ("problem", 1, "1 of these")])
def test_doctor_says_what_stops_a_training(capsys, state, code, last):
    findings = [Finding("machine", "disk", "ok", "1 GB"), Finding("machine", "GPU", state, "[none]", "buy one")]
    assert report(findings, as_json=False) == code
    text = capsys.readouterr().out
    assert "[none]" in text and "-> buy one" in text and text.splitlines()[-1].startswith(last)
    assert report(findings, as_json=True) == code
    assert json.loads(capsys.readouterr().out)[1] == findings[1]._asdict()


def test_help_is_quick(run_json):
    code = (
        "import contextlib, io, json, sys; from effyolo_ultra.cli import main; text = io.StringIO()\n"
        "with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit): main(['--help'])\n"
        "print(json.dumps([text.getvalue(), list(sys.modules)]))"
    )
    text, modules = run_json(code)
    assert not {"torch", "ultralytics", "timm", "rich", "yaml", "numpy"} & set(modules)
    assert "effyolo info yolov5n-effdet.yaml" in text
    assert " ".join(text.split()).endswith("2 for what could not be done.")


@pytest.mark.skipif(os.name == "nt", reason="no such pipes there")
@pytest.mark.parametrize("arguments", ["list", "list --json", "--help", "--print-completion bash"])
def test_reader_that_has_enough(arguments):
    """The pipe is closed before the command writes."""
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([*COMMAND, *arguments.split()], stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert done.stderr == ""


def test_names_that_the_terminal_cannot_show(monkeypatch, model_yaml):
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), "ascii"))
    assert main(["check", model_yaml("backbone: []", "größe.yaml")]) == 1
    assert rb"gr\xf6\xdfe.yaml: " in sys.stdout.buffer.getvalue()


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
class TestCompletions:
    @pytest.fixture
    def script(self, tmp_path_factory):
        done = subprocess.run([*COMMAND, "--print-completion", "bash"], capture_output=True, text=True, check=True)
        path = tmp_path_factory.mktemp("completion") / "effyolo"
        path.write_text(done.stdout, encoding="utf-8")
        subprocess.run(["bash", "-n", path], check=True)
        return path

    def complete(self, script, *words, cwd=None):
        code = (
            'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); '
            '$(complete -p effyolo | sed \'s/.*-F \\([^ ]*\\).*/\\1/\') effyolo "${@: -1}" "${@: -2:1}"; '
            'printf "%s\\n" "${COMPREPLY[@]}"'
        )
        done = subprocess.run(
            ["bash", "-c", code, "bash", script, "effyolo", *words], capture_output=True, text=True, cwd=cwd
        )
        assert done.stderr == ""
        return done.stdout.split()

    def test_subcommands_and_options(self, script):
        assert self.complete(script, "inf") == ["info"]
        assert self.complete(script, "info", "--img") == ["--imgsz"]

    def test_models(self, script, tmp_path):
        for name in ("yolov5-mine.yaml", "yolov5-mine.pt", "yolov5-mine.png"):
            (tmp_path / name).touch()
        (tmp_path / "yolov5-runs").mkdir()
        assert self.complete(script, "info", "yolov5n-effdet", cwd=tmp_path) == [
            record.name for record in model_records("yolov5n-effdet*")
        ]
        found = self.complete(script, "diff", "a.yaml", "yolov5-", cwd=tmp_path)
        assert {"yolov5-mine.yaml", "yolov5-mine.pt"} < set(found) and "yolov5-mine.png" not in found
        assert any(word.startswith("yolov5-runs") for word in found)

    def test_every_argument_for_a_model(self, script):
        text = script.read_text(encoding="utf-8")
        with_model = [command.__name__.rpartition(".")[2] for command in COMMANDS]
        with_model = [name for name in with_model if name not in ("list", "new", "unpack", "push", "pull", "doctor")]
        assert [name for name in with_model if f"_shtab_effyolo_{name}_pos_0_COMPGEN=_effyolo_models" not in text] == []
