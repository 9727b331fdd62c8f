"""Two phases and step decay in one training of the stock trainer."""

import contextlib
import csv
import json
import math
from types import SimpleNamespace

import pytest
import torch
from small_data import write_small_data
from ultralytics import YOLO

from effyolo_ultra.errors import TrainingError
from effyolo_ultra.nn import EfficientNetBackbone
from effyolo_ultra.phases import first_phase, hold, prepare_phases, split_optimizer

SETTINGS = {
    "imgsz": 64,
    "batch": 4,
    "nbs": 4,
    "warmup_epochs": 0,
    "plots": False,
    "val": False,
    "device": "cpu",
    "workers": 0,
    "pretrained": False,
}


class Stopped(Exception):
    pass


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phases")
    write_small_data(folder)
    model = {
        "nc": 8,
        "backbone": [[-1, 1, "EfficientNetBackbone", ["b0", {"levels": [3, 4], "frozen_stages": 0}]]],
        "head": [[0, 1, "PyramidLevel", [3]], [0, 1, "PyramidLevel", [4]], [[1, 2], 1, "Detect", ["nc"]]],
    }
    (folder / "model.yaml").write_text(json.dumps(model), encoding="utf-8")
    return folder


def run(folder, model, stop=None, **arguments):
    """Train, until the epoch `stop` is saved; return the trainer and the states of the backbone."""
    states = []

    def look(trainer):
        states.append({key: value.clone() for key, value in trainer.model.model[0].body.state_dict().items()})

    def leave(trainer):
        if trainer.epoch == stop:
            raise Stopped

    yolo = YOLO(model)
    for event, function in (("on_train_start", look), ("on_train_epoch_end", look), ("on_model_save", leave)):
        yolo.add_callback(event, function)
    settings = {**SETTINGS, "data": str(folder / "small.yaml"), "project": str(folder / "runs"), **arguments}
    with contextlib.suppress(Stopped):
        yolo.train(**settings)
    return yolo.trainer, states


def changed(states):
    """Say for each epoch whether weights, and whether statistics, of the backbone changed; frozen stages do not."""
    found = []
    for before, after in zip(states, states[1:]):
        moved = {key for key in after if not torch.equal(before[key], after[key])}
        assert not any(key.startswith(("conv_stem", "bn1")) for key in moved)
        found.append((any(key.endswith("weight") for key in moved), any("running" in key for key in moved)))
    return found


def test_two_phases_in_one_training_that_is_resumed_in_both(folder, lines):
    freeze = "[{epochs: 2, lr_mult: 0.1}, 3.cv3]"  # as it comes from a command
    trainer, states = run(folder, str(folder / "model.yaml"), stop=0, epochs=4, freeze=freeze, optimizer="SGD")
    assert changed(states) == [(False, False)]
    trainer, states = run(folder, str(trainer.last), stop=2, resume=True)
    assert trainer.start_epoch == 1 and changed(states) == [(False, False), (True, True)]
    trainer, states = run(folder, str(trainer.last), resume=True)
    assert trainer.start_epoch == 3 and changed(states) == [(True, True)]
    text = "\n".join(lines)
    assert text.count("the backbone is frozen up to epoch 2, with random weights") == 2
    assert text.count("the backbone learns from epoch 3 on") == text.count("the backbone learns from epoch 4 on") == 1

    rates = {id(p): group["initial_lr"] for group in trainer.optimizer.param_groups for p in group["params"]}
    rate = {name: rates[id(p)] for name, p in trainer.model.named_parameters()}
    assert math.isclose(rate["model.0.body.blocks.0.0.conv_dw.weight"], 0.1 * rate["model.3.cv2.0.0.conv.weight"])
    learns = {name: p.requires_grad for name, p in trainer.model.model[3].named_parameters()}
    assert learns["cv2.0.2.bias"] and not any(learns[name] for name in learns if name.startswith("cv3."))
    # The saved network is the moving average, of the backbone too, and neither it nor its file is held any more.
    saved = torch.load(trainer.last, weights_only=False)["model"].model[0]
    assert not saved.train().held and saved.body.blocks[-1].training
    key = "blocks.1.0.conv_pw.weight"
    assert not torch.equal(saved.body.state_dict()[key].float(), states[0][key])


def test_step_decay(folder):
    """Of every group, also where the same object trains again without it."""
    yolo = YOLO(str(folder / "model.yaml"))
    settings = {**SETTINGS, "data": str(folder / "small.yaml"), "project": str(folder / "runs")}
    for optimizer, expected in (("SGD-step2", [0.1, 0.1, 0.01]), ("SGD", [0.1, 0.067, 0.034])):
        yolo.train(**settings, epochs=3, optimizer=optimizer, lr0=0.1)
        with open(yolo.trainer.csv, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        for key in (key for key in rows[0] if "lr/pg" in key):
            assert [float(row[key]) for row in rows] == pytest.approx(expected), key
        yolo = YOLO(str(yolo.trainer.last))


@pytest.mark.parametrize(
    ("freeze", "optimizer", "text"),
    [
        ({"epoch": 3}, "SGD", "it has epoch"),
        ({}, "SGD", None),
        ([3, {"epochs": 1.5}], "SGD", "epochs must be a whole number, not 1.5"),
        ({"epochs": 3, "lr_mult": 0}, "SGD", "lr_mult must be above 0"),
        ({"epochs": 3}, "SGD", "yolov5n.yaml has none: freeze layers by their numbers"),
        ([3, "4.cv1"], "auto-step30", "an optimizer by its name, such as SGD-step30"),
        (None, "SGD-step0", "optimizer=SGD-step0: behind -step stands a whole number of epochs"),
        ("{epochs: 0}", "SGD", None),
        ("{epochs: 2", "SGD", "freeze={epochs: 2: while parsing"),
        ("{epochs: 2, lr: 1}", "SGD", "it has epochs, lr"),
        ([{"epochs": 1}, {"epochs": 2}], "SGD", "it has several mappings"),
    ],
)
def test_arguments(freeze, optimizer, text):
    """What is not ours is left to Ultralytics."""
    arguments = SimpleNamespace(freeze=freeze, optimizer=optimizer, model="yolov5n.yaml")
    trainer = SimpleNamespace(args=arguments, callbacks={"on_train_epoch_start": []})
    if text is None:
        prepare_phases(trainer, torch.nn.Sequential())
        assert first_phase(freeze) == (0, 1) and split_optimizer(optimizer) == (optimizer, 0)
        return
    with pytest.raises(TrainingError, match=text):
        prepare_phases(trainer, torch.nn.Sequential())


def test_gradients_of_both_phases_are_exchanged(folder, run_ranks):
    """Two processes, each with other pictures: when the backbone learns, they have the same gradients."""
    code = """
from types import SimpleNamespace
from torch.nn.parallel import DistributedDataParallel

def work(rank):
    from effyolo_ultra.nn import EfficientNetBackbone
    from effyolo_ultra.phases import hold
    torch.manual_seed(0)
    network = torch.nn.Sequential(EfficientNetBackbone("b0", levels=[3]))
    network.append(torch.nn.Module())
    network[1].conv = torch.nn.Conv2d(40, 8, 1)
    network.forward = lambda image: network[1].conv(network[0](image)[0])
    wrapped = DistributedDataParallel(network, find_unused_parameters=True)
    trainer = SimpleNamespace(model=wrapped, epoch=0, start_epoch=0, epochs=3, freeze_layer_names=[".dfl"])
    torch.manual_seed(rank)
    for trainer.epoch in (0, 1, 2):
        hold(trainer, 1)
        wrapped.train()
        network.zero_grad()
        wrapped(torch.rand(2, 3, 32, 32)).square().mean().backward()
        sums = [None if p.grad is None else round(float(p.grad.abs().sum()), 5) for p in network.parameters()]
        yield sums[0], sums[-1]
"""
    first, second = run_ranks(code, cwd=folder)
    assert len(first) == 3 and first == second
    assert [backbone is None for backbone, _ in first] == [True, False, False]


def test_teacher_is_not_held():
    """Neither on one GPU nor in the wrapper for several."""
    both = torch.nn.Module()
    both.student_model, both.teacher_model = (EfficientNetBackbone("b0", levels=[3]) for _ in range(2))
    for model in (both, torch.nn.DataParallel(both)):
        trainer = SimpleNamespace(model=model, epoch=0, start_epoch=0, epochs=3, freeze_layer_names=["teacher_model."])
        hold(trainer, 1)
        assert both.student_model.held and not both.teacher_model.held
        trainer.epoch = 1
        hold(trainer, 1)
        assert not both.student_model.held and all(p.requires_grad for p in both.parameters())
