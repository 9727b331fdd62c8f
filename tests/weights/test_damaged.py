"""Files of weights that are damaged: whatever reads one says so, and names the file."""

import pytest
from safetensors.torch import load, save
from sharing.tiny import changed

import effyolo_ultra
from benchmarks import fuzz_weights
from effyolo_ultra.errors import SharingError
from effyolo_ultra.sharing.contents import WEIGHTS, read, write_zip


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return fuzz_weights.make_files(tmp_path_factory.mktemp("tiny"))


@pytest.mark.slow
def test_random_damage():
    assert fuzz_weights.main(["--examples", "3", "--seed", "0"]) == 0


def test_nan_in_a_variant(files, tmp_path):
    (tmp_path / "tiny.zip").write_bytes(files["tiny.zip"])
    parts = read(tmp_path / "tiny.zip")
    weights = load(parts[WEIGHTS])
    weights["model.0.body.conv_stem.weight"][0] = float("nan")
    write_zip(changed(parts, model_safetensors=save(weights)), tmp_path / "nan.zip")
    with pytest.raises(SharingError, match=r"model.0.body.conv_stem.weight holds NaN"):
        effyolo_ultra.unpack(tmp_path / "nan.zip", tmp_path / "out.pt")
    assert not (tmp_path / "out.pt").exists()


@pytest.mark.parametrize("name", ["folder.pt", "folder.pth"])
def test_folder(name, tmp_path):
    (tmp_path / name).mkdir()
    for read_file in fuzz_weights.readers(tmp_path / name).values():
        with pytest.raises(effyolo_ultra.errors.EffYoloError, match=name):
            read_file()
