"""Weights come from the cache or from the hub, and where neither gives them that is said soon."""

import json
import os
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import huggingface_hub
import pytest
import timm
import torch
from safetensors.torch import load_file, save
from weights.hub_standin import HubStandin, hub_env

MODEL = "tf_efficientnet_b0.ns_jft_in1k"
REPO = f"timm/{MODEL}"
WAYS_OUT = ("pretrained: <path>", "pretrained: false")
WAYS_TO_DOWNLOAD = ("connect this machine", "hf download", "HF_HOME")
FETCH = """
import json, os, sys, time, timm
from effyolo_ultra.weights.hub import fetch

def attempt(model):
    began = time.monotonic()
    try:
        result = {"path": str(fetch(model))}
    except Exception as error:
        result = {"error": type(error).__name__, "message": str(error)}
    return {**result, "seconds": time.monotonic() - began}

def report():
    print(json.dumps([attempt(model) for model in sys.argv[1:]]))
"""
OWN_URLS = """
from timm.models import generate_default_cfgs, register_model

default_cfgs = generate_default_cfgs({f"own.{tag}": cfg for tag, cfg in json.loads(os.environ["OWN"]).items()})

@register_model
def own(pretrained=False, **kwargs):
    pass
"""


@pytest.fixture(scope="module")
def state_dict():
    return timm.create_model("tf_efficientnet_b0").state_dict()


@pytest.fixture(scope="module")
def weights(state_dict):
    return save(state_dict)


@pytest.fixture
def fetch(run_json, tmp_path):
    """Fetch models in a fresh process, since huggingface_hub reads its environment once."""

    def run(endpoint, *models, before="", after="", **env):
        code = f"{FETCH}\n{before}\nreport()\n{after}"
        return run_json(code, *models, **{**hub_env(endpoint, tmp_path), **env})

    return run


@pytest.fixture
def no_hub():
    """Return the address of a port which nobody listens to."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


def test_a_fetched_file_is_in_timms_cache_and_is_not_asked_for_again(fetch, state_dict, weights, tmp_path):
    with HubStandin({REPO: {"model.safetensors": weights}}) as hub:
        first, second = fetch(hub.url, MODEL, MODEL)
    head, get = (f"{method} /{REPO}/resolve/main/model.safetensors" for method in ("HEAD", "GET"))
    assert [request for request in hub.requests if REPO in request] == [head, head, get]
    assert second["path"] == first["path"]
    loaded = load_file(first["path"])
    assert loaded.keys() == state_dict.keys()
    assert all(torch.equal(tensor, state_dict[name]) for name, tensor in loaded.items())

    load = f"timm.create_model('{MODEL}', pretrained=True)"  # from the same file
    with HubStandin({}) as hub:  # MODEL's tag is the default one
        cached, other = fetch(hub.url, "tf_efficientnet_b0", "test_vit", after=load, HF_HUB_OFFLINE="1")
    assert cached["path"] == first["path"] and cached["seconds"] < 2
    assert other["error"] == "WeightsUnreachableError" and other["seconds"] < 2
    assert not hub.requests
    for part in ("test_vit", "HF_HUB_OFFLINE", str(tmp_path / "hub"), hub.url, *WAYS_TO_DOWNLOAD, *WAYS_OUT):
        assert part in other["message"]


def test_a_hub_that_does_not_answer_is_given_up_within_ten_seconds(fetch, no_hub):
    black_hole, broken, slow = (
        socket.create_server(("127.0.0.1", 0)),
        HubStandin({}, status=503),
        HubStandin({}, drip_s=0.5),
    )
    with black_hole, broken, slow, ThreadPoolExecutor() as pool:
        silent = f"http://127.0.0.1:{black_hole.getsockname()[1]}"
        endpoints = {"refused": no_hub, "silent": silent, "broken": broken.url, "slow": slow.url}
        results = pool.map(fetch, endpoints.values(), [MODEL] * len(endpoints))
        for (name, endpoint), (result,) in zip(endpoints.items(), results):
            assert result.get("error") == "WeightsUnreachableError", (name, result)
            assert result["seconds"] < 10, (name, result)
            for part in (MODEL, endpoint, "model.safetensors", *WAYS_TO_DOWNLOAD, *WAYS_OUT):
                assert part in result["message"], (name, part)


def test_what_a_repository_has(fetch):
    files = {
        "timm/test_vit.r160_in1k": {"config.json": b"{}"},
        "timm/test_resnet.r160_in1k": {"pytorch_model.bin": b"1"},
    }
    with HubStandin(files) as hub:
        no_repository, no_file, old_format, cached = fetch(hub.url, MODEL, "test_vit", "test_resnet", "test_resnet")
    for result, repo in ((no_repository, REPO), (no_file, "timm/test_vit.r160_in1k")):
        assert result["error"] == "WeightsError"
        for part in (hub.url, repo, "pytorch_model.bin", "404", *WAYS_OUT):
            assert part in result["message"]
    assert Path(old_format["path"]).read_bytes() == b"1" and cached["path"] == old_format["path"]
    assert sum("test_resnet" in request for request in hub.requests) == 4


@pytest.mark.parametrize(
    ("model", "hint"),
    [
        ("efficientnet_b8", "Did you mean efficientnet_b"),
        ("tf_efficientnet_b3.jft", "It has them for tf_efficientnet_b3.aa_in1k, tf_efficientnet_b3.ap_in1k"),
        ("tf_efficientnet_b33", "Did you mean tf_efficientnet_b3"),
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


def test_a_killed_download_is_done_again_by_two_processes_at_once(fetch, weights, tmp_path):
    with HubStandin({REPO: {"model.safetensors": weights}}, stall_at=len(weights) * 3 // 4) as hub:
        env = {**os.environ, **hub_env(hub.url, tmp_path)}
        command = [sys.executable, "-c", f"{FETCH}\nreport()", MODEL]
        with subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL) as process:
            assert hub.stalled.wait(60)
            process.kill()
    assert huggingface_hub.try_to_load_from_cache(REPO, "model.safetensors", cache_dir=tmp_path / "hub") is None
    with HubStandin({REPO: {"model.safetensors": weights}}, stall_at=1000) as hub, ThreadPoolExecutor() as pool:
        results = pool.map(fetch, [hub.url] * 2, [MODEL] * 2)
        while sum("HEAD" in request for request in hub.requests) < 4:  # each asks twice before it downloads or waits
            time.sleep(0.1)
        hub.go_on.set()
        (first,), (second,) = results
    assert first["path"] == second["path"] and Path(first["path"]).read_bytes() == weights


def test_weights_at_a_url(fetch, no_hub, tmp_path):
    files = {"own": {"own-600e.pth": b"weights", "broken.pth": b"weights"}}
    with HubStandin(files) as hub, HubStandin(files, break_at=3) as breaking:
        path = "own/resolve/main"
        own = {
            "whole": {"url": f"{hub.url}/{path}/own-600e.pth"},
            "custom": {"url": f"{hub.url}/{path}/own-600e.pth", "custom_load": True},
            "missing": {"url": f"{hub.url}/{path}/missing.pth"},
            "broken": {"url": f"{breaking.url}/{path}/broken.pth"},
            "gone": {"url": f"{no_hub}/{path}/gone.pth"},
        }
        models = [f"own.{tag}" for tag in (*own, "whole")]
        results = fetch(no_hub, *models, before=OWN_URLS, OWN=json.dumps(own))
    whole, custom, missing, broken, gone, again = results
    assert hub.requests.count(f"GET /{path}/own-600e.pth") == 2  # one for the size, one for the file
    assert Path(whole["path"]).read_bytes() == b"weights" and again["path"] == whole["path"]
    assert [path.name for path in (tmp_path / "torch/hub/checkpoints").iterdir()] == ["own-600e.pth"]
    assert custom["error"] == "WeightsError" and "only timm's own loader" in custom["message"]
    assert missing["error"] == "WeightsError" and "404" in missing["message"]
    assert broken["error"] == "WeightsUnreachableError" and "after 3 of 7 bytes" in broken["message"]
    assert gone["error"] == "WeightsUnreachableError" and gone["seconds"] < 10
    for part in ("own.gone", own["gone"]["url"], "connect this machine", *WAYS_OUT):
        assert part in gone["message"]
