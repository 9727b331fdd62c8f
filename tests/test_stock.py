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
