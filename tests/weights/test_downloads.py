"""The stock command against a stand-in of the hub: what asks it for weights, and what does not."""

import os
import subprocess
import sysconfig
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save
from small_data import write_small_data
from weights.hub_standin import HubStandin, hub_env

pytestmark = pytest.mark.slow
REPO = "timm/tf_efficientnet_b0.ns_jft_in1k"
QUICK = ["imgsz=64", "device=cpu"]
TRAIN = ["data=small.yaml", "epochs=1", "batch=4", "plots=False", *QUICK]


@pytest.fixture
def folder(tmp_path):
    write_small_data(tmp_path)
    return tmp_path


def yolo(folder, hub, home, *args):
    """Run the stock command and return what it printed, and how often it asked for the weights."""
    before = len(hub.requests)
    command = [str(Path(sysconfig.get_path("scripts"), "yolo")), *args, f"project={folder / 'runs'}"]
    environment = {**os.environ, **hub_env(hub.url, folder / home)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr, sum(REPO in request for request in hub.requests[before:])


def test_only_a_training_from_a_yaml_asks_for_weights(folder):
    torch.manual_seed(1)
    weights = timm.create_model("tf_efficientnet_b0").state_dict()
    with HubStandin({REPO: {"model.safetensors": save(weights)}}) as hub:
        model = "model=yolov5-effb0-bifpn.yaml"
        printed, asked = yolo(folder, hub, "first", "train", model, *TRAIN, "name=a", "lr0=1e-9", "optimizer=SGD")
        assert asked and f"starts from {REPO.split('/')[1]}: 352 of 352 tensors loaded" in printed
        best = folder / "runs" / "a" / "weights" / "best.pt"
        trained = torch.load(best, weights_only=False)["model"].model[0].body.conv_stem.weight
        torch.testing.assert_close(trained.float(), weights["conv_stem.weight"], rtol=1e-2, atol=1e-3)

        model = f"model={best}"
        for name, args in {
            "tune": ["train", model, *TRAIN, "name=b"],
            "val": ["val", model, "data=small.yaml", *QUICK],
            "predict": ["predict", model, f"source={folder / 'small' / 'images' / 'val'}", *QUICK],
            "export": ["export", model, "format=torchscript", *QUICK],
            "no weights": ["train", "model=yolov5-effb0-bifpn.yaml", *TRAIN, "name=c", "pretrained=False"],
        }.items():
            # With an empty cache, so that a request would be needed.
            assert yolo(folder, hub, f"empty {name}", *args)[1] == 0, name
        assert yolo(folder, hub, "first", "train", "model=yolov5-effb0-bifpn.yaml", *TRAIN, "name=d")[1] == 0
