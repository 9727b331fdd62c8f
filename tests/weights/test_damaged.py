"""Files of weights that are damaged: whatever reads one says so, and names the file."""

import io
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from safetensors.torch import load, save
from sharing.tiny import changed

import effyolo_ultra
from benchmarks import fuzz_weights
from effyolo_ultra.cli import main
from effyolo_ultra.errors import SharingError, WeightsError
from effyolo_ultra.sharing.contents import WEIGHTS, read, write_zip
from effyolo_ultra.weights.files import read as read_weights
from effyolo_ultra.weights.inert import IS_COMPLETE


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return fuzz_weights.make_files(tmp_path_factory.mktemp("tiny"))


@pytest.mark.slow
def test_random_damage():
    assert fuzz_weights.main(["--examples", "3", "--seed", "0"]) == 0


def test_one_changed_byte(files, tmp_path, capsys):
    content = bytearray(files["tiny.pt"])
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        tensor = max((e for e in archive.infolist() if "/data/" in e.filename), key=lambda entry: entry.file_size)
    content[tensor.header_offset + tensor.file_size // 2] ^= 1  # torch itself reads the number that this makes
    (tmp_path / "tiny.pt").write_bytes(content)
    for read_file in fuzz_weights.readers(tmp_path / "tiny.pt").values():
        with pytest.raises(WeightsError, match=rf"tiny.pt' is damaged: the checksum of {tensor.filename} does not fit"):
            read_file()
    assert main(["info", str(tmp_path / "tiny.pt")]) == 2 and "is damaged" in capsys.readouterr().err


def test_zip_of_several_disks(files, tmp_path):
    content = bytearray(files["tiny.pt"])
    content[content.rindex(b"PK\6\7") + 16] = 9
    (tmp_path / "tiny.pt").write_bytes(content)
    for read_file in fuzz_weights.readers(tmp_path / "tiny.pt").values():
        with pytest.raises(WeightsError, match=r"tiny.pt' is damaged: .*its list of contents .*disks"):
            read_file()


def test_files_of_torch_before_1_6(files, tmp_path):
    for name in ("tiny.pth", "tiny_old.pth"):
        (tmp_path / name).write_bytes(files[name])
    old, new = (read_weights(tmp_path / name).tensors for name in ("tiny_old.pth", "tiny.pth"))
    assert old.keys() == new.keys() and all(torch.equal(old[name], new[name]) for name in new)
    torch.save({"model": torch.nn.Linear(2, 2)}, tmp_path / "tiny_old.pth", **fuzz_weights.OLD)
    with pytest.raises(WeightsError, match=r"tiny_old.pth .*before 1.6 .*save its state_dict alone"):
        read_weights(tmp_path / "tiny_old.pth")


@pytest.mark.skipif(not IS_COMPLETE, reason="torch before 2.6")
def test_threads_that_read_at_once(files, tmp_path):
    """Torch has one list of safe globals for all of them, which is as before afterwards."""
    (tmp_path / "tiny.pt").write_bytes(files["tiny.pt"])
    before = set(torch.serialization.get_safe_globals())
    with ThreadPoolExecutor(4) as pool:
        names = set(pool.map(lambda _: read_weights(tmp_path / "tiny.pt").model_name, range(20)))
    assert len(names) == 1 and before and set(torch.serialization.get_safe_globals()) == before


# What benchmarks/fuzz_weights.py has found: what stands in a whole file instead of a tensor or a network.
STRANGE = {
    "one number seen as many": (lambda t: torch.ones(()).expand(100_000, 100_000), "would take 40,"),
    "without data": (lambda t: t.to("meta"), "no plain numbers: blocks.0.0.conv.weight is .*on meta"),
    "sparse": (lambda t: t.to_sparse(), "no plain numbers"),
    "another shape": (lambda t: t[:1], r"is \[?1, "),
}


@pytest.mark.parametrize("kind", STRANGE)
def test_strange_tensors(files, tmp_path, kind):
    (tmp_path / "tiny.pth").write_bytes(files["tiny.pth"])
    weights = torch.load(tmp_path / "tiny.pth")
    change, message = STRANGE[kind]
    weights["blocks.0.0.conv.weight"] = change(weights["blocks.0.0.conv.weight"])
    torch.save({**weights, None: torch.ones(1)}, tmp_path / "tiny.pth")
    (read_file,) = fuzz_weights.readers(tmp_path / "tiny.pth").values()
    with pytest.raises(WeightsError, match=rf"tiny.pth.*{message}"):
        read_file()


NETWORKS = {
    "of another package": (lambda n: torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3)), "no network of Ultralytics"),
    "a layer that does not fit": (lambda n: n.model[5].cv2[0].__setitem__(0, torch.nn.Conv2d(5, 8, 1)), "RuntimeError"),
    "another number of rows": (lambda n: n.yaml["head"].pop(), "6 layers, and 5 rows in its YAML"),
    "no rows": (lambda n: n.yaml["head"].clear(), "6 layers, and 1 rows in its YAML"),
    "strides of text": (lambda n: setattr(n, "stride", "text"), "stride must not be 'text'"),
}


@pytest.mark.parametrize("kind", NETWORKS)
def test_networks_that_do_not_run(files, tmp_path, kind):
    path = tmp_path / "tiny.pt"
    path.write_bytes(files["tiny.pt"])
    checkpoint = torch.load(path, weights_only=False)
    change, message = NETWORKS[kind]
    changed = change(checkpoint["model"])
    if isinstance(changed, torch.nn.Module):
        checkpoint["model"] = changed
    torch.save(checkpoint, path)
    for name, read_file in fuzz_weights.readers(path).items():
        if name not in ("backbone", "BiFPN"):  # which take their part of it
            with pytest.raises(WeightsError, match=rf"tiny.pt.*{message}"):
                read_file()


@pytest.mark.skipif(not IS_COMPLETE, reason="torch before 2.6")
@pytest.mark.parametrize("number", ["nan", "inf"])
def test_no_finite_number(files, tmp_path, number):
    path = tmp_path / "tiny.pt"
    path.write_bytes(files["tiny.pt"])
    checkpoint = torch.load(path, weights_only=False)
    checkpoint["model"].model[0].body.conv_stem.weight.data[0] = float(number)
    checkpoint["model"].model[1].cells[0].nodes[0].fuse.weights.weight.data[0] = float(number)
    torch.save(checkpoint, path)
    for name, read_file in fuzz_weights.readers(path).items():
        message = (
            r"not finite, first in \S*weight"
            if name in ("backbone", "BiFPN")
            else "holds NaN or infinity, in model.0.body.conv"
        )
        with pytest.raises(WeightsError, match=rf"tiny.pt.*{message}"):
            read_file()


@pytest.mark.parametrize("number", ["nan", "inf"])
def test_no_finite_number_in_a_variant(files, tmp_path, number):
    (tmp_path / "tiny.zip").write_bytes(files["tiny.zip"])
    parts = read(tmp_path / "tiny.zip")
    weights = load(parts[WEIGHTS])
    weights["model.0.body.conv_stem.weight"][0] = float(number)
    write_zip(changed(parts, model_safetensors=save(weights)), tmp_path / "changed.zip")
    with pytest.raises(SharingError, match=r"model.0.body.conv_stem.weight holds NaN or infinity"):
        effyolo_ultra.unpack(tmp_path / "changed.zip", tmp_path / "out.pt")
    assert not (tmp_path / "out.pt").exists()


@pytest.mark.parametrize("name", ["folder.pt", "folder.pth"])
def test_folder(name, tmp_path):
    (tmp_path / name).mkdir()
    for read_file in fuzz_weights.readers(tmp_path / name).values():
        with pytest.raises(effyolo_ultra.errors.EffYoloError, match=name):
            read_file()
