"""The detectors that are measured, each as its users build it, train it, run it and export it."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import torch
from torch import nn

from benchmarks.speed.export import onnx_file
from benchmarks.speed.images import calibrate, natural_images
from benchmarks.speed.targets import Targets
from effyolo_ultra.zoo import list_models

CLASSES = 80
EFFDET = "tf_efficientdet_"


class Model:
    """A detector with random weights and the BatchNorm statistics of natural images."""

    def __init__(self, name: str, imgsz: int, folder: Path):
        self.name, self.imgsz, self.folder = name, imgsz, folder

    def build(self) -> nn.Module:
        """Build the network."""
        raise NotImplementedError

    @cached_property
    def network(self) -> nn.Module:
        """The network before anything is folded, in eval mode."""
        torch.manual_seed(0)
        network = self.build()
        calibrate(network, self.imgsz)
        return network

    @cached_property
    def inference(self) -> nn.Module:
        """The network as its users run it in torch."""
        return copy.deepcopy(self.network).requires_grad_(False)

    def criterion(self, network: nn.Module) -> Callable[[torch.Tensor, Targets], torch.Tensor]:
        """Return what gives the loss of a network in train mode for images and targets."""
        raise NotImplementedError

    def export(self, format: str, batch: int) -> Path:
        """Write the file that ONNX Runtime ("onnx") or OpenVINO ("openvino") runs."""
        path = self.folder / f"{self.name.replace(' ', '-')}-{self.imgsz}-{batch}.onnx"
        if not path.exists():  # OpenVINO reads the same file
            onnx_file(self.inference, natural_images(batch, self.imgsz), path)
        return path


class Yolo(Model):
    """A network of Ultralytics: fused, with decoded boxes, exported by `YOLO.export`."""

    def build(self) -> nn.Module:
        """Build the network as Ultralytics' own command does."""
        from ultralytics import YOLO

        self.yolo = YOLO(self.name, task="detect")
        return self.yolo.model

    @cached_property
    def inference(self) -> nn.Module:
        """The fused network, as in Ultralytics' AutoBackend."""
        return copy.deepcopy(self.network).fuse(verbose=False).requires_grad_(False)

    def criterion(self, network: nn.Module) -> Callable[[torch.Tensor, Targets], torch.Tensor]:
        """Return Ultralytics' loss with its default gains."""
        from ultralytics.cfg import get_cfg

        network.args = get_cfg()
        return lambda images, targets: network({"img": images, **targets.ultralytics()})[0].sum()

    def export(self, format: str, batch: int) -> Path:
        """Export as `yolo export` does."""
        network = self.network
        # The exporter writes beside the checkpoint.
        network.pt_path = str(self.folder / f"{Path(self.name).stem}-{self.imgsz}-{batch}.pt")
        return Path(self.yolo.export(format=format, imgsz=self.imgsz, batch=batch, device="cpu"))


class Backbone(Model):
    """The backbone of a fused network alone."""

    def __init__(self, detector: Yolo):
        super().__init__(f"{detector.name} backbone", detector.imgsz, detector.folder)
        self.detector = detector

    @cached_property
    def inference(self) -> nn.Module:
        """The first layer of the detector."""
        return copy.deepcopy(self.detector.inference.model[0])


class EfficientDetector(Model):
    """An EfficientDet of efficientdet-pytorch: raw outputs of classes and boxes."""

    def build(self) -> nn.Module:
        """Build the network as `effdet.create_model` does."""
        from effdet import EfficientDet, get_efficientdet_config

        config = get_efficientdet_config(self.name)
        config.image_size, config.num_classes = (self.imgsz, self.imgsz), CLASSES
        return EfficientDet(config, pretrained_backbone=False)

    def criterion(self, network: nn.Module) -> Callable[[torch.Tensor, Targets], torch.Tensor]:
        """Return effdet's loss, its labelling of anchors included."""
        from effdet import DetBenchTrain

        bench = DetBenchTrain(network).to(next(network.parameters()).device)
        return lambda images, targets: bench(images, targets.effdet(images.shape[-1]))["loss"]


def make_model(name: str, imgsz: int, folder: Path) -> Model:
    """Return the model of a name: tf_efficientdet_* of effdet, or a YAML of the zoo or of Ultralytics."""
    if name.startswith(EFFDET):
        return EfficientDetector(name, imgsz, folder)
    return Yolo(name, imgsz, folder)


def family(name: str) -> str:
    """Return to whom a model belongs, and which of its kinds it is."""
    if name.startswith(EFFDET):
        return "effdet"
    if Path(name).name in list_models():
        return {"bifpn": "weighted PAN", "pan": "PAN"}.get(Path(name).stem.rsplit("-", 1)[1], "BiFPN")
    if found := re.match(r"yolov?\d+", Path(name).name):
        return found[0].replace("yolo", "YOLO")
    return Path(name).stem
