"""What a timm model must do under a YOLO: build, take images of any size, train, survive a checkpoint, export."""

import copy
import io
from pathlib import Path

import timm
import torch
import yaml
from torch import nn
from ultralytics import YOLO
from ultralytics.cfg import get_cfg

IMAGE_HW = (160, 224)


def levels_of(name: str) -> list[int]:
    """Return the levels from P2 to P6 that timm states for a model."""
    with torch.device("meta"):
        info = timm.create_model(name, features_only=True).feature_info.info
    strides = {stage["reduction"] for stage in info}
    return [k for k in range(2, 7) if 2**k in strides]


def describe(name: str, levels: list[int]) -> dict:
    """Return the model YAML of a YOLO that is this backbone and a Detect head."""
    rows = [[0, 1, "PyramidLevel", [k]] for k in levels]
    detect = [list(range(1, len(levels) + 1)), 1, "Detect", ["nc"]]
    return {
        "nc": 3,
        "backbone": [[-1, 1, "TimmBackbone", [name, {"levels": levels}]]],
        "head": [*rows, detect],
    }


def build(name: str, levels: list[int], folder: Path) -> YOLO:
    """Build the YOLO from a file in `folder`."""
    path = folder / "yolo.yaml"
    path.write_text(yaml.safe_dump(describe(name, levels)), encoding="utf-8")
    yolo = YOLO(path)
    yolo.model.pt_path = str(path.with_suffix(".pt"))  # an export goes where this would lie
    return yolo


def check_training(model: nn.Module, imgsz: int = 128) -> str:
    """Check one step of training, and note how many parameters of the backbone these levels do without."""
    batch = {
        "img": torch.rand(2, 3, imgsz, imgsz),
        "batch_idx": torch.tensor([0.0, 0.0, 1.0]),
        "cls": torch.tensor([[0.0], [1.0], [2.0]]),
        "bboxes": torch.tensor([[0.3, 0.3, 0.3, 0.4], [0.6, 0.7, 0.2, 0.2], [0.5, 0.5, 0.8, 0.7]]),
    }
    stored, model.args = model.args, get_cfg()  # the loss reads its weights from attributes, an export wants a dict
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    loss = model.train().loss(batch)[0].sum()
    loss.backward()
    model.args = stored
    assert torch.isfinite(loss), f"the loss is {loss.item()}"
    trained = [p for p in model.parameters() if p.grad is not None]
    assert all(torch.isfinite(p.grad).all() for p in trained), "a gradient is not finite"
    optimizer.step()
    unused = [p for p in model.model[0].parameters() if p.requires_grad and p.grad is None]
    return f"yes, {len(unused)} tensors unused" if unused else "yes"


@torch.no_grad()
def make_realistic(model: nn.Module, images: torch.Tensor) -> None:
    """Give a fresh network the activations of one trained on `images`, so that two answers can differ.

    A fresh one hides its branches behind scales of 0 or 1e-6, and its BatchNorms have seen no data.
    """
    for parameter in model.parameters():
        if parameter.ndim == 1 and parameter.requires_grad:
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    for branch in model.model[-1].cv3:
        branch[-1].bias.zero_()  # a fresh head says "nothing" with certainty, whatever it sees
    momentum_of = {m: m.momentum for m in model.modules() if isinstance(m, nn.BatchNorm2d)}
    for norm in momentum_of:
        norm.momentum = 1.0
    model.train()(images)
    for norm, momentum in momentum_of.items():
        norm.momentum = momentum
    model.eval()


@torch.no_grad()
def predict(model: nn.Module, image: torch.Tensor) -> torch.Tensor:
    """Return the raw predictions (N, 4 + classes, anchors): boxes in pixels, and scores."""
    return model.eval()(image)[0]


def check_checkpoint(model: nn.Module, levels: list[int], images: torch.Tensor) -> None:
    """Check that a model saved as the trainer saves it, a copy, comes back with the same predictions for any size."""
    file = io.BytesIO()
    torch.save(copy.deepcopy(model), file)
    file.seek(0)
    loaded = torch.load(file, weights_only=False)
    for image in (images, torch.rand(1, 3, 96, 64), torch.rand(1, 3, 416, 288)):
        given, expected = predict(loaded, image), predict(model, image)
        assert torch.equal(given, expected), "other predictions after loading"
        height, width = image.shape[-2:]
        anchors = sum((height // 2**k) * (width // 2**k) for k in levels)
        assert given.shape[1:] == (4 + 3, anchors), f"{given.shape[2]} anchors for {width} x {height}, not {anchors}"


def check_export(yolo: YOLO, images: torch.Tensor) -> None:
    """Check that ONNX Runtime gives the predictions of the exported model."""
    import onnxruntime

    expected, other = predict(yolo.model, images[:1]), predict(yolo.model, images[1:2])
    assert (expected - other).abs().amax() > 0.1, "the predictions do not depend on the image"
    path = yolo.export(format="onnx", imgsz=list(images.shape[-2:]), device="cpu", simplify=False)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (given,) = session.run(None, {session.get_inputs()[0].name: images[:1].numpy()})
    torch.testing.assert_close(torch.from_numpy(given), expected, rtol=1e-3, atol=1e-3)
