"""Fusion weights in training: Ultralytics' trainer, its EMA, mixed precision, several processes."""

import copy
import json
import subprocess
import sys

import pytest
import torch
from ultralytics import YOLO
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.utils.torch_utils import ModelEMA

from effyolo_ultra.nn import BiFPN, BiFPN_Add, BiFPN_Concat
from effyolo_ultra.nn.fusion import FusionWeights
from effyolo_ultra.shapes import CLASSES, make_shapes

# One row of every kind with fusion weights, and a bit of YOLO around.
MODEL = """
nc: 8
backbone:
  - [-1, 1, Conv, [8, 3, 4]]
  - [-1, 1, Conv, [16, 3, 2]] # 1, P3
  - [-1, 1, Conv, [16, 3, 2]] # 2, P4
  - [-1, 1, Conv, [32, 3, 2]] # 3, P5
head:
  - [[1, 2, 3], 2, BiFPN, [16, {fusion: FUSION, shared_weights: SHARED}]] # 4
  - [4, 1, PyramidLevel, [3]]
  - [4, 1, PyramidLevel, [4]]
  - [4, 1, PyramidLevel, [5]]
  - [[2, 6], 1, BiFPN_Add, [{fusion: FUSION}]]
  - [[6, 8], 1, BiFPN_Concat, [1, {fusion: FUSION}]]
  - [[5, 9, 7], 1, Detect, [nc]]
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    make_shapes(folder, train=16, val=4, imgsz=64)
    file = folder / "data.yaml"
    names = dict(enumerate(CLASSES))
    file.write_text(json.dumps({"path": str(folder), "train": "images/train", "val": "images/val", "names": names}))
    return file


def fusions(model):
    return [m.weight for m in model.modules() if isinstance(m, FusionWeights)]


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["SGD", "AdamW", "MuSGD"])
@pytest.mark.parametrize(("fusion", "shared", "count"), [("fast", "false", 10), ("softmax", "true", 6)])
def test_weights_learn_under_the_stock_trainer(optimizer, fusion, shared, count, data, model_yaml, tmp_path):
    if optimizer == "MuSGD":
        pytest.importorskip("ultralytics.optim", reason="Ultralytics before 8.4 has no MuSGD")
    trainer = None

    def keep(ended):
        nonlocal trainer
        trainer = ended

    model = YOLO(model_yaml(MODEL.replace("FUSION", fusion).replace("SHARED", shared)))
    model.add_callback("on_train_end", keep)
    arguments = {
        "epochs": 2,
        "warmup_epochs": 0,
        "imgsz": 64,
        "batch": 4,
        "nbs": 4,
        "workers": 0,
        "device": "cpu",
        "plots": False,
    }
    model.train(data=str(data), optimizer=optimizer, lr0=0.02, project=str(tmp_path), **arguments)
    groups = {id(p): group for group in trainer.optimizer.param_groups for p in group["params"]}
    norm = next(m for m in trainer.model.modules() if isinstance(m, torch.nn.BatchNorm2d))
    weights, averaged = fusions(trainer.model), fusions(trainer.ema.ema)
    assert len(weights) == len(averaged) == count
    for weight, average in zip(weights, averaged):
        group = groups[id(weight)]
        assert group["weight_decay"] == 0 and not group.get("use_muon")
        assert group is groups[id(norm.weight)] is not groups[id(norm.bias)]
        assert (weight.detach() - 1).abs().max() > 1e-5
        assert ((average - 1) * (weight.detach() - 1)).max() > 0  # on the way, where the weight is
    restored = fusions(YOLO(trainer.last).model)
    torch.testing.assert_close([w.float() for w in restored], [a.detach() for a in averaged], rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("optimizer", ["SGD", "AdamW", "MuSGD"])
def test_decay_alone_changes_no_fusion_weight(optimizer):
    if optimizer == "MuSGD":
        pytest.importorskip("ultralytics.optim", reason="Ultralytics before 8.4 has no MuSGD")
    net = torch.nn.ModuleDict({"neck": BiFPN({3: 8, 4: 8}, 8, 1), "fuse": BiFPN_Concat(3)})
    net.model = [torch.nn.Identity()]
    built = DetectionTrainer.__new__(DetectionTrainer).build_optimizer(net, optimizer, lr=0.1, momentum=0.9, decay=0.5)
    for p in net.parameters():
        p.grad = torch.zeros_like(p)
    depthwise = net["neck"].cells[0].nodes[0].conv[0].weight
    before = depthwise.detach().clone()
    for _ in range(3):
        built.step()
    assert not torch.equal(depthwise, before)
    assert all(torch.equal(w, torch.ones_like(w)) for w in fusions(net))


@pytest.mark.parametrize("shared", [False, True])
def test_average_of_ultralytics_takes_every_weight_once(shared):
    net = torch.nn.Sequential(BiFPN({3: 8, 4: 8}, 8, 3, shared_weights=shared))
    ema = ModelEMA(net, decay=0.9, tau=1e-9)
    for w in fusions(net):
        w.data.fill_(2.0)
    ema.update(net)
    assert [w.tolist() for w in fusions(ema.ema)] == [pytest.approx([0.9 * 1 + 0.1 * 2] * len(w)) for w in fusions(net)]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("cls", [BiFPN_Add, BiFPN_Concat])
@pytest.mark.parametrize("fusion", ["fast", "softmax"])
def test_normalised_in_float32_under_autocast_and_in_half_precision(dtype, cls, fusion):
    # 1e-6 is below the resolution of both types beside the sum of the weights, and 7e-4 beside its inverse
    module = cls(3, fusion=fusion, **({"eps": 1e-6} if fusion == "fast" else {}))
    module.weights.weight.data = torch.tensor([1e-3, 2e-3, 1e-6])
    features = [torch.rand(1, 2, 4, 4) for _ in range(3)]
    exact = module.weights.normalized()
    expected = module(features)
    with torch.autocast("cpu", dtype=dtype):
        assert module.weights.normalized().dtype == torch.float32
        out = module([x.to(dtype) for x in features])
        out.float().sum().backward()
    torch.testing.assert_close(module.weights.normalized(), exact)
    assert out.dtype == dtype and module.weights.weight.grad.dtype == torch.float32
    torch.testing.assert_close(out.float(), expected, rtol=0.03, atol=0.01)
    low = copy.deepcopy(module).to(dtype)
    assert low.weights.normalized().dtype == torch.float32
    torch.testing.assert_close(low.weights.normalized(), exact, rtol=0.01, atol=1e-3)


PROCESSES = """
import sys
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.nn.parallel import DistributedDataParallel
from effyolo_ultra.nn import BiFPN


def work(rank, file, shared):
    dist.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=2)
    torch.manual_seed(rank)  # other weights and other data in each
    net = DistributedDataParallel(BiFPN({3: 8, 4: 16, 5: 8}, 8, 2, levels=[3, 4, 5, 6], shared_weights=shared))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(3):
        out = net([torch.randn(2, c, s, s) for c, s in ((8, 32), (16, 16), (8, 8))])
        optimizer.zero_grad()
        sum((x - 1).square().mean() for x in out).backward()
        optimizer.step()
    mine = torch.cat([p.detach().flatten() for p in net.parameters()])
    both = [torch.empty_like(mine) for _ in range(2)]
    dist.all_gather(both, mine)
    assert torch.equal(*both)
    fusion = [p for name, p in net.named_parameters() if "fuse" in name]
    assert len(fusion) == (6 if shared else 12) and all((p != 1).any() for p in fusion)
    dist.destroy_process_group()


if __name__ == "__main__":
    mp.spawn(work, (sys.argv[1], sys.argv[2] == "True"), nprocs=2)
    print("equal")
"""


@pytest.mark.slow
@pytest.mark.parametrize("shared", [False, True])
def test_processes_keep_equal_weights(shared, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(PROCESSES, encoding="utf-8")
    command = [sys.executable, str(script), str(tmp_path / "rendezvous"), str(shared)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.stdout.splitlines()[-1:] == ["equal"], done.stderr
