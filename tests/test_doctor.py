"""What the doctor finds here, and what it finds where something is wrong."""

import os
import sys
from pathlib import Path

import pytest
from huggingface_hub import constants
from weights.hub_standin import HubStandin

from effyolo_ultra import _ultralytics, diagnose, model_records
from effyolo_ultra.doctor import hook, look, machine, versions, weights


def by_name(findings):
    return {finding.name: finding for finding in findings}


@pytest.fixture(scope="module")
def findings():
    return by_name(diagnose())


def test_every_finding_has_a_form(findings):
    assert {finding.topic for finding in findings.values()} == {"versions", "hook", "weights", "machine"}
    for finding in findings.values():
        assert finding.state in ("ok", "note", "warning", "problem") and finding.text
        assert finding.advice or finding.state in ("ok", "note"), finding


def test_every_function_is_extended(findings):
    assert [findings[name].text for name in hook.WRAPPED] == [
        f"{len(attributes)} of {len(attributes)} functions extended" for attributes in hook.WRAPPED.values()
    ]


def test_every_wrapped_function_is_looked_at():
    source = Path(_ultralytics.__file__).read_text(encoding="utf-8")
    assert source.count("\n    wrap(") + source.count("\n        wrap(") == sum(map(len, hook.WRAPPED.values()))


def test_requirements():
    lines = ["timm>=1.0.22", "torch<1", "not-there-at-all>=3", "not-there-either; extra == 'test'"]
    found = by_name(versions.requirements(lines))
    assert [finding.state for finding in found.values()] == ["ok", "problem", "problem"]
    assert "is not supported: <1" in found["torch"].text
    assert found["not-there-at-all"].advice == "pip install 'not-there-at-all>=3'"
    assert versions.python(">=3.99").state == "problem" and versions.python(">=3.9").state == "ok"


def told(**changes):
    wrapped = {f"{name}.{attribute}": True for name, names in hook.WRAPPED.items() for attribute in names}
    return {"started": True, "wrapped": wrapped, "faults": {}, "error": "", "files": ["/site"], **changes}


@pytest.mark.parametrize(
    ("changes", "name", "text"),
    [
        ({"files": []}, "start-up file", "no effyolo_ultra.pth"),
        ({"error": "ImportError: no cv2"}, "hook", "no cv2"),
        ({"faults": {"ultralytics.nn.tasks": "parse_model takes (d)"}}, "ultralytics.nn.tasks", "parse_model takes"),
        (
            {"wrapped": {"ultralytics.data.utils.check_file": False}},
            "ultralytics.data.utils",
            "not extended: ultralytics.data.utils.check_file",
        ),
    ],
)
def test_hook_that_does_not_work(changes, name, text):
    found = by_name(hook.of_interpreter(told(**changes)))[name]
    assert found.state == "problem" and text in found.text and found.advice


@pytest.mark.skipif(os.name == "nt", reason="scripts are programs there")
class TestCommand:
    @pytest.fixture
    def script(self, tmp_path, monkeypatch):
        """Put a `yolo` command on PATH, with the given first lines, and a Python that does as told."""
        monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/usr/bin{os.pathsep}/bin")

        def write(head, answer=""):
            for name, text in (("yolo", head), ("python3", f"#!/bin/sh\n{answer}\n")):
                (tmp_path / name).write_text(text.format(folder=tmp_path), encoding="utf-8")
                (tmp_path / name).chmod(0o755)

        return write

    def test_own(self, script):
        script(f"#!{sys.executable}\n")
        assert hook.command().state == "ok"

    @pytest.mark.parametrize("head", ["#!{folder}/python3\n", "#!/bin/sh\n'''exec' \"{folder}/python3\" \"$0\"\n"])
    @pytest.mark.parametrize(
        ("answer", "state"),
        [("echo '{{\"started\": false}}'", "problem"), ("echo '{{\"started\": true}}'", "note"), ("exit 3", "problem")],
    )
    def test_of_another_environment(self, script, head, answer, state):
        script(head, answer)
        found = hook.command()
        assert found.state == state and "another environment" in found.text

    def test_none(self, tmp_path, monkeypatch):
        monkeypatch.setenv("PATH", str(tmp_path))
        assert hook.command().state == "warning"

    def test_not_known(self, script):
        script("\x7fELF")
        assert hook.command().state == "note"


def test_cache(tmp_path):
    assert "not there yet" in weights.cache("cache", tmp_path / "none", "*").text
    blobs = tmp_path / "models--timm--x" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / "a").write_bytes(bytes(3_000_000))
    (tmp_path / "link").symlink_to(blobs / "a")
    assert weights.cache("cache", tmp_path, "*").text == f"{tmp_path}, 3 MB of timm's weights"


def test_backbones_of_the_zoo(findings):
    assert weights.of_zoo([], 3, False).state == "ok"
    assert weights.of_zoo(["b0"], 3, False).state == "note"
    found = weights.of_zoo(["b0"], 3, True)
    assert found.state == "warning" and found.text == "2 of 3 on this machine; not here: b0"
    backbones = {record.backbone for record in model_records()}
    assert f" of {len(backbones)} on this machine" in findings["backbones of the zoo"].text


def test_hub(monkeypatch):
    """A server that has the weights of B0, and none of B1."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with HubStandin({"timm/tf_efficientnet_b0.ns_jft_in1k": {"model.safetensors": b"0"}}) as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"{server.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        )
        there, missing = weights.hub("tf_efficientnet_b0"), weights.hub("tf_efficientnet_b1")
    assert there.state == "ok" and server.url in there.text
    assert missing.state == "warning" and "404" in missing.text and "cache" in missing.advice
    assert not [r for r in server.requests if r.startswith("GET") and "/resolve/" in r]  # only asked, not downloaded


def test_hub_that_must_not_be_asked():
    found = weights.hub("tf_efficientnet_b0")  # no test asks the real one: HF_HUB_OFFLINE is set
    assert found.state == "warning" and "HF_HUB_OFFLINE is set" in found.text


def test_folders(tmp_path):
    assert machine.folder("runs_dir", tmp_path / "not" / "yet", "move", "problem").state == "ok"
    (tmp_path / "file").touch()
    found = machine.folder("runs_dir", tmp_path / "file" / "runs", "move", "problem")
    assert (found.state, found.advice) == ("problem", "move") and "a file of this name" in found.text


def test_folder_on_a_drive_that_is_gone(monkeypatch, tmp_path):
    for question in ("exists", "is_dir"):
        monkeypatch.setattr(Path, question, lambda path: False)
    found = machine.folder("runs_dir", tmp_path / "runs", "move", "problem")
    assert found.state == "problem" and f"there is no {tmp_path.anchor}" in found.text
    assert machine.disk(tmp_path / "runs").state == "note"


@pytest.mark.parametrize(("least", "too_little", "state"), [(0, 0, "ok"), (1e9, 0, "warning"), (1e9, 1e9, "problem")])
def test_disk(monkeypatch, tmp_path, least, too_little, state):
    monkeypatch.setattr(machine, "LITTLE_GB", least)
    monkeypatch.setattr(machine, "TOO_LITTLE_GB", too_little)
    assert machine.disk(tmp_path / "runs").state == state


def test_topic_that_fails_is_a_problem():
    [found] = look("machine", True)  # it takes no argument
    assert found.state == "problem" and "TypeError" in found.text and found.advice
