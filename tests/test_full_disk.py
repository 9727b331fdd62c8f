"""A disk that is full while a file is written: the error names the file, the old one stays, nothing half is left."""

import os
import pickle
from pathlib import Path

import pytest
from sharing.tiny import YAML, write_checkpoint

from effyolo_ultra._output import WholeFile, replacing

FULL = """
import json, os, resource, sys
import torch
import effyolo_ultra as e
from effyolo_ultra.shapes import make_shapes
from effyolo_ultra.weights._sources import UrlFile

checkpoint, url = sys.argv[1:]
torch.hub.set_dir("cache")
os.makedirs("out")
e.pack(checkpoint, "variant.zip")
text = e.compose(backbone="b0")
writers = {
    "new.yaml": lambda path: e.write_model(text, path, overwrite=True),
    "pruned.pt": lambda path: e.prune(checkpoint, path, 0.5, overwrite=True),
    "packed.zip": lambda path: e.pack(checkpoint, path, overwrite=True),
    "unpacked.pt": lambda path: e.unpack("variant.zip", path, overwrite=True),
    "drawn.png": lambda path: e.draw(checkpoint, path, overwrite=True),
    "folder": lambda path: e.pack(checkpoint, path + "/"),
    "shapes": lambda path: make_shapes(path, train=1, val=1, imgsz=64),
    "weights.pth": lambda path: UrlFile(url).download(None),
}
said = {}
for name, write in writers.items():
    path = "out/" + name
    if "." in name and name != "weights.pth":
        open(path, "w").write("old")
    limit = 200_000 if name in ("packed.zip", "folder") else 512  # the picture in a variant is drawn elsewhere
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        write(path)
    except OSError as error:
        said[name] = str(error)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(json.dumps(said))
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="no limits on the size of files")
def test_error_names_the_file_and_the_old_one_stays(run_json, tmp_path):
    checkpoint = write_checkpoint(tmp_path, YAML.replace("[8, 3, 2]", "[64, 3, 2]"))
    said = run_json(FULL, str(checkpoint), checkpoint.as_uri())
    out = tmp_path / "out"
    assert len(said) == 8
    for name, message in said.items():
        where = {"shapes": str(out / name), "weights.pth": ""}.get(name, f"out/{name}")
        assert message.startswith("[Errno 27] File too large") and where in message, message
    left = {path.name: path.read_text() for path in out.iterdir()}
    assert left == dict.fromkeys(("new.yaml", "pruned.pt", "packed.zip", "unpacked.pt", "drawn.png"), "old")
    assert not list((tmp_path / "cache" / "checkpoints").iterdir())


def test_what_cannot_take_its_place_leaves_the_old_folder(tmp_path, monkeypatch):
    """As on Windows, where no folder is renamed while a scanner reads a file in it."""
    path = tmp_path / ("v" * 250)  # with more added, longer than a name may be
    path.mkdir()
    (path / "README.md").write_text("old")
    replace = os.replace

    def busy(source, target):
        if Path(source).suffix == ".part":
            raise PermissionError(13, "in use")
        replace(source, target)

    monkeypatch.setattr(os, "replace", busy)
    with pytest.raises(PermissionError), replacing(path, overwrite=True, contents={"README.md"}) as beside:
        beside.mkdir()
        (beside / "README.md").write_text("new")
    assert list(tmp_path.iterdir()) == [path] and (path / "README.md").read_text() == "old"


def test_file_replaces_no_folder(tmp_path):
    (tmp_path / "best.pt").mkdir()
    with pytest.raises(FileExistsError, match=r"best.pt' is a folder"), replacing(tmp_path / "best.pt", overwrite=True):
        pass
    assert (tmp_path / "best.pt").is_dir()


def test_file_that_cannot_be_replaced_is_written(tmp_path, monkeypatch):
    """As on Windows, where no file is replaced while somebody reads it."""

    def busy(source, target):
        raise PermissionError(13, "in use")

    path = WholeFile(tmp_path / "last.pt")
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "replace", busy)
    assert path.write_bytes(b"newer") == 5
    assert os.listdir(tmp_path) == ["last.pt"] and path.read_bytes() == b"newer"


def test_a_pickle_knows_a_plain_path(tmp_path):
    path = WholeFile(tmp_path) / "last.pt"
    path.write_bytes(b"1")
    assert isinstance(path, WholeFile) and os.listdir(tmp_path) == ["last.pt"] and path.read_bytes() == b"1"
    assert type(pickle.loads(pickle.dumps(path))) is type(Path()) and pickle.loads(pickle.dumps(path)) == path
