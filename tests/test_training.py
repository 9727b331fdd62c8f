"""What a backbone asks of the stock trainer: weights, frozen stages, statistics, learning rate."""

import contextlib
import json
import math
import re
from importlib.util import find_spec

import pytest
import timm
import torch
import ultralytics.engine.trainer
from small_data import write_small_data
from ultralytics import YOLO
from ultralytics.models.yolo.detect import DetectionTrainer

from effyolo_ultra import describe
from effyolo_ultra.nn import TimmBackbone
from effyolo_ultra.zoo import model_path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small data set, in colour and in grey, and weights of an EfficientNet-B0."""
    folder = tmp_path_factory.mktemp("training")
    data = write_small_data(folder)
    (folder / "grey.yaml").write_text(json.dumps({**data, "channels": 1}), encoding="utf-8")
    torch.manual_seed(1)
    model = timm.create_model("tf_efficientnet_b0")
    for buffer in model.buffers():
        if buffer.is_floating_point():
            buffer.uniform_(0.5, 1.5)
    torch.save(model.state_dict(), folder / "b0.pth")
    return folder


@pytest.fixture
def network(folder):
    """Write a model YAML with options of the backbone."""

    def write(name="model.yaml", variant="b0", **options):
        text = {
            "nc": 8,
            "backbone": [[-1, 1, "EfficientNetBackbone", [variant, {"levels": [3, 4], **options}]]],
            "head": [
                [0, 1, "BiFPN", [16]],
                *([1, 1, "PyramidLevel", [level]] for level in (3, 4)),
                [[2, 3], 1, "Detect", ["nc"]],
            ],
        }
        (folder / name).write_text(json.dumps(text), encoding="utf-8")
        return str(folder / name)

    return write


class Watched(DetectionTrainer):
    """The stock trainer, which keeps the state of the network as it was when the first batch was to come."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.add_callback("on_train_start", Watched.look)

    def look(self):
        self.started_from = {key: value.clone() for key, value in self.model.state_dict().items()}
        self.groups = [{**group} for group in self.optimizer.param_groups]


def train(folder, model, load=None, **arguments):
    """Train on the CPU and return the trainer and what Ultralytics has logged."""
    from ultralytics.utils import LOGGER

    settings = {"data": "small.yaml", "epochs": 1, "imgsz": 64, "batch": 4, "plots": False, "val": False}
    settings |= {"device": "cpu", "workers": 0, "project": str(folder / "runs"), **arguments}
    settings["data"] = str(folder / settings["data"])
    logged = []
    filter_ = lambda record: logged.append(record.getMessage()) or True  # noqa: E731
    LOGGER.addFilter(filter_)
    try:
        yolo = YOLO(model)
        if load:
            yolo.load(load)
        yolo.train(trainer=Watched, **settings)
    finally:
        LOGGER.removeFilter(filter_)
    return yolo.trainer, "\n".join(logged)


def backbone_state(state, prefix="model.0.body."):
    return {key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)}


def test_weights_are_loaded_once(folder, network):
    """From the YAML they are; from the checkpoint, which holds its own, they are not: the file is gone by then."""
    path = folder / "moved.pth"
    path.write_bytes((folder / "b0.pth").read_bytes())
    trainer, log = train(folder, network(pretrained="moved.pth"), name="first", epochs=2)
    weights = torch.load(path, weights_only=True)
    for key, value in backbone_state(trainer.started_from).items():
        assert torch.equal(value, weights[key]), key
    assert f"the backbone (layer 0) starts from {path}: " in log and "tensors loaded (timm layout)" in log

    path.unlink()
    best = str(trainer.best)
    checkpoint = torch.load(best, weights_only=False)
    assert checkpoint["model"].model[0].weights_from == str(path)
    trained = {key: value.float() for key, value in backbone_state(checkpoint["model"].state_dict()).items()}
    tuned, log = train(folder, best, name="second")
    for key, value in backbone_state(tuned.started_from).items():
        assert torch.equal(value.to(trained[key].dtype), trained[key]), key
    source = f"{best}, which started from {path}"
    assert f"the backbone (layer 0) starts from {source}\n" in log
    assert torch.load(tuned.best, weights_only=False)["model"].model[0].weights_from == source
    model = YOLO(best)
    model.val(data=str(folder / "small.yaml"), imgsz=64, batch=4, device="cpu", plots=False, workers=0)
    model.predict(str(folder / "small" / "images" / "val"), imgsz=64, device="cpu", verbose=False)
    model.export(format="torchscript", imgsz=64, device="cpu")


def test_backbone_and_neck_start_from_an_efficientdet(folder):
    """By one line in a file of the zoo; a checkpoint of the training holds its own weights."""
    from effdet_models import efficientdet

    path = folder / "d0.pth"
    torch.save({"state_dict": efficientdet("tf_efficientdet_d0").state_dict()}, path)
    weights = torch.load(path, weights_only=True)["state_dict"]
    text = model_path("yolov5-effdet-p7.yaml").read_text(encoding="utf-8")
    (folder / "yolov5-effdet-p7.yaml").write_text(f"{text}pretrained: d0.pth\n", encoding="utf-8")
    model = str(folder / "yolov5n-effdet-p7.yaml")
    trainer, log = train(folder, model, imgsz=128, name="det", optimizer="SGD")
    state = trainer.started_from
    assert torch.equal(state["model.0.body.conv_stem.weight"], weights["backbone.conv_stem.weight"])
    last = weights["fpn.cell.2.fnode.7.after_combine.conv.conv_pw.weight"]
    name = "model.1.cells.2.nodes.7.conv.1.conv.weight"
    assert torch.equal(state[name], last)
    for title, layer in (("backbone", 0), ("BiFPN", 1)):
        line = rf"the {title} \(layer {layer}\) starts from {re.escape(str(path))}: (\d+) of \1 tensors loaded"
        assert len(re.findall(line, log)) == 1

    path.unlink()
    trained = torch.load(trainer.best, weights_only=False)["model"]
    assert [trained.model[i].weights_from for i in (0, 1)] == [str(path)] * 2
    tuned, log = train(folder, str(trainer.best), imgsz=128, name="det2")
    assert torch.equal(tuned.started_from[name].half(), trained.state_dict()[name])
    assert f"the BiFPN (layer 1) starts from {trainer.best}, which started from {path}\n" in log
    _, log = train(folder, model, imgsz=128, name="det3", pretrained=False)
    assert log.count("starts from random weights (pretrained=False)") == 2


def test_weights_of_a_training_loop_of_a_user_are_kept(network):
    """Which says nothing of where they are from; those that were only built make room for the ones of the row."""
    file = network(pretrained="b0.pth")
    given, built = YOLO(file).model, YOLO(file).model
    for _ in range(2):
        given.train()(torch.rand(2, 3, 64, 64))
    origins = [[YOLO(file).model, source] for source in (given, built)]
    for fresh, source in origins:
        fresh.load(source)
    assert [fresh.model[0].weights_from for fresh, _ in origins] == ["unknown weights", ""]


def test_resumed_training_keeps_where_the_weights_are_from(folder, network):
    class Stopped(Exception):
        pass

    def stop(trainer):
        if trainer.epoch == 0:
            raise Stopped

    student = network(pretrained=str(folder / "b0.pth"))
    model = YOLO(student)
    model.add_callback("on_model_save", stop)
    settings = {"data": str(folder / "small.yaml"), "epochs": 2, "imgsz": 64, "batch": 4, "plots": False}
    if find_spec("ultralytics.nn.distill_model"):  # a teacher has no part in any of it
        YOLO(network("teacher.yaml", lr_mult=0.1)).save(folder / "teacher.pt")
        settings["distill_model"] = str(folder / "teacher.pt")
    with contextlib.suppress(Stopped):
        model.train(**settings, device="cpu", project=str(folder / "runs"), name="stopped")
    last = model.trainer.last
    assert describe(last).parameters == describe(student).parameters
    trainer, log = train(folder, str(last), resume=True)
    assert trainer.start_epoch == 1 and "learning rate, in parameter groups" not in log
    assert f"(layer 0) had started from {folder / 'b0.pth'}: the training goes on from {last}\n" in log
    assert torch.load(trainer.best, weights_only=False)["model"].model[0].weights_from == str(folder / "b0.pth")


@pytest.mark.parametrize(
    ("options", "arguments"), [({"pretrained": "gone.pth"}, {"pretrained": False}), ({"pretrained": False}, {})]
)
def test_random_weights_where_they_are_asked_for(folder, network, options, arguments):
    trainer, log = train(folder, network(**options), **arguments)
    assert "the backbone (layer 0) starts from random weights (pretrained" in log
    assert trainer.model.model[0].weights_from.startswith("random weights")


def test_missing_file_stops_the_training(folder, network):
    with pytest.raises(ValueError, match=r"there is no file 'gone\.pth'"):
        train(folder, network(pretrained="gone.pth"))


@pytest.mark.parametrize("other", ["yolov5n.yaml", "b1", "b0"])
def test_weights_of_another_network(folder, network, other):
    """They leave the backbone to its own, as do those of another backbone, which has tensors of the same names."""
    model = YOLO(other if other.endswith("yaml") else network("other.yaml", variant=other))
    for module in model.model.modules():
        if isinstance(module, TimmBackbone):
            module.weights_from = "somewhere"
    model.save(folder / f"{other}.pt")
    given = model.model.state_dict()
    trainer, log = train(folder, network(pretrained="b0.pth"), load=str(folder / f"{other}.pt"))
    own = torch.load(folder / "b0.pth", weights_only=True)
    for key, value in backbone_state(trainer.started_from).items():
        expected = given[f"model.0.body.{key}"].half().to(value.dtype) if other == "b0" else own[key]
        assert torch.equal(value, expected), key
    source = f"{folder / 'b0.pt'}, which started from somewhere\n" if other == "b0" else f"{folder / 'b0.pth'}: "
    assert f"the backbone (layer 0) starts from {source}" in log
    assert ("does not fit tf_efficientnet_b0: it holds a tf_efficientnet_b1" in log) == (other == "b1")


@pytest.mark.skipif(not hasattr(ultralytics.engine.trainer, "MultiTrainer"), reason="an Ultralytics without it")
def test_several_data_sets(folder, network):
    """Ultralytics saves the network from the YAML, and starts each training from that file."""
    model = YOLO(network(pretrained=str(folder / "b0.pth")))
    data = [str(folder / "small.yaml"), str(folder / "grey.yaml")]
    settings = {"epochs": 1, "imgsz": 64, "batch": 4, "plots": False, "device": "cpu", "project": str(folder / "runs")}
    model.train(data=data, trainer=Watched, **settings)
    checkpoints = [
        torch.load(path, weights_only=False) for path in (folder / "runs").glob("multitrain*/*/weights/best.pt")
    ]
    assert [c["model"].model[0].weights_from for c in checkpoints] == [str(folder / "b0.pth")] * 2


def test_random_weights_that_are_frozen_are_said(folder, network):
    _, log = train(folder, network(frozen_stages=1), pretrained=False)
    assert "has frozen stages or statistics of random weights" in log


def test_colour_checkpoint_on_grey_pictures(folder, network):
    colour, _ = train(folder, network(pretrained="b0.pth"))
    checkpoint = torch.load(colour.best, weights_only=False)["model"].float().state_dict()
    trainer, log = train(folder, str(colour.best), data="grey.yaml")
    state = backbone_state(trainer.started_from)
    stem = "conv_stem.weight"
    torch.testing.assert_close(state.pop(stem), checkpoint[f"model.0.body.{stem}"].sum(1, keepdim=True))
    assert all(torch.equal(value, checkpoint[f"model.0.body.{key}"]) for key, value in state.items())
    assert f"starts from {colour.best}, which started from {folder / 'b0.pth'}\n" in log


def test_grey_pictures(folder, network):
    trainer, _ = train(folder, network(pretrained="b0.pth"), data="grey.yaml")
    stem = trainer.started_from["model.0.body.conv_stem.weight"]
    rgb = torch.load(folder / "b0.pth", weights_only=True)["conv_stem.weight"]
    torch.testing.assert_close(stem, rgb.sum(1, keepdim=True))


def test_frozen_stages_stay_frozen(folder, network):
    trainer, log = train(folder, network(pretrained="b0.pth", frozen_stages=2), freeze=[1])
    frozen = ("model.0.body.conv_stem.", "model.0.body.bn1.", "model.0.body.blocks.0.", "model.0.body.blocks.1.")
    for key, value in trainer.model.state_dict().items():
        if key.startswith((*frozen, "model.1.")) and "num_batches" not in key:
            assert torch.equal(value, trainer.started_from[key]), key
    moved = {
        key for key, value in trainer.model.named_parameters() if not torch.equal(value, trainer.started_from[key])
    }
    assert "model.0.body.blocks.2.0.conv_pw.weight" in moved and not any(key.startswith("model.1.") for key in moved)
    assert "Freezing layer 'model.0.body.blocks.1.0.conv_pw.weight'" in log
    assert "requires_grad=True" not in log


def test_norm_eval_holds_in_a_training(folder, network):
    trainer, _ = train(folder, network(pretrained="b0.pth", norm_eval=True))
    for key, value in trainer.model.named_buffers():
        if key.startswith("model.0.body."):
            assert torch.equal(value, trainer.started_from[key]), key
    weight = "model.0.body.blocks.2.0.bn1.weight"
    assert not torch.equal(trainer.model.state_dict()[weight], trainer.started_from[weight])


@pytest.mark.parametrize("optimizer", ["SGD", "AdamW", "auto", *(["MuSGD"] if find_spec("ultralytics.optim") else [])])
def test_learning_rate_of_the_backbone(folder, network, optimizer):
    groups = {}
    for mult in (1.0, 0.1):
        trainer, _ = train(folder, network(pretrained=False, lr_mult=mult), optimizer=optimizer, lr0=0.01)
        names = {id(p): name for name, p in trainer.model.named_parameters()}
        groups[mult] = {names[id(p)]: group for group in trainer.groups for p in group["params"]}
        assert groups[mult].keys() == set(names.values())
    for name, plain in groups[1.0].items():
        ours = groups[0.1][name]
        factor = 0.1 if name.startswith("model.0.") else 1
        assert math.isclose(ours["initial_lr"], factor * plain["initial_lr"]), name
        assert ours["weight_decay"] == plain["weight_decay"] and ours.get("use_muon") == plain.get("use_muon")
    # The schedule keeps the ratio.
    last = {id(p): group["lr"] for group in trainer.optimizer.param_groups for p in group["params"]}
    rate = {names[key]: value for key, value in last.items()}
    neck = next(name for name in rate if name.startswith("model.1.") and name.endswith(".bn.weight"))
    assert math.isclose(rate["model.0.body.bn1.weight"], 0.1 * rate[neck])


def test_warm_up_of_the_backbone_starts_at_zero(folder, network):
    rates = []

    def look(trainer):
        bias = {id(p) for name, p in trainer.model.named_parameters() if name.startswith("model.0.") and "bias" in name}
        rates.append({g["lr"] for g in trainer.optimizer.param_groups if any(id(p) in bias for p in g["params"])})

    model = YOLO(network(pretrained=False, lr_mult=0.01))
    model.add_callback("on_train_batch_end", look)
    settings = {"data": str(folder / "small.yaml"), "epochs": 1, "imgsz": 64, "batch": 4, "plots": False, "val": False}
    model.train(**settings, optimizer="SGD", lr0=0.01, device="cpu", project=str(folder / "runs"))
    assert rates and all(rate <= 0.01 * 0.01 for rate in set().union(*rates))


def test_one_process_of_a_group_loads(folder, run_ranks):
    """Two processes, as in a multi-GPU training: the first loads, the other receives; both see an error."""
    code = f"""
from types import SimpleNamespace

def work(rank):
    from effyolo_ultra.nn import EfficientNetBackbone
    from effyolo_ultra.training import prepare_network
    for path in ({str(folder / "b0.pth")!r} if rank == 0 else "gone.pth", "gone.pth"):
        network = torch.nn.Sequential(EfficientNetBackbone("b0", pretrained=path))
        network[0].i, network.yaml = 0, {{}}
        arguments = SimpleNamespace(pretrained=True, freeze=None, optimizer="auto", model="m.yaml")
        trainer = SimpleNamespace(model=network, args=arguments, device=torch.device("cpu"), resume=False)
        try:
            prepare_network(trainer)
            result = network[0].weights_from, sum(float(v.double().sum()) for v in network[0].state_dict().values())
        except ValueError as error:
            result = type(error).__name__
        yield result
"""
    first, second = run_ranks(code, cwd=folder)
    assert len(first) == 2 and first == second and first[0][0] == str(folder / "b0.pth")
    assert first[1] == "WeightsError"
