"""What is packed and unpacked again is the same network, and Ultralytics takes it for any other checkpoint."""

import json
import subprocess
import sysconfig
import zipfile
from pathlib import Path

import pytest
import torch
import yaml
from sharing.tiny import write_checkpoint
from small_data import write_small_data
from ultralytics import YOLO
from ultralytics.nn.tasks import torch_safe_load

import effyolo_ultra
from effyolo_ultra.cli import main
from effyolo_ultra.errors import SharingError, UnknownNameError, WeightsError
from effyolo_ultra.pruning import prune_network
from effyolo_ultra.sharing.contents import CARD, LICENSE, METADATA, MODEL, PICTURE, WEIGHTS, read
from effyolo_ultra.sharing.tensors import tensors_of

pytestmark = pytest.mark.xdist_group("sharing")  # one process trains for all of them
QUICK = {"imgsz": 64, "batch": 4, "workers": 0, "device": "cpu", "plots": False, "verbose": False}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sharing")
    write_small_data(folder, train=4, val=2)
    return folder


@pytest.fixture(scope="module")
def trained(folder):
    """A network of the zoo after one epoch."""
    options = {"data": str(folder / "small.yaml"), "epochs": 1, "project": str(folder / "secret-project"), **QUICK}
    YOLO("yolov5n-effdet.yaml").train(name="secret-name", pretrained=False, **options)
    return folder / "secret-project" / "secret-name" / "weights" / "best.pt"


@pytest.fixture(scope="module")
def shared(trained, folder):
    return effyolo_ultra.pack(trained, folder / "my-variant.zip")


@pytest.fixture(scope="module")
def unpacked(shared, folder):
    return effyolo_ultra.unpack(shared, folder / "unpacked.pt")


def calibrated(network):
    """Give a network of random weights the statistics of images, so that its predictions differ from place to place."""
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        for _ in range(20):
            network.train()(images)


def predictions(checkpoint, folder):
    """Return everything that `predict` gives for the drawn pictures."""
    pictures = folder / "small" / "images" / "val"
    results = YOLO(checkpoint).predict(pictures, imgsz=64, conf=1e-6, max_det=50, verbose=False, device="cpu")
    kinds = ("boxes", "masks", "keypoints", "obb", "probs")
    return [getattr(result, kind).data for result in results for kind in kinds if getattr(result, kind) is not None]


def check_same(before, after, folder):
    (_, a), (_, b) = (of_file(before), of_file(after))
    a, b = tensors_of(a), tensors_of(b)
    assert a.keys() == b.keys()
    assert all(a[name].dtype == b[name].dtype and torch.equal(a[name], b[name]) for name in a)
    expected, given = predictions(before, folder), predictions(after, folder)
    assert expected and all(len(tensor) for tensor in expected)
    assert len(given) == len(expected) and all(map(torch.equal, given, expected))


def of_file(path):
    checkpoint, _ = torch_safe_load(str(path))
    return checkpoint, checkpoint["model"]


def test_a_trained_network_of_the_zoo(trained, unpacked, folder):
    check_same(trained, unpacked, folder)
    before, after = of_file(trained), of_file(unpacked)
    assert next(after[1].parameters()).dtype == torch.float16
    assert not any(p.requires_grad for p in after[1].parameters())
    for key in ("date", "version", "epoch", "optimizer", "ema"):
        assert after[0][key] == before[0][key]
    assert after[1].names == before[1].names == dict(enumerate(effyolo_ultra.shapes.CLASSES))
    assert after[0]["train_metrics"] == pytest.approx(before[0]["train_metrics"])
    assert after[0]["train_args"]["imgsz"] == 64 and after[0]["train_args"]["data"] == "small.yaml"
    found, expected = (effyolo_ultra.model_info(path, 64) for path in (unpacked, trained))
    assert found.weights == expected.weights and found.checkpoint.training["pretrained"] is False


def test_nothing_of_the_machine_is_in_it(shared, trained, folder):
    files = read(shared)
    for name, content in files.items():
        if name != WEIGHTS:
            for private in (str(folder), str(Path.home()), "secret-project", "secret-name"):
                assert private not in content.decode(), (name, private)
    checkpoint, _ = of_file(trained)
    assert str(folder) in json.dumps(checkpoint["train_args"])


def test_the_files(shared, trained):
    files = read(shared)
    assert set(files) - {PICTURE} == {CARD, LICENSE, METADATA, MODEL, WEIGHTS}
    document, metadata = yaml.safe_load(files[MODEL]), json.loads(files[METADATA])
    assert (document["scale"], document["nc"], document["channels"]) == ("n", len(effyolo_ultra.shapes.CLASSES), 3)
    assert metadata["task"] == "detect" and metadata["stride"] == [8, 16, 32]
    assert metadata["names"] == {str(i): name for i, name in enumerate(effyolo_ultra.shapes.CLASSES)}
    card = files[CARD].decode()
    front = yaml.safe_load(card.split("---")[1])
    assert front["license"] == "agpl-3.0" and front["library_name"] == "ultralytics"
    assert front["pipeline_tag"] == "object-detection" and "effyolo-ultra" in front["tags"]
    network = effyolo_ultra.network.describe(trained, 640)
    assert f"{network.parameters:,} parameters, {network.gflops:.1f} GFLOPs for 640 x 640" in card
    assert "pip install" not in card and f"version {effyolo_ultra.__version__} or later" in card
    for layer in network.layers:
        assert f"| {layer.index} | " in card and f" | {layer.parameters:,} |" in card
    metrics = metadata["metrics"]
    assert metrics and all(f"{value:.4g}" in card for value in metrics.values())
    assert b"GNU AFFERO GENERAL PUBLIC LICENSE" in files[LICENSE]
    assert (PICTURE in files) == (f"]({PICTURE})" in card)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A network that is packed in a moment, and its zip."""
    folder = tmp_path_factory.mktemp("tiny")
    checkpoint = write_checkpoint(folder)
    return checkpoint, effyolo_ultra.pack(checkpoint, folder / "my-variant.zip")


def test_the_same_checkpoint_gives_the_same_bytes(tiny, tmp_path):
    checkpoint, shared = tiny
    again = effyolo_ultra.pack(checkpoint, tmp_path / "my-variant.zip")
    assert again.read_bytes() == shared.read_bytes()
    with zipfile.ZipFile(shared) as archive:
        assert archive.namelist() == sorted(archive.namelist())


def test_a_folder_is_the_same_as_a_zip(tiny, tmp_path):
    checkpoint, shared = tiny
    written = effyolo_ultra.pack(checkpoint, f"{tmp_path}/my-variant/")
    assert read(written) == read(shared)
    assert effyolo_ultra.pack(checkpoint, written, overwrite=True) == written and read(written) == read(shared)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["my-variant"]


@pytest.mark.slow
def test_a_pruned_network(trained, folder, tmp_path):
    pytest.importorskip("torch_pruning")
    yolo = YOLO(trained)
    yolo.model = prune_network(yolo.model, 0.3, "trained")
    yolo.save(tmp_path / "pruned.pt")
    effyolo_ultra.pack(tmp_path / "pruned.pt", tmp_path / "pruned.zip")
    assert yaml.safe_load(read(tmp_path / "pruned.zip")[MODEL])["pruned"]
    check_same(tmp_path / "pruned.pt", effyolo_ultra.unpack(tmp_path / "pruned.zip", tmp_path / "again.pt"), folder)


@pytest.mark.parametrize(
    "name",
    [
        "yolo11n.yaml",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("yolo11n-seg.yaml", "yolo11n-pose.yaml", "yolo26n-obb.yaml")
        ),
    ],
)
def test_stock_networks(name, folder, tmp_path):
    torch.manual_seed(0)
    yolo = YOLO(name)
    if "pose" in name:
        yolo.model = type(yolo.model)({**yolo.model.yaml}, ch=3, nc=2, data_kpt_shape=[5, 2], verbose=False)
        yolo.model.args, yolo.model.task = {"task": "pose"}, "pose"
        yolo.model.kpt_names = {0: list("abcde"), 1: list("vwxyz")}
    calibrated(yolo.model)
    yolo.save(tmp_path / "stock.pt")
    effyolo_ultra.pack(tmp_path / "stock.pt", tmp_path / "stock.zip")
    again = effyolo_ultra.unpack(tmp_path / "stock.zip", tmp_path / "again.pt")
    check_same(tmp_path / "stock.pt", again, folder)
    if "pose" in name:
        network = of_file(again)[1]
        assert network.kpt_names == yolo.model.kpt_names and network.kpt_shape == [5, 2]


def test_float32_and_four_channels_stay(tmp_path):
    torch.manual_seed(0)
    yolo = YOLO(write_checkpoint(tmp_path, name="other"))
    network = type(yolo.model)({**yolo.model.yaml}, ch=4, nc=2, verbose=False)
    torch.save({"model": network, "train_args": {}}, tmp_path / "wide.pt")
    effyolo_ultra.pack(tmp_path / "wide.pt", tmp_path / "wide.zip")
    again = of_file(effyolo_ultra.unpack(tmp_path / "wide.zip", tmp_path / "again.pt"))[1]
    assert again.model[0].conv.weight.shape[1] == 4 and again.yaml["channels"] == 4
    own = tensors_of(network)
    assert all(torch.equal(t, own[n]) and t.dtype == own[n].dtype for n, t in tensors_of(again).items())


@pytest.mark.slow
def test_paths_in_a_model_yaml_lose_their_folder(tmp_path):
    text = Path(effyolo_ultra.model_path("yolov5-effb0-bifpn.yaml")).read_text()
    assert "EfficientNetBackbone, [b0]" in text
    text = text.replace("[b0]", "[b0, {pretrained: /home/somebody/secret/b0.pth}]")
    write_checkpoint(tmp_path, text, "own")
    network = YOLO(tmp_path / "own.pt")
    network.model.model[0].weights_from = "C:\\somebody else\\b0.pt, which started from /home/somebody else/b0.pth"
    network.save(tmp_path / "own.pt")
    files = read(effyolo_ultra.pack(tmp_path / "own.pt", tmp_path / "own.zip"))
    assert b"b0.pth" in files[MODEL] and not any(b"somebody" in content for content in files.values())
    assert "b0.pt, which started from b0.pth" in json.loads(files[METADATA])["weights_from"].values()


@pytest.mark.slow
def test_stock_command_takes_it(unpacked, folder):
    command = str(Path(sysconfig.get_path("scripts")) / "yolo")
    options = [f"model={unpacked}", "imgsz=64", "device=cpu", f"project={folder / 'cli'}"]
    for mode, *more in (
        ("predict", f"source={folder / 'small' / 'images' / 'val'}"),
        ("val", "data=small.yaml", "plots=False"),
        ("train", "data=small.yaml", "epochs=1", "batch=4", "plots=False", "workers=0"),
        ("export", "format=torchscript"),
    ):
        done = subprocess.run([command, mode, *options, *more], cwd=folder, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stdout + done.stderr
        if mode == "train":
            assert "which started from" in done.stdout + done.stderr


def test_what_cannot_be_shared_is_refused(trained, tmp_path):
    def refusal(checkpoint, error=SharingError, output=tmp_path / "x.zip"):
        with pytest.raises(error) as caught:
            effyolo_ultra.pack(checkpoint, output)
        assert not list(tmp_path.glob("*.zip*"))
        return str(caught.value)

    fused = YOLO(trained)
    fused.model.fuse()
    fused.save(tmp_path / "fused.pt")
    assert "fused for inference" in refusal(tmp_path / "fused.pt")
    checkpoint, _ = of_file(trained)
    torch.save({**checkpoint, "modelopt": {"state": 1}}, tmp_path / "int8.pt")
    assert "int8" in refusal(tmp_path / "int8.pt")
    assert "there is no file" in refusal(tmp_path / "none.pt", UnknownNameError)
    (tmp_path / "text.pt").write_text("no network")
    assert "holds no network" in refusal(tmp_path / "text.pt", WeightsError)
    torch.save({"model": torch.nn.Linear(1, 1)}, tmp_path / "linear.pt")
    assert "holds no network" in refusal(tmp_path / "linear.pt", WeightsError)
    assert ".zip" in refusal(trained, output=tmp_path / "x.tar")


def test_a_network_that_its_yaml_does_not_describe_is_refused(tmp_path):
    checkpoint, network = of_file(write_checkpoint(tmp_path))
    network.model[0].act = torch.nn.ReLU()
    torch.save(checkpoint, tmp_path / "other.pt")
    with pytest.raises(SharingError, match="does not compute the same"):
        effyolo_ultra.pack(tmp_path / "other.pt", tmp_path / "x.zip")
    conv = network.model[0].conv
    network.model[0].conv = torch.nn.Conv2d(3, conv.out_channels, 5, conv.stride, 2, bias=False)
    torch.save(checkpoint, tmp_path / "other.pt")
    with pytest.raises(SharingError, match=r"model\.0\.conv\.weight is \(\d+, 3, 5, 5\)"):
        effyolo_ultra.pack(tmp_path / "other.pt", tmp_path / "x.zip")


def test_nothing_is_replaced_unasked(tmp_path, capsys):
    checkpoint = str(write_checkpoint(tmp_path))
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("mine")
    for output in ("x.zip", "folder/"):
        output = f"{tmp_path}/{output}"
        assert main(["pack", checkpoint, "-o", output]) == 0
        assert "model.safetensors" in capsys.readouterr().out
        assert main(["pack", checkpoint, "-o", output]) == 2
        assert "is there already" in capsys.readouterr().err
        assert main(["pack", checkpoint, "-o", output, "--overwrite"]) == 0
        assert main(["unpack", output, "-o", f"{tmp_path}/y.pt", "--overwrite"]) == 0
        assert main(["unpack", output, "-o", f"{tmp_path}/y.pt"]) == 2
        assert "is there already" in capsys.readouterr().err
    assert main(["pack", checkpoint, "-o", str(tmp_path / "notes"), "--overwrite"]) == 2
    assert "is not replaced" in capsys.readouterr().err and (tmp_path / "notes" / "mine.txt").read_text() == "mine"
    assert not list(tmp_path.glob(".*"))


KILLED = """
import os, signal, sys
import effyolo_ultra

def watch(event, args):  # just before a name beside becomes the final one, everything is written
    if event == "os.rename" and str(args[1]).endswith(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(watch)
getattr(effyolo_ultra, sys.argv[1])(sys.argv[2], sys.argv[3], overwrite=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("command", ["pack", "unpack"])
def test_a_kill_leaves_nothing_under_the_final_name(command, tmp_path, run_python):
    source = write_checkpoint(tmp_path)
    if command == "unpack":
        source = effyolo_ultra.pack(source, tmp_path / "source.zip")
    suffix = ".zip" if command == "pack" else ".pt"
    (tmp_path / f"old{suffix}").write_text("old")
    for name in ("new", "old"):
        done = run_python(KILLED, command, str(source), str(tmp_path / f"{name}{suffix}"))
        assert done.returncode == -9, done.stderr
    assert not (tmp_path / f"new{suffix}").exists()
    assert (tmp_path / f"old{suffix}").read_text() == "old"
