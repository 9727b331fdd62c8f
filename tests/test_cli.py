"""The main job with the stock `yolo` command, from a directory outside the checkout."""

import os
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest
import torch
from small_data import write_small_data
from ultralytics import YOLO

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("command")]  # one process trains for all of them

YOLO_COMMAND = str(Path(sysconfig.get_path("scripts")) / "yolo")
ROOT = Path(__file__).parent.parent
MODELS = ["yolov5n-effnet-bifpn.yaml", "yolov5n-effdet.yaml"]  # with a neck row by row, and with one module
QUICK = ["imgsz=64", "batch=8", "workers=0", "device=cpu", "plots=False"]


def yolo(folder, *args, check=True):
    done = subprocess.run([YOLO_COMMAND, *args], cwd=folder, capture_output=True, text=True, timeout=900)
    if check:
        assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A directory outside the checkout with a small data set."""
    folder = tmp_path_factory.mktemp("elsewhere")
    write_small_data(folder, train=24, val=8, imgsz=96)
    return folder


@pytest.fixture(scope="module", params=MODELS)
def trained(folder, request):
    """The best.pt of one epoch."""
    name = Path(request.param).stem
    yolo(
        folder,
        "train",
        f"model={request.param}",
        "data=small.yaml",
        "epochs=1",
        f"project={folder / 'runs'}",
        f"name={name}",
        *QUICK,
    )
    return next(folder.rglob(f"{name}/weights/best.pt"))


def test_val_and_predict(folder, trained):
    done = yolo(folder, "val", f"model={trained}", "data=small.yaml", *QUICK)
    assert "mAP50" in done.stdout + done.stderr
    pictures = folder / "small" / "images" / "val"
    yolo(
        folder,
        "predict",
        f"model={trained}",
        f"source={pictures}",
        "imgsz=64",
        "device=cpu",
        f"project={trained.parent}",
        "name=out",
    )
    drawn = list((trained.parent / "out").glob("*.jpg"))
    assert len(drawn) == len(list(pictures.iterdir())) == 8


@pytest.mark.parametrize("format_", ["onnx", "torchscript"])
def test_exported_file_in_its_own_runtime_gives_the_same_output(folder, trained, format_):
    done = yolo(folder, "export", f"model={trained}", f"format={format_}", "imgsz=64", "device=cpu")
    assert "Constant folding" not in done.stderr
    file = trained.with_suffix(f".{format_}")
    image = torch.rand(1, 3, 64, 64)
    model = YOLO(trained).model.float().fuse(verbose=False).eval()
    with torch.no_grad():
        expected = model(image)[0].numpy()
    if format_ == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        output = session.run(None, {session.get_inputs()[0].name: image.numpy()})[0]
    else:
        output = torch.jit.load(str(file))(image).numpy()
    np.testing.assert_allclose(output, expected, atol=1e-3, rtol=1e-3)


def test_fine_tune_starts_from_the_weights(folder, trained):
    name = f"tuned-{trained.parts[-3]}"
    done = yolo(
        folder,
        "train",
        f"model={trained}",
        "data=small.yaml",
        "epochs=1",
        f"project={folder / 'runs'}",
        f"name={name}",
        "optimizer=SGD",
        "lr0=1e-9",
        "warmup_epochs=0",
        *QUICK,
    )
    printed = done.stdout + done.stderr
    tuned, before = (YOLO(p).model for p in (next(folder.rglob(f"{name}/weights/best.pt")), trained))
    counted = [line for line in printed.splitlines() if "Transferred" in line]
    if counted:  # by version: it names what was taken over
        taken, total = counted[-1].split("Transferred ")[1].split()[0].split("/")
        assert taken == total
    for (key, a), b in zip(before.named_parameters(), tuned.parameters()):
        torch.testing.assert_close(b, a, rtol=0.01, atol=0.01, msg=key)


@pytest.mark.skipif(os.name == "nt", reason="no limits on the size of files")
def test_killed_training_resumes(folder):
    """Killed in the middle of writing last.pt; then its disk is full in the middle of it; then it goes on."""
    run = folder / "runs" / "killed"
    last = run / "weights" / "last.pt"
    for model, how, status in (("yolov5n-effdet.yaml", "kill", -signal.SIGXFSZ), (str(last), "full", 1)):
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.kills.limited", model, str(run), "--how", how],
            cwd=folder,
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            timeout=600,
        )
        assert done.returncode == status, done.stdout + done.stderr
        assert torch.load(last, weights_only=False)["epoch"] == 0
    assert f"File too large: '{last}'" in done.stderr and not list(last.parent.glob(".*"))
    printed = yolo(folder, "train", "resume=True", f"model={last}")
    assert "Resuming training" in printed.stdout + printed.stderr
    epochs = [line.split(",")[0].strip() for line in (run / "results.csv").read_text().splitlines()[1:]]
    # Ultralytics writes the row of an epoch before its checkpoint: such an epoch is trained again.
    assert epochs == ["1", "2", "2", "2", "3"]


def test_module_form_of_the_command(folder):
    command = [sys.executable, "-m", "ultralytics.cfg.__init__", "export", "model=yolov5n-effdet.yaml", "imgsz=64"]
    done = subprocess.run([*command, "format=torchscript"], cwd=folder, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "yolov5n-effdet.torchscript" in done.stdout + done.stderr


def test_spawned_child(folder):
    code = (
        "import multiprocessing as mp\n"
        "def job(queue):\n"
        "    from ultralytics import YOLO\n"
        "    queue.put(type(YOLO('yolov5n-effdet.yaml').model.model[1]).__name__)\n"
        "if __name__ == '__main__':\n"
        "    context = mp.get_context('spawn')\n"
        "    queue = context.Queue()\n"
        "    child = context.Process(target=job, args=(queue,))\n"
        "    child.start(); print(queue.get(timeout=300)); child.join()\n"
    )
    script = folder / "spawn.py"
    script.write_text(code, encoding="utf-8")
    done = subprocess.run([sys.executable, str(script)], cwd=folder, capture_output=True, text=True, timeout=600)
    assert done.stdout.strip().splitlines()[-1:] == ["BiFPN"], done.stdout + done.stderr


def test_worker_file_of_multi_gpu_training(folder):
    """Ultralytics writes this file and starts one process a GPU with it; here one process runs it, on the CPU."""
    args = {"model": "yolov5n-effdet.yaml", "data": "small.yaml", "epochs": 1, "project": str(folder / "runs")}
    args |= {"imgsz": 64, "batch": 8, "workers": 0, "device": "cpu", "plots": False, "name": "ddp"}
    code = (
        "from ultralytics.models.yolo.detect import DetectionTrainer\n"
        "from ultralytics.utils.dist import generate_ddp_file\n"
        f"print(generate_ddp_file(DetectionTrainer(overrides={args})))\n"
    )
    made = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=600)
    assert made.returncode == 0, made.stdout + made.stderr
    worker = made.stdout.strip().splitlines()[-1]
    done = subprocess.run([sys.executable, worker], cwd=folder, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert next(folder.rglob("ddp/weights/best.pt")).is_file()


def test_errors_reach_the_user_of_the_command(folder):
    (folder / "bad.yaml").write_text(
        "nc: 1\nbackbone:\n  - [-1, 1, EfficientNetBackbone, [b99]]\nhead: []\n", encoding="utf-8"
    )
    for model, message in (("bad.yaml", "bad.yaml, row 0"), ("yolov5s-effb3-bifpn.yaml", "'yolov5-effb3-bifpn.yaml'")):
        done = yolo(folder, "train", f"model={model}", "data=small.yaml", "epochs=1", check=False)
        assert done.returncode != 0 and message in done.stderr


def test_unknown_data_name_says_which_are_near(folder):
    done = yolo(folder, "train", "model=yolov5n-effdet.yaml", "data=shape.yaml", "epochs=1", check=False)
    assert done.returncode != 0 and "shapes.yaml" in done.stderr


def test_opt_out(folder):
    environment = {**os.environ, "EFFYOLO_ULTRA_NO_AUTOLOAD": "1"}
    done = subprocess.run(
        [YOLO_COMMAND, "export", "model=yolov5n-effdet.yaml"],
        cwd=folder,
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode != 0 and "FileNotFoundError" in done.stderr
