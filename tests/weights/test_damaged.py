"""Files of weights that are damaged: whatever reads one says so, and names the file."""

import io
import zipfile

import pytest
import torch
from safetensors.torch import load, save
from sharing.tiny import changed

import effyolo_ultra
from benchmarks import fuzz_weights
from effyolo_ultra.cli import main
from effyolo_ultra.errors import SharingError, WeightsError
from effyolo_ultra.sharing.contents import WEIGHTS, read, write_zip
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
