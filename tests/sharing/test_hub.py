"""A variant to a stand-in of the Hub and back, as huggingface_hub sends and fetches it."""

import json
import socket

import pytest
import torch
from sharing.hub_api import HubApi
from sharing.tiny import changed, variant, write_checkpoint
from ultralytics.nn.tasks import torch_safe_load
from weights.hub_standin import hub_env

import effyolo_ultra
from effyolo_ultra.sharing.contents import CARD, METADATA, MODEL, WEIGHTS, write_zip
from effyolo_ultra.sharing.tensors import tensors_of

# In one fresh process, since huggingface_hub reads its environment once. Each step is (function, args, options).
STEPS = """
import json, sys
import effyolo_ultra

def step(function, args, options):
    try:
        return str(getattr(effyolo_ultra, function)(*args, **options))
    except Exception as error:
        return f"{type(error).__name__}: {error}"

print(json.dumps([step(*given) for given in json.loads(sys.argv[1])]))
"""


@pytest.fixture
def steps(run_json, tmp_path):
    def run(endpoint, *given):
        env = {**hub_env(endpoint, tmp_path / "home"), "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": ""}
        return run_json(STEPS, json.dumps([[f, [str(a) for a in args], options] for f, args, options in given]), **env)

    return run


@pytest.fixture
def checkpoint(tmp_path):
    return write_checkpoint(tmp_path)


def tensors(path):
    checkpoint, _ = torch_safe_load(str(path))
    return tensors_of(checkpoint["model"])


def same(first, second):
    a, b = tensors(first), tensors(second)
    return a.keys() == b.keys() and all(a[n].dtype == b[n].dtype and torch.equal(a[n], b[n]) for n in a)


def test_what_was_pushed_is_pulled(steps, checkpoint, tmp_path):
    zipped = effyolo_ultra.pack(checkpoint, tmp_path / "v.zip")
    one, two, again = (tmp_path / name for name in ("one.pt", "two.pt", "again.pt"))
    writer = {"token": "w"}
    with HubApi({"w": "write", "r": "read"}) as hub:
        results = steps(
            hub.url,
            ("push", [zipped, "user/variant"], writer),
            ("pull", ["user/variant", one], {}),
            ("push", [zipped, "user/variant"], writer),
            ("push", [checkpoint, "user/variant"], {**writer, "overwrite": True}),
            ("pull", ["user/variant", one], {}),
            ("pull", ["user/variant", again], {"revision": "main"}),
            ("push", [checkpoint, "user/hidden"], {**writer, "private": True}),
            ("pull", ["user/hidden", two], {}),
            ("pull", ["user/hidden", two], {"token": "r"}),
        )
        assert not [request for request in hub.unknown if "user/" in request]
        for name in ("user/variant", "user/hidden"):
            files = hub.repos[name][-1]
            assert {".gitattributes", CARD, METADATA, MODEL, WEIGHTS} <= files.keys()
        assert len(hub.blobs) == 1 and hub.private == {"user/hidden"}
        assert len(hub.repos["user/variant"]) == 3  # made, and one commit for each push
    assert results[0] == results[3] == f"{hub.url}/user/variant"
    assert results[1] == str(one) and same(checkpoint, one) and same(checkpoint, again)
    assert results[2].startswith("FileExistsError: user/variant on the Hub holds")
    assert results[4].startswith("FileExistsError") and "is there already" in results[4]
    assert "no such repository, or it is private" in results[7]
    assert results[8] == str(two) and same(checkpoint, two)


@pytest.mark.slow
def test_what_the_hub_refuses_is_said_and_leaves_nothing(steps, checkpoint, tmp_path):
    files = variant(tmp_path)
    write_zip({**files, MODEL: b"nc: 1"}, tmp_path / "bad.zip")
    out = tmp_path / "out.pt"
    before = sorted(path.name for path in tmp_path.iterdir())
    with HubApi({"w": "write", "r": "read"}) as hub:
        hub.repos = {
            "user/other": [{"model.pt": b"a pickle"}],
            "user/bad": [changed(files, model_yaml=b"nc: 1")],
            "user/changed": [{**files, MODEL: b"nc: 1"}],
            "user/large": [{**files, METADATA: bytes(2**20 + 1)}],
            "user/broken": [files],
            "user/mine": [{}],
        }
        hub.fails = {"api/models/user/broken"}
        steps_and_errors = [
            (("pull", ["user/none", out], {}), "there is no such repository, or it is private"),
            (("pull", ["user/none", out], {"token": "r"}), "there is no such repository, or it is private"),
            (("pull", ["user/bad", out], {"revision": "v9"}), "it has no revision 'v9'"),
            (("pull", ["user/other", out], {}), "no shared variant: it has no variant.json"),
            (("pull", ["user/bad", out], {}), "'user/bad': model.yaml: 'channels' must be"),
            (("pull", ["user/changed", out], {}), "'user/changed': model.yaml was changed"),
            (("pull", ["user/large", out], {}), "more than 1,048,576 are not read"),
            (("pull", ["user/broken", out], {}), "the Hub answered with status 500"),
            (("pull", ["none", out], {}), "is named 'user/name'"),
            (("pull", ["user/a/b", out], {}), "is no repository of the Hub"),
            (("push", [checkpoint, "user/new"], {}), "the Hub does not know who you are"),
            (("push", [checkpoint, "user/new"], {"token": "r"}), "has no permission"),
            (("push", [checkpoint, "user/mine"], {"token": "r"}), "has no permission"),
            (("push", [tmp_path / "bad.zip", "user/new"], {"token": "w"}), "model.yaml was changed"),
        ]
        results = steps(hub.url, *(given for given, _ in steps_and_errors))
        for (given, expected), result in zip(steps_and_errors, results):
            assert expected in result and result.startswith("SharingError"), (given, result)
        assert "user/new" not in hub.repos and len(hub.repos["user/mine"]) == 1
        assert not any(".pt" in request for request in hub.requests)
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "home") == before


@pytest.mark.slow
def test_without_a_network(steps, checkpoint, tmp_path):
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound.getsockname()[1]}"
        pulled, pushed = steps(
            url, ("pull", ["user/x", tmp_path / "out.pt"], {}), ("push", [checkpoint, "user/x"], {"token": "w"})
        )
    for action, result in (("pull", pulled), ("push", pushed)):
        assert result.startswith(f"SharingError: cannot {action} user/x: {url} cannot be reached from here")
    assert not list(tmp_path.glob("*out*")) and not list(tmp_path.glob(".*"))


KILLED = """
import os, signal, sys
import effyolo_ultra

def watch(event, args):  # a file of the download, or the checkpoint, is written and about to get its name
    if event == "os.rename" and sys.argv[2] in str(args[1]):
        os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(watch)
effyolo_ultra.pull("user/variant", sys.argv[1], overwrite=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("at", ["blobs", "out.pt"])
def test_a_kill_leaves_nothing_under_the_final_name(at, run_python, tmp_path):
    files = variant(tmp_path)
    (tmp_path / "results").mkdir()
    out = tmp_path / "results" / "out.pt"
    out.write_text("old")
    with HubApi({}) as hub:
        hub.repos["user/variant"] = [files]
        env = {**hub_env(hub.url, tmp_path / "home"), "HF_HUB_DISABLE_XET": "1"}
        done = run_python(KILLED, str(out), "blobs" if at == "blobs" else str(out), **env)
        assert done.returncode == -9, done.stderr
    assert out.read_text() == "old"
    assert all(path == out or (path.name.startswith(".") and ".part" in path.name) for path in out.parent.iterdir())
