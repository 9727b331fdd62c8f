"""Class-activation maps, computed by pytorch-grad-cam (https://github.com/jacobgil/pytorch-grad-cam)."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from effyolo_ultra.errors import MissingPackageError, nearest
from effyolo_ultra.feature_maps.maps import level_name

# Name on the command line -> class of pytorch-grad-cam. Those that run the network once for each channel take hours.
METHODS = {"eigen": "EigenCAM", "layer": "LayerCAM", "hires": "HiResCAM", "grad": "GradCAM"}
MOST_CELLS = 48  # EigenCAM takes the singular vectors of all cells of a map, whose time grows with their square
SAME_OBJECT = 0.7  # overlap of two boxes, Ultralytics' default


class Prediction(NamedTuple):
    """What a network predicts: a class by its number, and the box in pixels of its input, None of a whole picture."""

    number: int
    score: float
    xyxy: tuple[int, ...] | None


class ActivationMaps(NamedTuple):
    """Class-activation maps of a picture, (H, W) in 0..1: one for all levels together, and one for each level.

    `explained` are the predictions whose scores they explain, the best first and each object once; EigenCAM has none.
    """

    title: str
    together: np.ndarray
    levels: dict[str, np.ndarray]
    explained: tuple[Prediction, ...]

    @property
    def flat(self) -> list[str]:
        """The levels whose map shows nothing, as it has the same value everywhere."""
        return [level for level, values in self.levels.items() if not values.max() > values.min()]


def class_number(name: str | int, names: Mapping[int, str]) -> int:
    """Return the number of a class.

    Raises:
        ValueError: If the network has no such class.
    """
    for number, known in names.items():
        if str(name) == known or str(name) == str(number):
            return number
    raise ValueError(f"the network has no class '{name}'.{nearest(str(name), names.values())}")


def cam_class(method: str, has_class: bool) -> type:
    """Return the class of pytorch-grad-cam for a method.

    Raises:
        MissingPackageError: If pytorch-grad-cam is not installed.
        ValueError: If there is no such method, or it knows no classes and is asked for one.
    """
    if method not in METHODS:
        raise ValueError(f"cam must be one of {', '.join(METHODS)}, not {method!r}.{nearest(str(method), METHODS)}")
    if method == "eigen" and has_class:
        raise ValueError("EigenCAM knows no classes: leave the class out, or take cam layer, hires or grad")
    try:
        import pytorch_grad_cam
    except ImportError as error:
        raise MissingPackageError(
            'class-activation maps need grad-cam: pip install "effyolo-ultra[cam]", or pip install grad-cam'
        ) from error
    return getattr(pytorch_grad_cam, METHODS[method])


def activation_maps(
    network: nn.Module, image: torch.Tensor, method: str = "eigen", number: int | None = None, conf: float = 0.25
) -> ActivationMaps:
    """Return class-activation maps on the feature maps that the head takes.

    Args:
        network: A network of Ultralytics.
        image: A picture as the network takes it (1, C, H, W).
        method: One of METHODS. 'eigen' has no gradients and knows no class: it shows the first principal component.
            'grad' has one weight for each channel of a level, which suits classifiers; 'layer' and 'hires' have one
            for each cell too, which suits detectors.
        number: The class to explain; by default the best class of each prediction.
        conf: Least score of the predictions to explain; the best one is always explained.

    Raises:
        ValueError: If nothing of this class is predicted, or as `cam_class`.
        MissingPackageError: As `cam_class`.
    """
    cls = cam_class(method, number is not None)
    network = copy.deepcopy(network).float().eval()
    head = network.model[-1]
    head.shape = head.shapes = None  # anchors that a prediction has left are no part of a gradient
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    score = Score(network, number, conf)
    transform = {"reshape_transform": few_cells} if method == "eigen" else {}
    image = image.float().to(next(network.parameters()).device)
    # Not as its context manager, which swallows an IndexError.
    cam = cls(score, list(score.taps), **transform)
    with torch.enable_grad():
        together = cam(image, [torch.sum])[0]
        single = cam.compute_cam_per_layer(image, [torch.sum], False)
    levels = {level_name(image.shape[-2], tap.height): maps[0, 0] for tap, maps in zip(score.taps, single)}
    return ActivationMaps(METHODS[method], together, levels, () if method == "eigen" else score.explained)


def few_cells(x: torch.Tensor) -> torch.Tensor:
    """Average a large feature map to a size that a singular value decomposition can take."""
    height, width = x.shape[-2:]
    return F.adaptive_avg_pool2d(x, (min(height, MOST_CELLS), min(width, MOST_CELLS)))


class Tap(nn.Module):
    """Hands a feature map on to the head, as the tensor from which pytorch-grad-cam takes the gradient.

    A row of its own for each level, because pytorch-grad-cam takes gradients to come in the reverse order of the maps,
    which rows of a model YAML need not obey.
    """

    height = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the feature map, cut off from what has computed it."""
        self.height = x.shape[-2]
        return x.detach().requires_grad_().clone()


class Score(nn.Module):
    """A network that gives one number: the sum of the scores of its predictions, before the sigmoid or softmax.

    After a pass, `explained` are these predictions, without others of the same object.

    Args:
        network: A network of Ultralytics in eval mode.
        number: The class whose scores count; by default the best class of each prediction.
        conf: Least score of the predictions that count.
    """

    def __init__(self, network: nn.Module, number: int | None, conf: float):
        super().__init__()
        self.network, self.number, self.conf = network, number, conf
        self.explained: tuple[Prediction, ...] = ()
        head = network.model[-1]
        self.taps = nn.ModuleList(Tap() for _ in (head.f if isinstance(head.f, list) else [head.f]))
        head.register_forward_pre_hook(self.tap)

    def tap(self, _: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        """Lead what the head takes through the taps."""
        maps, *others = inputs
        if isinstance(maps, (list, tuple)):
            return [tap(x) for tap, x in zip(self.taps, maps)], *others
        return self.taps[0](maps), *others

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return (1, 1) for an image (1, C, H, W)."""
        output = self.network(image)
        if type(self.network.model[-1]).__name__ == "Classify":
            logits = (output[1] if isinstance(output, tuple) else output)[0]
            number = int(logits.argmax()) if self.number is None else self.number
            self.explained = (Prediction(number, logits.detach().softmax(0)[number].item(), None),)
            return logits[number].view(1, 1)
        while isinstance(output, (tuple, list)):  # the predictions come first, before masks and what a loss takes
            output = output[0]
        scores, labels, boxes = self.predictions(output)
        if not len(scores):
            raise ValueError(f"nothing of class {self.number} is predicted in this picture")
        kept = (scores >= self.conf) | (scores == scores.max())
        self.explained = self.objects(scores[kept].detach(), labels[kept], boxes[kept].detach(), image)
        return torch.logit(scores[kept], eps=1e-6).sum().view(1, 1)

    def predictions(self, output: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return score, class and box of each prediction, the box in the head's own form."""
        head = self.network.model[-1]
        is_transformer = type(head).__name__ == "RTDETRDecoder"
        if getattr(head, "end2end", False) or (is_transformer and hasattr(head, "postprocess")):
            boxes, scores, labels = output[0, :, :4], output[0, :, 4], output[0, :, 5]
            chosen = slice(None) if self.number is None else labels == self.number
            return scores[chosen], labels[chosen], boxes[chosen]
        rows = output[0] if is_transformer else output[0].T
        scores, labels = rows[:, 4 : 4 + head.nc].max(1)
        if self.number is not None:
            scores, labels = rows[:, 4 + self.number], torch.full_like(labels, self.number)
        return scores, labels, rows[:, :4]

    def objects(
        self, scores: torch.Tensor, labels: torch.Tensor, boxes: torch.Tensor, image: torch.Tensor
    ) -> tuple[Prediction, ...]:
        """Return predictions, the best one of each object."""
        from torchvision.ops import batched_nms
        from ultralytics.utils.ops import clip_boxes, xywh2xyxy

        head = self.network.model[-1]
        name = type(head).__name__
        if name == "RTDETRDecoder":  # in shares of the image
            boxes = boxes * boxes.new_tensor(image.shape[-1:-3:-1]).repeat(2)
        if not getattr(head, "end2end", False) or "OBB" in name:
            boxes = xywh2xyxy(boxes)
        boxes = clip_boxes(boxes.clone(), image.shape[-2:])
        best = batched_nms(boxes, scores, labels, SAME_OBJECT).tolist()
        return tuple(Prediction(int(labels[i]), float(scores[i]), tuple(map(round, boxes[i].tolist()))) for i in best)
