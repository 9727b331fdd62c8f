"""The folder of the shapes dataset: the same every time, never half made, never over somebody's files."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from effyolo_ultra.shapes import TASKS, make_shapes
from effyolo_ultra.shapes import folder as folder_module
from effyolo_ultra.shapes.dataset import MANIFEST
from effyolo_ultra.shapes.folder import SUFFIX, new_folder

ROOT = Path(__file__).resolve().parents[1]
SMALL = {"train": 4, "val": 2, "imgsz": 64}


def files(folder: Path, under: str = "") -> dict[str, str]:
    """Digest of every file below a folder."""
    found = sorted(file for file in (folder / under).rglob("*") if file.is_file())
    return {file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest() for file in found}


def start(path: Path, **arguments) -> subprocess.Popen:
    """Another process that makes a dataset."""
    code = f"from effyolo_ultra.shapes import make_shapes; make_shapes({str(path)!r}, **{arguments!r})"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "1", "EFFYOLO_ULTRA_NO_AUTOLOAD": "1"}
    return subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=subprocess.PIPE, text=True)


def wait_until_drawing(parent: Path, process: subprocess.Popen) -> Path:
    """The hidden folder in which a process is at work, once it holds some pictures."""
    for _ in range(600):
        assert process.poll() is None, process.stderr.read()
        for folder in parent.glob(f".*{SUFFIX}"):
            if len(list(folder.glob("images/train/*.jpg"))) > 3:
                return folder
        time.sleep(0.05)
    raise AssertionError("no picture within 30 s")


def test_writes_a_complete_folder(tmp_path):
    target = tmp_path / "new" / "shapes"
    assert make_shapes(str(target), **SMALL) == target.resolve()
    expected = {f"images/{s}/{k:06d}.jpg" for s, n in (("train", 4), ("val", 2)) for k in range(n)}
    expected |= {name.replace("images", "labels").replace("jpg", "txt") for name in expected}
    assert set(files(target)) == expected | {MANIFEST}
    assert os.listdir(target.parent) == ["shapes"]
    assert cv2.imread(str(target / "images/val/000001.jpg")).shape == (64, 64, 3)
    manifest = json.loads((target / MANIFEST).read_text())
    assert manifest["generator"] == "effyolo_ultra.shapes" and manifest["arguments"] == {
        **SMALL,
        "task": "detect",
        "seed": 0,
    }
    (tmp_path / "plain").mkdir()
    assert target.stat().st_mode == (tmp_path / "plain").stat().st_mode, "others may read it as any folder"


def test_same_arguments_same_files(tmp_path):
    make_shapes(tmp_path / "here", **SMALL)
    process = start(tmp_path / "there", **SMALL)
    assert process.wait(60) == 0, process.stderr.read()
    assert files(tmp_path / "here") == files(tmp_path / "there")


def test_what_a_picture_depends_on(tmp_path):
    def made(name: str, **changes) -> dict[str, str]:
        found = files(make_shapes(tmp_path / name, **{**SMALL, **changes}))
        del found[MANIFEST]
        return found

    base = made("base")
    pictures = [digest for name, digest in base.items() if name.startswith("images")]
    assert len(set(pictures)) == len(pictures), "train and val share pictures"
    more = made("more", train=6, val=3)
    assert base.items() < more.items(), "pictures depend on how many there are"
    other = made("seed", seed=1)
    assert not set(base.values()) & set(other.values())
    finer = made("finer", imgsz=96)
    changed = {name for name in base if base[name] != finer[name]}
    assert changed == {name for name in base if name.startswith("images")}, "labels depend on the image size"
    for task in TASKS[1:]:
        same = made(task, task=task)
        changed = {name for name in base if base[name] != same[name]}
        assert changed == {name for name in base if name.startswith("labels")}, task


def test_made_before_is_left_alone(tmp_path):
    target = make_shapes(tmp_path / "shapes", **SMALL)
    (target / "labels" / "train.cache").write_text("Ultralytics writes such files")
    before = {file: file.stat().st_mtime_ns for file in target.rglob("*")}
    make_shapes(target, **SMALL)
    assert {file: file.stat().st_mtime_ns for file in target.rglob("*")} == before


def test_empty_folder_and_link_are_filled(tmp_path):
    (tmp_path / "empty").mkdir()
    make_shapes(tmp_path / "empty", **SMALL)
    (tmp_path / "real").mkdir()
    try:
        (tmp_path / "link").symlink_to(tmp_path / "real", target_is_directory=True)
    except OSError:
        pytest.skip("no symbolic links here")
    make_shapes(tmp_path / "link", **SMALL)
    assert (tmp_path / "link").is_symlink() and files(tmp_path / "real") == files(tmp_path / "empty")


def _foreign_file(target: Path) -> None:
    target.write_text("a file")


def _foreign_folder(target: Path) -> None:
    target.mkdir()
    (target / "thesis.txt").write_text("years of work")


def _foreign_manifest(target: Path) -> None:
    target.mkdir()
    (target / MANIFEST).write_text('{"generator": "somebody", "version": 1, "arguments": {}}')


def _broken_manifest(target: Path) -> None:
    target.mkdir()
    (target / MANIFEST).write_text("[1, ")


def _odd_manifest(target: Path) -> None:
    target.mkdir()
    (target / MANIFEST).write_text("[1]")


def _other_arguments(target: Path) -> None:
    make_shapes(target, **{**SMALL, "seed": 5, "train": 3})


def _other_version(target: Path) -> None:
    make_shapes(target, **SMALL)
    text = (target / MANIFEST).read_text()
    (target / MANIFEST).write_text(re.sub(r'"version": \d+', '"version": 0', text))


def _incomplete(target: Path) -> None:
    make_shapes(target, **SMALL)
    (target / "labels" / "val" / "000001.txt").unlink()
    (target / "images" / "val" / "000001.jpg").unlink()


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (_foreign_file, "was not made by this package.*choose another path"),
        (_foreign_folder, "was not made by this package.*choose another path"),
        (_foreign_manifest, "was not made by this package"),
        (_broken_manifest, "was not made by this package"),
        (_odd_manifest, "was not made by this package"),
        (_other_arguments, "train is 3 there, 4 asked for, seed is 5 there, 0 asked for; delete that folder"),
        (_other_version, "version 0 of the shapes.*delete that folder"),
        (_incomplete, r"lacks 2 of its files, such as images/val/000001\.jpg; delete that folder"),
    ],
)
def test_refuses_what_it_would_have_to_replace(tmp_path, prepare, message):
    prepare(tmp_path / "shapes")
    before = files(tmp_path)
    with pytest.raises(FileExistsError, match=message):
        make_shapes(tmp_path / "shapes", **SMALL)
    assert files(tmp_path) == before
    assert os.listdir(tmp_path) == ["shapes"]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {"task": "segmemt"},
            ValueError,
            "task must be one of detect, segment, pose, obb, not 'segmemt'.*mean segment",
        ),
        ({"task": None}, ValueError, "task must be one of"),
        ({"train": 0}, ValueError, "train must be from 1 to 1000000, not 0"),
        ({"val": -1}, ValueError, "val must be from 1"),
        ({"imgsz": 16}, ValueError, "imgsz must be from 32 to 4096, not 16"),
        ({"seed": 2**32}, ValueError, "seed must be from 0 to 4294967295"),
        ({"train": 2.5}, TypeError, r"train must be an integer from 1 to 1000000, not 2\.5"),
        ({"val": "10"}, TypeError, "val must be an integer"),
        ({"seed": True}, TypeError, "seed must be an integer"),
        ({"imgsz": None}, TypeError, "imgsz must be an integer"),
        ({"path": 3}, TypeError, "path must be a str or a path, not int"),
    ],
)
def test_argument_errors(tmp_path, arguments, error, message):
    with pytest.raises(error, match=f"make_shapes: {message}"):
        make_shapes(**{"path": tmp_path / "shapes", **arguments})
    assert os.listdir(tmp_path) == []


def test_numpy_integers_are_integers(tmp_path):
    target = make_shapes(tmp_path / "shapes", train=np.int64(2), val=np.uint8(1), imgsz=np.int32(64))
    assert json.loads((target / MANIFEST).read_text())["arguments"]["train"] == 2


@pytest.mark.skipif(os.name == "nt", reason="SIGINT cannot be sent to one process on Windows")
def test_interrupt_leaves_nothing(tmp_path):
    process = start(tmp_path / "shapes", train=5000)
    wait_until_drawing(tmp_path, process)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) != 0
    assert "KeyboardInterrupt" in process.stderr.read()
    assert os.listdir(tmp_path) == []


def test_kill_leaves_nothing_that_the_next_call_does_not_remove(tmp_path):
    process = start(tmp_path / "shapes", train=5000)
    leftover = wait_until_drawing(tmp_path, process)
    process.kill()
    process.wait(30)
    assert leftover.exists() and not (tmp_path / "shapes").exists()
    for name in (
        f"{leftover.name[:-8]}0{SUFFIX}",
        f".other.host.0{SUFFIX}",
    ):  # alike, but somebody's or of another target
        (tmp_path / name).mkdir()
        (tmp_path / name / "thesis.txt").write_text("years of work")
    make_shapes(tmp_path / "shapes", **SMALL)
    expected = {"shapes", f"{leftover.name[:-8]}0{SUFFIX}", f".other.host.0{SUFFIX}"}
    assert set(os.listdir(tmp_path)) == expected
    assert len(files(tmp_path / "shapes", "images")) == 6


def test_several_processes_at_once(tmp_path):
    arguments = {"train": 40, "val": 5, "imgsz": 96}
    processes = [start(tmp_path / "shapes", **arguments) for _ in range(3)]
    for process in processes:
        assert process.wait(120) == 0, process.stderr.read()
    assert os.listdir(tmp_path) == ["shapes"]
    assert files(tmp_path / "shapes") == files(make_shapes(tmp_path / "alone", **arguments))


def test_does_not_disturb_a_process_at_work(tmp_path):
    process = start(tmp_path / "shapes", train=150)
    wait_until_drawing(tmp_path, process)
    with pytest.raises(FileExistsError, match="train is 150 there, 4 asked for"):
        make_shapes(tmp_path / "shapes", **SMALL)  # waits for the other one
    assert process.wait(60) == 0, process.stderr.read()
    assert len(files(tmp_path / "shapes", "images/train")) == 150
    assert os.listdir(tmp_path) == ["shapes"]


def test_works_where_files_cannot_be_locked(tmp_path, monkeypatch):
    def no_locks(descriptor):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(folder_module, "_hold", no_locks)
    at_work = tmp_path / f"{folder_module._prefix(tmp_path / 'shapes')}0{SUFFIX}"
    (at_work / "images").mkdir(parents=True)
    make_shapes(tmp_path / "shapes", **SMALL)
    assert sorted(os.listdir(tmp_path)) == sorted(["shapes", at_work.name]), "it may be somebody's who is at work"


def test_new_folder_does_not_replace_what_came_meanwhile(tmp_path):
    target = tmp_path / "shapes"
    with pytest.raises(OSError), new_folder(target) as folder:
        (folder / "ours.txt").write_text("")
        _foreign_folder(target)
    assert os.listdir(tmp_path) == ["shapes"] and os.listdir(target) == ["thesis.txt"]
