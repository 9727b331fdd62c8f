"""Weights come from the cache or from the hub, and where neither gives them that is said soon."""

import os
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import timm
import torch
from safetensors.torch import load_file, save
from weights.hub_standin import HubStandin, hub_env

MODEL = "tf_efficientnet_b0.ns_jft_in1k"
REPO = f"timm/{MODEL}"
WAYS_OUT = ("pretrained: <path>", "pretrained: false")
WAYS_TO_DOWNLOAD = ("connect this machine", "hf download", "HF_HOME")
URL_ONLY = """
from timm.models import generate_default_cfgs, register_model

default_cfgs = generate_default_cfgs({"own.a": {"url": sys.argv[2]}, "own.b": {"url": sys.argv[2], "custom_load": True}})

@register_model
def own(pretrained=False, **kwargs):
    pass
"""
FETCH = """
import sys, json, time, timm
from effyolo_ultra.weights.hub import fetch
{before}
began = time.monotonic()
try:
    result = {{"path": str(fetch(sys.argv[1]))}}
except Exception as error:
    result = {{"error": type(error).__name__, "message": str(error)}}
print(json.dumps({{**result, "seconds": time.monotonic() - began}}))
"""


@pytest.fixture(scope="module")
def state_dict():
    return timm.create_model("tf_efficientnet_b0").state_dict()


@pytest.fixture(scope="module")
def weights(state_dict):
    return save(state_dict)


@pytest.fixture
def fetch(run_json, tmp_path):
    """Fetch in a fresh process, since huggingface_hub reads its environment once."""

    def run(endpoint, model=MODEL, *args, before="", **env):
        return run_json(FETCH.format(before=before), model, *args, **{**hub_env(endpoint, tmp_path), **env})

    return run


@pytest.fixture
def no_hub():
    """Return the address of a port which nobody listens to."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


def test_a_fetched_file_is_in_timms_cache_and_is_not_asked_for_again(
    fetch, run_json, no_hub, state_dict, weights, tmp_path
):
    with HubStandin({REPO: {"model.safetensors": weights}}) as hub:
        first = fetch(hub.url)
        assert hub.requests.count(f"GET /{REPO}/resolve/main/model.safetensors") == 1
        asked = len(hub.requests)
        assert fetch(hub.url)["path"] == first["path"] and len(hub.requests) == asked
    loaded = load_file(first["path"])
    assert loaded.keys() == state_dict.keys()
    assert all(torch.equal(tensor, state_dict[name]) for name, tensor in loaded.items())

    without = fetch(no_hub, "tf_efficientnet_b0", HF_HUB_OFFLINE="1")  # without the tag, which is timm's default
    assert without["path"] == first["path"] and without["seconds"] < 2
    code = f"import timm; timm.create_model('{MODEL}', pretrained=True); print(1)"
    assert run_json(code, **{**hub_env(no_hub, tmp_path), "HF_HUB_OFFLINE": "1"}) == 1


def test_a_repository_without_safetensors(fetch, no_hub):
    with HubStandin({REPO: {"pytorch_model.bin": b"weights"}}) as hub:
        path = fetch(hub.url)["path"]
    assert path.endswith("pytorch_model.bin") and open(path, "rb").read() == b"weights"
    assert fetch(no_hub)["path"] == path


def test_offline_is_said_at_once(fetch, tmp_path):
    with HubStandin({REPO: {"model.safetensors": b"weights"}}) as hub:
        result = fetch(hub.url, HF_HUB_OFFLINE="1")
        assert not hub.requests
    assert result["error"] == "WeightsUnreachableError" and result["seconds"] < 2
    for part in (MODEL, "HF_HUB_OFFLINE", str(tmp_path / "hub"), hub.url, *WAYS_TO_DOWNLOAD, *WAYS_OUT):
        assert part in result["message"]


def test_a_hub_that_does_not_answer_is_given_up_within_ten_seconds(fetch, no_hub):
    black_hole, broken, slow = (
        socket.create_server(("127.0.0.1", 0)),
        HubStandin({}, status=503),
        HubStandin({}, drip_s=0.5),
    )
    with black_hole, broken, slow, ThreadPoolExecutor() as pool:
        silent = f"http://127.0.0.1:{black_hole.getsockname()[1]}"
        endpoints = {"refused": no_hub, "silent": silent, "broken": broken.url, "slow": slow.url}
        for name, endpoint, result in zip(endpoints, endpoints.values(), pool.map(fetch, endpoints.values())):
            assert result.get("error") == "WeightsUnreachableError", (name, result)
            assert result["seconds"] < 10, (name, result)
            for part in (MODEL, endpoint, "model.safetensors", *WAYS_TO_DOWNLOAD, *WAYS_OUT):
                assert part in result["message"], (name, part)


@pytest.mark.parametrize("files", [{}, {REPO: {"config.json": b"{}"}}], ids=["repository", "file"])
def test_no_such_file_on_the_hub(fetch, files):
    with HubStandin(files) as hub:
        result = fetch(hub.url)
    assert result["error"] == "WeightsError"
    for part in (MODEL, hub.url, REPO, "pytorch_model.bin", "404", *WAYS_OUT):
        assert part in result["message"]


@pytest.mark.parametrize(
    ("model", "hint"),
    [
        ("efficientnet_b8", "efficientnet_b8"),
        ("tf_efficientnet_b3.jft", "It has them for tf_efficientnet_b3.aa_in1k, tf_efficientnet_b3.ap_in1k"),
        ("tf_efficientnet_b33", "Did you mean tf_efficientnet_b3."),
    ],
)
def test_a_model_without_weights(model, hint):
    from effyolo_ultra.errors import WeightsError, WeightsUnreachableError
    from effyolo_ultra.weights.hub import fetch

    with pytest.raises(WeightsError) as raised:
        fetch(model)
    assert not isinstance(raised.value, WeightsUnreachableError)
    for part in (f"has no pretrained weights for {model}", hint, *WAYS_OUT):
        assert part in str(raised.value)


def test_a_killed_download_is_done_again(fetch, weights, tmp_path):
    code = FETCH.format(before="")
    with HubStandin({REPO: {"model.safetensors": weights}}, stall_at=len(weights) * 3 // 4) as hub:
        env = {**os.environ, **hub_env(hub.url, tmp_path)}
        with subprocess.Popen([sys.executable, "-c", code, MODEL], env=env, stderr=subprocess.DEVNULL) as process:
            assert hub.stalled.wait(60)
            process.kill()
        assert "error" in fetch(hub.url, HF_HUB_OFFLINE="1")
    with HubStandin({REPO: {"model.safetensors": weights}}) as hub:
        assert open(fetch(hub.url)["path"], "rb").read() == weights


def test_two_processes_at_once(fetch, weights):
    with HubStandin({REPO: {"model.safetensors": weights}}, stall_at=1000) as hub, ThreadPoolExecutor() as pool:
        results = pool.map(fetch, [hub.url] * 2)
        while len(hub.requests) < 5:  # each asks twice before it downloads, or waits for the other's download
            time.sleep(0.1)
        hub.go_on.set()
        first, second = results
    assert first["path"] == second["path"] and open(first["path"], "rb").read() == weights


def test_weights_at_a_url(fetch, no_hub, tmp_path):
    with HubStandin({"any/repo": {"own-600e.pth": b"weights"}}) as hub:
        url = f"{hub.url}/any/repo/resolve/main/own-600e.pth"
        path = fetch(no_hub, "own.a", url, before=URL_ONLY)["path"]
        custom = fetch(no_hub, "own.b", url, before=URL_ONLY)
        missing = fetch(no_hub, "own.a", url.replace("600e", "none"), before=URL_ONLY)
    assert path == str(tmp_path / "torch" / "hub" / "checkpoints" / "own-600e.pth")
    assert open(path, "rb").read() == b"weights"
    assert custom["error"] == "WeightsError" and "only timm's own loader" in custom["message"]
    assert missing["error"] == "WeightsError" and "404" in missing["message"]
    assert fetch(no_hub, "own.a", url, before=URL_ONLY)["path"] == path
    gone = fetch(no_hub, "own.a", url.replace("600e", "none"), before=URL_ONLY)
    assert gone["error"] == "WeightsUnreachableError" and gone["seconds"] < 10
    for part in ("own.a", "own-none.pth", "connect this machine", *WAYS_OUT):
        assert part in gone["message"]


def test_a_download_from_a_url_that_breaks_off_is_not_kept(fetch, no_hub, tmp_path):
    with HubStandin({"any/repo": {"own.pth": b"weights"}}, break_at=3) as hub:
        result = fetch(no_hub, "own.a", f"{hub.url}/any/repo/resolve/main/own.pth", before=URL_ONLY)
    assert result["error"] == "WeightsUnreachableError" and "after 3 of 7 bytes" in result["message"]
    assert not list((tmp_path / "torch").rglob("own*"))
