"""With this package installed, everything that Ultralytics ships builds exactly as without it."""

import pytest

# Prints a fingerprint of every stock model YAML at every scale: layers, parameters and save list from a build without
# memory, and for the first scale the output of a real build from one seed.
FINGERPRINT = """
import hashlib, json, sys
from pathlib import Path
import torch
import ultralytics
from ultralytics.nn import tasks
from ultralytics.utils import LOGGER, YAML
LOGGER.setLevel("ERROR")
torch.use_deterministic_algorithms(True, warn_only=True)
part, parts = int(sys.argv[1]), int(sys.argv[2])


def load(path, scale):
    d = {**YAML.load(path), "scale": scale, "yaml_file": str(path)}
    for row in d["backbone"]:
        if row[2] == "TorchVision":
            row[3][2] = None  # no download of weights
    return d


out = {}
files = sorted((Path(ultralytics.__file__).parent / "cfg" / "models").rglob("*.yaml"))
for path in files[part::parts]:
    scales = list(YAML.load(path).get("scales") or [""])
    for scale in scales:
        with torch.device("meta"):
            model, save = tasks.parse_model(load(path, scale), 3, verbose=False)
        types = [[m.i, m.f, m.type, m.np, type(m).__name__] for m in model]
        shapes = [[name, list(p.shape)] for name, p in model.state_dict().items()]
        out[f"{path.name} {scale}"] = hashlib.sha256(json.dumps([types, shapes, save]).encode()).hexdigest()
    torch.manual_seed(0)
    model, save = tasks.parse_model(load(path, scales[0]), 3, verbose=False)
    digest = hashlib.sha256()
    for p in model.state_dict().values():
        digest.update(p.numpy().tobytes())
    y, x = [], torch.ones(1, 3, 64, 64)
    with torch.no_grad():
        for m in model[:-1].eval():  # the head wants its strides first
            if m.f != -1:
                x = y[m.f] if isinstance(m.f, int) else [x if j == -1 else y[j] for j in m.f]
            try:
                x = m(x)
            except TypeError:  # layers that also want a text, of YOLO-World and YOLOE
                break
            y.append(x if m.i in save else None)
    for t in x if isinstance(x, (list, tuple)) else [x]:
        digest.update(t.numpy().tobytes())
    out[f"{path.name} weights and output"] = digest.hexdigest()
hooked = hasattr(tasks.parse_model, "wrapped_by_effyolo_ultra")
print(json.dumps({"hooked": hooked, "models": out}))
"""


@pytest.mark.slow
@pytest.mark.parametrize("part", range(2))
def test_every_stock_yaml_is_identical(run_json, part):
    without = run_json(FINGERPRINT, str(part), "2", EFFYOLO_ULTRA_NO_AUTOLOAD="1")
    with_us = run_json(FINGERPRINT, str(part), "2")
    assert not without["hooked"] and with_us["hooked"]
    assert len(without["models"]) > 50
    assert with_us["models"] == without["models"]


# What a user of stock networks sees and finds on the disk: tables, help, checks, ONNX files, settings, connections.
TRACE = """
import hashlib, json, logging, os, re, sys
from pathlib import Path
folder = Path(sys.argv[1])
for name in ("home", "tmp", "work"):
    (folder / name).mkdir(parents=True)
os.environ.update(HOME=str(folder / "home"), TMPDIR=str(folder / "tmp"), YOLO_CONFIG_DIR=str(folder / "home"))
os.chdir(folder / "work")
connections = []
network = ("socket.connect", "socket.getaddrinfo")
sys.addaudithook(lambda event, args: connections.append(str(args[-4:])) if event in network else None)

import onnx, torch
from ultralytics import YOLO
from ultralytics.cfg import entrypoint
from ultralytics.nn import tasks
from ultralytics.utils import LOGGER, SETTINGS

lines = []
handler = logging.Handler()
handler.emit = lambda record: lines.append(record.getMessage().replace(str(folder), ""))
LOGGER.addHandler(handler)


def said(masked=True):
    text = re.sub(r"[\\d.]+", "#", "\\n".join(lines)) if masked else "\\n".join(lines)
    lines.clear()
    return text


out = {}
for name in ("yolov5n", "yolov8n-seg", "yolo11n-pose", "yolo26n", "yolov8n-cls"):
    torch.manual_seed(0)
    model = YOLO(f"{name}.yaml", verbose=True)
    out[f"table of {name}"] = said(masked=False)
    exported = onnx.load(model.export(format="onnx", imgsz=64, simplify=False))
    del exported.metadata_props[:]  # the date
    out[f"ONNX of {name}"] = hashlib.sha256(exported.SerializeToString(deterministic=True)).hexdigest()
    out[f"export of {name}"] = said()
for command in ("help", "checks", "version"):
    entrypoint(f"yolo {command}")
    out[f"yolo {command}"] = said()
hooked = hasattr(tasks.parse_model, "wrapped_by_effyolo_ultra")
LOGGER.removeHandler(handler)
files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
text = json.dumps(SETTINGS).replace(str(folder), "")
out.update(files=files, settings=re.sub(r'"uuid": "\\w+"', "", text), connections=connections)
print(json.dumps({"hooked": hooked, "out": out}))
"""


@pytest.mark.slow
def test_nothing_is_seen_or_left_where_no_file_of_ours_is_used(run_json, tmp_path):
    without = run_json(TRACE, str(tmp_path / "without"), EFFYOLO_ULTRA_NO_AUTOLOAD="1")
    with_us = run_json(TRACE, str(tmp_path / "with"))
    assert not without["hooked"] and with_us["hooked"]
    assert "TASK MODE ARGS" in without["out"]["yolo help"] and "matplotlib" in without["out"]["yolo checks"]
    assert "Detect" in without["out"]["table of yolov5n"]
    assert "work/yolo26n.onnx" in without["out"]["files"] and len(without["out"]["settings"]) > 100
    for name, value in without["out"].items():
        assert with_us["out"][name] == value, name
