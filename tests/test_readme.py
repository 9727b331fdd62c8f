"""Everything that the README and the pages in docs/ show is run as it stands there."""

import csv
import os
import re
import shlex
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest
import torch
import yaml
from effdet_models import efficientdet
from ultralytics import YOLO
from ultralytics.cfg import entrypoint, parse_key_value_pair
from ultralytics.data.utils import check_det_dataset

from benchmarks.zoo_table import full_table, record, short_table
from effyolo_ultra.cli import main
from effyolo_ultra.phases import first_phase, typed
from effyolo_ultra.shapes import CLASSES, make_shapes
from effyolo_ultra.zoo import list_models
from effyolo_ultra.zoo_records import model_records

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = "\n".join([README, *(page.read_text(encoding="utf-8") for page in sorted((ROOT / "docs").glob("*.md")))])
SCRIPTS = sysconfig.get_path("scripts")


def blocks(marker, language):
    found = re.findall(rf"<!-- {marker} -->\n```{language}\n(.*?)```", PAGES, re.DOTALL)
    assert found, marker
    return found


def run_bash(script, folder):
    """Run in a directory outside the checkout, with the settings of a machine that knows no Ultralytics yet."""
    (folder / "settings").mkdir()
    environment = {
        **os.environ,
        "PATH": f"{SCRIPTS}{os.pathsep}{os.environ['PATH']}",
        "YOLO_CONFIG_DIR": str(folder / "settings"),
    }
    # Where Ultralytics writes by default depends on where it is installed.
    settings = f"yolo settings runs_dir={folder / 'runs'} datasets_dir={folder / 'datasets'}"
    command = ["bash", "-euo", "pipefail", "-c", f"{settings}\n{script}"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=1500)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_demo_learns(tmp_path):
    create, install, *script = blocks("ci: demo", "bash")[0].splitlines()
    assert create.startswith("python -m venv") and install.startswith(".venv/bin/pip install")
    run_bash("\n".join(script).replace(".venv/bin/", ""), tmp_path)
    results = tmp_path / "runs" / "detect" / "train"
    assert (results / "weights" / "best.pt").is_file()
    with open(results / "results.csv", encoding="utf-8") as file:
        last = list(csv.DictReader(file, skipinitialspace=True))[-1]
    assert float(last["metrics/mAP50(B)"]) >= 0.5


@pytest.mark.slow
def test_quick_start(tmp_path, run_python):
    drawn = make_shapes(tmp_path / "drawn", train=1, val=3, imgsz=64)
    shutil.copytree(drawn / "images" / "val", tmp_path / "pictures")
    run_bash(blocks("run: quick", "bash")[0] + blocks("run: fusion", "bash")[0], tmp_path)
    runs = tmp_path / "runs"
    done = run_python(blocks("run: fusion", "python")[0], cwd=tmp_path)
    assert done.returncode == 0 and "P4_td P5_in 0." in done.stdout, done.stderr
    assert (tmp_path / "weights.svg").is_file() and (tmp_path / "weights.pdf").is_file()
    assert len((runs / "first" / "fusion_weights.csv").read_text(encoding="utf-8").splitlines()) == 2
    assert len(list((runs / "boxes").glob("*.jpg"))) == 3
    assert (runs / "first" / "weights" / "best.onnx").is_file()
    assert (runs / "second" / "weights" / "best.pt").is_file()


@pytest.mark.slow
def test_weights_of_efficientdet(tmp_path):
    torch.save(efficientdet("tf_efficientdet_d0").state_dict(), tmp_path / "tf_efficientdet_d0.pth")
    printed = run_bash(blocks("run: efficientdet", "bash")[0], tmp_path)
    assert len(re.findall(r"starts from .*tf_efficientdet_d0\.pth: (\d+) of \1 tensors loaded", printed)) == 2


@pytest.mark.slow
def test_option_in_a_copy(tmp_path):
    run_bash(blocks("run: option", "bash")[0], tmp_path)
    frozen, thawed = (YOLO(tmp_path / "runs" / name / "weights" / "best.pt").model for name in ("frozen", "thawed"))
    assert (frozen.model[0].frozen_stages, thawed.model[0].frozen_stages) == (7, -1)
    assert str(Path("runs", "frozen", "weights", "best.pt")) in thawed.model[0].weights_from


@pytest.mark.parametrize("code", blocks("run: python", "python"))
def test_python(code, run_python, tmp_path):
    done = run_python(code, cwd=tmp_path)
    assert done.returncode == 0 and "Warning" not in done.stderr, done.stderr


@pytest.mark.parametrize("text", blocks("run: yaml", "yaml"))
@pytest.mark.parametrize("scale", "ns")
def test_yaml(text, scale, model_yaml):
    file = model_yaml(text, "yolov5-mine.yaml").replace("yolov5-mine", f"yolov5{scale}-mine")
    assert YOLO(file).model.stride.tolist() == [8, 16, 32, 64]


@pytest.mark.slow
def test_own_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    drawn = make_shapes(tmp_path / "parts", train=8, val=4, imgsz=64)
    for file in drawn.rglob("labels/*/*.txt"):  # eight classes become two
        lines = file.read_text(encoding="utf-8").splitlines()
        file.write_text("".join(f"{int(line[0]) % 2}{line[1:]}\n" for line in lines), encoding="utf-8")
    (tmp_path / "parts.yaml").write_text(blocks("file: parts.yaml", "yaml")[0], encoding="utf-8")
    [line] = blocks("run: own data", "bash")[0].splitlines()
    entrypoint(line.replace("$PWD", str(tmp_path)).removeprefix("yolo "))
    assert YOLO(tmp_path / "runs" / "parts" / "weights" / "best.pt").names == {0: "bolt", 1: "nut"}


def test_small_data_from_random_weights_and_in_two_phases(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(blocks("run: small data", "python")[0], {})
    Path("small.yaml").write_text(blocks("file: small.yaml", "yaml")[0], encoding="utf-8")
    data = check_det_dataset("small.yaml", autodownload=False)
    assert data["names"] == dict(enumerate(CLASSES))
    assert [len(list(Path(data[split]).iterdir())) for split in ("train", "val")] == [32, 8]
    [command] = blocks("not run: tests/test_phases.py trains with such a freeze", "bash")
    given = dict(parse_key_value_pair(word) for word in shlex.split(command)[2:])
    assert given["data"] == "small.yaml" and first_phase(typed(given["freeze"])) == (10, 0.1)
    [command] = blocks("run: small data", "bash")
    entrypoint(" ".join(command.replace("\\\n", "").replace("$PWD", str(tmp_path)).split()))
    used = yaml.safe_load(Path("runs/small/args.yaml").read_text(encoding="utf-8"))
    assert [used[key] for key in ("freeze", "pretrained", "lr0", "nbs")] == [None, False, 0.003, 16]


@pytest.mark.slow
def test_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "110")
    YOLO("yolov5n-effdet.yaml").save("best.pt")
    picture = next(make_shapes(tmp_path / "drawn", train=1, val=1, imgsz=64).glob("images/val/*"))
    shutil.copy(picture, "picture.jpg")
    Path("mine.yaml").write_text(blocks("file: mine.yaml", "yaml")[0], encoding="utf-8")
    printed = ""
    for line in "".join(blocks("run: command", "bash")).splitlines():
        line, _, code = line.partition(" # exit code ")
        command, *arguments = shlex.split(line.partition(" > ")[0])
        assert command == "effyolo"
        try:
            assert main(arguments) == int(code or 0), line
        except SystemExit as end:  # of argparse, as for --print-completion
            assert not end.code
        out = capsys.readouterr().out
        assert out, line
        printed += out
    assert "P4_td" in printed and Path("weights.svg").is_file() and YOLO("pruned.pt").model.yaml["pruned"]
    lines = {" ".join(line.split()) for line in printed.splitlines()}
    shown = [" ".join(line.split()) for text in blocks("prints", "text") for line in text.splitlines()]
    assert [line for line in shown if line not in lines] == []


def test_every_command_is_run_or_says_why_not():
    pages = [README, *(page.read_text(encoding="utf-8") for page in (ROOT / "docs").glob("*.md"))]
    marker = r"<!-- (?:run|ci|commands|not run): .*-->\Z"
    texts = [text.rstrip().rpartition("\n")[2] for page in pages for text in page.split("```bash\n")[:-1]]
    assert [text for text in texts if not re.fullmatch(marker, text)] == []


def test_zoo_tables_are_those_of_the_index():
    records = model_records()
    assert [item.name for item in records] == list_models()
    for page, table in (("README.md", short_table(records)), ("docs/zoo.md", full_table(records))):
        assert f"zoo_table --write -->\n{table}<!-- end of" in (ROOT / page).read_text(encoding="utf-8"), page


@pytest.mark.parametrize("name", ["yolov5-effb0-bifpn.yaml", "yolov5-effb0-pan.yaml", "yolov5n-effdet.yaml"])
def test_index_is_what_the_models_are(name):
    assert [record(name)] == [item for item in model_records() if item.name == name]
