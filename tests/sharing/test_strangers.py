"""What a stranger may have made of a variant: each is refused, says which file it is about, and leaves nothing."""

import io
import json
import os
import struct
import sys
import zipfile

import pytest
import torch
import yaml
from safetensors.torch import load, save
from sharing.tiny import changed, variant

import effyolo_ultra
from effyolo_ultra.errors import EffYoloError, ModelYAMLError, SharingError
from effyolo_ultra.sharing.contents import CARD, LIMITS, METADATA, MODEL, WEIGHTS, read, write_folder, write_zip


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return variant(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def refused(tmp_path):
    """Unpack, and return the message of the refusal."""

    def run(source, error=SharingError):
        if isinstance(source, dict):
            path = tmp_path / "variant.zip"
            write_zip(source, path)
        elif isinstance(source, bytes):
            path = tmp_path / "variant.zip"
            path.write_bytes(source)
        else:
            path = source
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(error) as caught:
            effyolo_ultra.unpack(path, tmp_path / "out.pt")
        assert sorted(tmp_path.rglob("*")) == before
        return str(caught.value)

    return run


def zipped(files, change=lambda entry: None, **options):
    """Return the bytes of a zip whose entries `change` has changed."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", **options) as archive:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name)
            entry.compress_type = options.get("compression", zipfile.ZIP_STORED)
            change(entry)
            archive.writestr(entry, data)
    return content.getvalue()


def test_as_it_is_it_is_taken(files, tmp_path):
    (tmp_path / "v.zip").write_bytes(zipped(files, compression=zipfile.ZIP_DEFLATED))  # by another tool
    assert effyolo_ultra.unpack(tmp_path / "v.zip", tmp_path / "v.pt").is_file()
    edited = {**files, CARD: b"as somebody edited it on the Hub"}
    write_folder(edited, tmp_path / "v")
    (tmp_path / "v" / ".gitattributes").write_text("of a clone")
    effyolo_ultra.unpack(tmp_path / "v", tmp_path / "v.pt", overwrite=True)


@pytest.mark.parametrize(
    "name",
    ["../evil.pt", "/etc/evil", "C:\\evil", "..\\evil", "sub/model.yaml", "evil.py", "model.yaml/", "Model.yaml"],
)
def test_only_the_files_of_a_variant(name, files, refused):
    message = refused(zipped({**files, name: b"x"}))
    assert repr(name) in message and "only variant.json" in message


def test_links(files, refused, tmp_path):
    def link(entry):
        entry.external_attr = (0o120777 << 16) if entry.filename == MODEL else 0

    assert "model.yaml must be a file" in refused(zipped({**files, MODEL: b"/etc/passwd"}, link))
    write_folder(files, tmp_path / "v")
    (tmp_path / "v" / MODEL).rename(tmp_path / "elsewhere")
    os.symlink(tmp_path / "elsewhere", tmp_path / "v" / MODEL)
    assert "model.yaml must be a file" in refused(tmp_path / "v")
    (tmp_path / "v" / MODEL).unlink()
    (tmp_path / "v" / MODEL).mkdir()
    assert "model.yaml must be a file" in refused(tmp_path / "v")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_zips_that_are_none_of_a_variant(files, refused, tmp_path):
    twice = io.BytesIO(zipped(files))
    with zipfile.ZipFile(twice, "a") as archive:
        archive.writestr(MODEL, "nc: 1")
    assert "model.yaml twice" in refused(twice.getvalue())
    assert "other than deflate" in refused(zipped(files, compression=zipfile.ZIP_LZMA))
    many = {f"{i}": b"" for i in range(1000)}
    assert "more, or larger, files" in refused(zipped(many))
    content = zipped(files)
    assert "more, or larger, files" in refused(content[:-22] + b"PK\6\7" + bytes(16) + content[-22:])
    encrypted = bytearray(content)
    at = encrypted.index(b"PK\1\2")
    encrypted[at + 8] |= 1
    assert "is encrypted" in refused(bytes(encrypted))
    for other in (b"", b"PK", b"text", content + b"trailing"):
        assert "is no shared variant" in refused(other)
    with pytest.raises(FileNotFoundError, match="there is no file or folder"):
        effyolo_ultra.unpack(tmp_path / "none.zip", tmp_path / "out.pt")
    (tmp_path / "best.pt").touch()
    assert "is a checkpoint, not a shared variant" in refused(tmp_path / "best.pt")


def test_bombs(files, refused, tmp_path):
    bomb = zipped({**files, WEIGHTS: bytes(2**24)}, compression=zipfile.ZIP_DEFLATED)
    assert len(bomb) < 2**17 and "compressed more than 20 times" in refused(bomb)
    assert "more than 262,144 are not read" in refused(zipped({**files, MODEL: b"#" * (LIMITS[MODEL] + 1)}))
    # An entry that expands to more than it says.
    lying = bytearray(zipped({**files, WEIGHTS: bytes(2**20)}, compression=zipfile.ZIP_DEFLATED))
    for signature, offset in ((b"PK\3\4", 22), (b"PK\1\2", 24)):
        at = lying.index(WEIGHTS.encode(), lying.index(signature)) - (30 if offset == 22 else 46)
        at = lying.rindex(signature, 0, lying.index(WEIGHTS.encode(), at + 1) + 1)
        struct.pack_into("<L", lying, at + offset, 1000)
    assert "damaged zip" in refused(bytes(lying))
    write_folder(files, tmp_path / "v")
    (tmp_path / "v" / MODEL).write_bytes(b"#" * (LIMITS[MODEL] + 1))
    assert "more than 262,144 are not read" in refused(tmp_path / "v")
    with (tmp_path / "v" / WEIGHTS).open("wb") as file:
        file.truncate(LIMITS[WEIGHTS] + 1)  # without data on the disk
    assert WEIGHTS in refused(tmp_path / "v")


def test_cut_off_and_damaged(files, refused):
    content = zipped(files)
    for length in (len(content) // 2, len(content) - 1, len(content) - 30, 100):
        assert "no shared variant" in refused(content[:length])
    for part in (files[WEIGHTS][-40:], files[MODEL][:40]):
        damaged = bytearray(content)
        damaged[content.index(part) + 5] ^= 1
        assert "damaged zip" in refused(bytes(damaged))
    for name in (WEIGHTS, MODEL, "LICENSE"):
        data = bytearray(files[name])
        data[-20] ^= 1
        assert f"{name} was changed or damaged" in refused({**files, name: bytes(data)})
    for name in (WEIGHTS, MODEL, METADATA, "LICENSE"):
        assert f"{name} is missing" in refused({n: data for n, data in files.items() if n != name})
    hashes = {name: digest for name, digest in json.loads(files[METADATA])["files"].items() if name != "LICENSE"}
    assert "LICENSE is there, but" in refused(changed(files, {"files": hashes}))
    hashes.pop(WEIGHTS)
    assert "no SHA-256 of model.safetensors" in refused(changed(files, {"files": hashes}))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("format", "zip", "does not describe a shared variant"),
        ("format_version", 2, "format_version 2"),
        ("unknown", 1, "unknown key 'unknown'"),
        ("task", "../detect", "'task' must be one of detect"),
        ("task", "segment", "is for 'detect', not for 'segment'"),
        ("names", ["a", "b"], "'names' must be"),
        ("names", {"0": "a"}, "1 names, but model.yaml nc: 2"),
        ("names", {"0": "a", "2": "b"}, "'names' must be"),
        ("names", {"0": "a", "1": 5}, "'names' must be"),
        ("names", {"0": "a", "1": "\x1b[2J"}, "'names' must be"),
        ("stride", [8, "16"], "'stride' must be"),
        ("stride", [8, 32], "'stride' is [8, 32], but the network has"),
        ("metrics", {"mAP": "high"}, "'metrics' must be"),
        ("date", 5, "'date' must be a text"),
        ("versions", {"timm": None}, "'versions' must be"),
        ("files", {"../x": "0" * 64}, "'files' must be"),
        ("files", {MODEL: "0"}, "'files' must be"),
        ("train_args", {"project": "x"}, "project='x'"),
        ("train_args", {"data": "/etc/passwd"}, "data='/etc/passwd'"),
        ("train_args", {"data": "https://x.org/evil.yaml"}, "data='https"),
        ("train_args", {"data": "..\\up.yaml"}, "data="),
        ("train_args", {"data": True}, "data=True"),
        ("train_args", {"pretrained": "/home/x.pt"}, "pretrained='/home/x.pt'"),
        ("train_args", {"epochs": "many"}, "epochs=many"),
        ("train_args", {"imgsz": {"a": 1}}, "imgsz={'a': 1}"),
        ("kpt_names", {"0": "nose"}, "'kpt_names' must be"),
    ],
)
def test_metadata(key, value, message, files, refused):
    assert message in refused(changed(files, {key: value}))


@pytest.mark.parametrize("text", [b"{", b"[]", b"\xff", b'{"format": NaN}', b"[" * 100_000, b"1" * 10_000])
def test_metadata_that_is_no_json(text, files, refused):
    assert METADATA in refused({**files, METADATA: text})


def with_rows(files, row=None, **keys):
    """Return the files of a variant whose model YAML is another one."""
    document = {**yaml.safe_load(files[MODEL]), **keys}
    document["backbone"] = [*document["backbone"][:3], row or document["backbone"][3]]
    return changed(files, model_yaml=yaml.safe_dump(document).encode())


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"activation": "__import__('os').system('touch evil')"}, "is refused"),
        ({"activation": "nn.Linear(1, 1)"}, "no activation"),
        ({"nc": 10**9}, "'nc' must be"),
        ({"channels": "3"}, "'channels' must be"),
        ({"nc": 3}, "nc: 3"),
        ({"head": [[[2, 3], 1, "Segment", ["nc", 32, 256]]]}, "is for 'segment'"),
        ({"head": [[[2, 3], 1, "WorldDetect", ["nc", 512, True]]]}, "takes texts"),
        ({"head": [[-1, 1, "yaml_model_load", ["evil.yaml"]]]}, "is no layer"),
        ({"head": [[-1, 1, "torch", []]]}, "is no layer"),
        ({"head": []}, "head"),
        ({"pruned": {"0.conv": [10**6]}}, "feature map of"),
        ({"pruned": {"0.conv": [9]}}, "describes no network"),
        ({"pruned": {"9": [1]}}, "'pruned' does not fit"),
        ({"scales": {"n": [10**6, 1, 1024]}, "scale": "n"}, "numbers above 0"),
    ],
)
def test_model_yaml(keys, message, files, refused, tmp_path):
    assert message in refused(with_rows(files, **keys), EffYoloError)
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([-1, 1, "TorchVision", [16, "resnet18", "DEFAULT", True, 2]], "asks for weights to download"),
        ([-1, 1, "Conv", [10**9, 3, 2]], "must be at most"),
        ([-1, 10**9, "Conv", [16, 3, 2]], "must be at most"),
        ([-1, 1, "Conv", [60000, 3, 2]], "model.3.bn.bias is"),
        ([-1, 1, "nn.Upsample", [None, 5000]], "feature map of"),
        ([-1, 1, "EfficientNetBackbone", ["hf-hub:evil/model"]], "hf-hub"),
        ([-1, 1, "Conv", [16, 3, 2, "__import__('os')"]], "describes no network"),
    ],
)
def test_rows(row, message, files, refused):
    assert message in refused(with_rows(files, row), EffYoloError)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"!!python/object/apply:os.system ['touch evil']", "is no YAML"),
        (b"a: &a [x]\nb: &b [" + b"*a, " * 400 + b"]\nc: &c [" + b"*b, " * 400 + b"]", "aliases expanded"),
        (b"- a list", "must be a mapping"),
        (b"\xff", "is no YAML"),
        (b"[" * 10_000, "nest"),
    ],
)
def test_model_yaml_that_is_none(text, message, files, refused, tmp_path):
    assert message in refused(changed(files, model_yaml=text), EffYoloError)
    assert not (tmp_path / "evil").exists()


def test_tensors(files, refused):
    def weights(**tensors):
        own = {**load(files[WEIGHTS]), **{name.replace("__", "."): tensor for name, tensor in tensors.items()}}
        return changed(files, model_safetensors=save({n: t for n, t in own.items() if t is not None}))

    assert "lacks the tensor model.0.conv.weight" in refused(weights(model__0__conv__weight=None))
    assert "'model.0.conv.weigth'" in (message := refused(weights(model__0__conv__weigth=torch.ones(1))))
    assert "Did you mean model.0.conv.weight" in message
    assert "model.0.bn.bias is (9,)" in refused(weights(model__0__bn__bias=torch.ones(9)))
    assert "model.0.bn.bias is torch.int64" in refused(weights(model__0__bn__bias=torch.ones(8, dtype=torch.int64)))
    for content in (b"", b"\x80\x04pickle", struct.pack("<Q", 2**40) + b"{}", files[WEIGHTS][:-1]):
        assert "model.safetensors is damaged" in refused(changed(files, model_safetensors=content))


EVENTS = []
LISTENING = False


def listen(event, args):
    if LISTENING and event in ("pickle.find_class", "os.system", "subprocess.Popen", "socket.connect", "exec"):
        EVENTS.append((event, str(args)[:80]))


def test_no_pickle_is_read_and_nothing_is_run(files, tmp_path):
    global LISTENING
    from effyolo_ultra.sharing.unpack import network_of

    write_zip(files, tmp_path / "v.zip")
    network_of(read(tmp_path / "v.zip"))  # imports, which are run too
    sys.addaudithook(listen)
    LISTENING = True
    try:
        network_of(read(tmp_path / "v.zip"))
        assert EVENTS == []
        torch.load(effyolo_ultra.unpack(tmp_path / "v.zip", tmp_path / "v.pt"), weights_only=False)
        assert any(event == "pickle.find_class" for event, _ in EVENTS)  # what the list would show
    finally:
        LISTENING = False


def test_an_error_of_a_row_is_that_of_any_model_yaml(files, refused):
    assert "row 3" in refused(with_rows(files, [-1, 1, "Konv", [16, 3, 2]]), ModelYAMLError)
    assert json.loads(files[METADATA])["task"] == "detect"


def test_planning_leaves_nothing_on_what_all_networks_share():
    from ultralytics import YOLO
    from ultralytics.nn.modules import Conv

    from effyolo_ultra.sharing.build import plan

    document = {**YOLO("yolo11n.yaml").model.yaml, "channels": 3}
    plan(document, "detect")
    assert not Conv.default_act._forward_hooks
