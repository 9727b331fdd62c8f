"""Loading pretrained weights into a backbone or BiFPN, by name and shape, with a report of what was loaded."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch

from effyolo_ultra.errors import WeightsError
from effyolo_ultra.nn.bifpn import BiFPN
from effyolo_ultra.nn.timm_body import normalization_of
from effyolo_ultra.nn.timm_models import with_tag
from effyolo_ultra.weights import bifpn, efficientdet, openmmlab
from effyolo_ultra.weights.files import Weights, read
from effyolo_ultra.weights.hub import fetch
from effyolo_ultra.weights.timm_layout import check_channels, shortened, through_timm

if TYPE_CHECKING:
    from effyolo_ultra.nn.backbone import TimmBackbone
    from effyolo_ultra.nn.pretrained import Pretrained


class Misfit(WeightsError):
    """Weights that are not of the module; what they are of goes before the message."""


class Report(NamedTuple):
    """What became of the weights that a module asked for.

    Attributes:
        source: Where its weights are from now.
        details: What was loaded, what is missing and what was not used, or why nothing was.
        is_complete: Whether it has all that it asked for.
    """

    source: str
    details: str = ""
    is_complete: bool = True

    def __str__(self) -> str:
        return f"{self.source}: {self.details}" if self.details else self.source


def load_asked(module: Pretrained, folder: str) -> Report:
    """Load the weights that a module asks for by its option `pretrained`.

    Args:
        module: A backbone or a BiFPN.
        folder: Where to look for a relative path that the working directory does not have.

    Raises:
        WeightsError: If they do not exist, do not fit or, unless `pretrained` is 'auto', cannot be fetched.
    """
    if module.pretrained is False:
        return Report("random weights (pretrained: false)")
    if isinstance(module.pretrained, str) and module.pretrained != "auto":
        path = find(module.pretrained, folder)
        return load_file(module, path, str(path))
    try:
        path = fetch(module.model_name)
    except WeightsError as error:
        if module.pretrained is True:
            raise
        return Report("random weights", f"pretrained ones cannot be had. {error}", is_complete=False)
    return load_file(module, path, with_tag(module.model_name))


def find(path: str, folder: str) -> Path:
    """Return a file of weights by its path, relative to the working directory or to `folder`."""
    places = [Path.cwd(), Path(folder).absolute()] if folder else [Path.cwd()]
    for place in places:
        file = place / Path(path).expanduser()
        if file.is_file():
            return file
    looked = " and ".join(dict.fromkeys(str(place / Path(path).expanduser()) for place in places))
    raise WeightsError(f"pretrained: there is no file {path!r}; looked for {looked}")


def load_file(module: Pretrained, path: Path, source: str) -> Report:
    """Load a file of weights into a backbone or a BiFPN."""
    try:
        return put(module, read(path), source)
    except Misfit as error:
        raise WeightsError(f"{path} {error}") from None


def put(module: Pretrained, weights: Weights, source: str) -> Report:
    """Put weights into a module."""
    try:
        state, missing, unused = fit_bifpn(module, weights) if isinstance(module, BiFPN) else fit(module, weights)
    except WeightsError as error:
        raise Misfit(f"({weights.layout} layout) does not fit {module.wanted_weights}: {error}") from None
    nan = [name for name, tensor in state.items() if not torch.isfinite(tensor).all()]
    if nan:
        raise Misfit(f"holds numbers that are not finite, first in {nan[0]}: it is damaged")
    part = module if isinstance(module, BiFPN) else module.body
    part.load_state_dict({**part.state_dict(), **state})
    details = f"{len(state) - len(missing)} of {len(state)} tensors loaded ({weights.layout} layout)"
    details += f"; missing: {shortened(missing)}" if missing else ""
    details += f"; not used: {shortened(unused)}" if unused else ""
    return Report(source, details, not missing)


def fit_bifpn(module: BiFPN, weights: Weights) -> tuple[dict[str, torch.Tensor], list[str], list[str]]:
    """Return the state of a BiFPN with the tensors of a file, what is missing in them, and what is not used."""
    if not weights.neck:
        raise WeightsError(
            "it holds no BiFPN; expected a checkpoint of EfficientDet or of a network with a BiFPN row. Weights of a"
            " backbone alone are named in the row of the backbone: {pretrained: <file>}"
        )
    given = efficientdet.to_bifpn(weights.neck) if weights.layout == "EfficientDet" else weights.neck
    check_norms(module.state_dict(), given)
    return bifpn.fit(module, given)


def fit(backbone: TimmBackbone, weights: Weights) -> tuple[dict[str, torch.Tensor], list[str], list[str]]:
    """Return the same for a backbone."""
    if not weights.tensors:
        raise WeightsError("it holds no backbone of this package")
    if weights.layout == "Ultralytics":
        return by_name(backbone, weights)
    tensors = openmmlab.to_timm(weights.tensors) if weights.layout == "OpenMMLab" else weights.tensors
    return through_timm(backbone, tensors)


def check_norms(ours: Iterable[str], given: Iterable[str]) -> None:
    """Refuse tensors by name if BatchNorms are folded in them or in ours alone: what a norm was cannot be told."""
    has_norms, are_given = (any(name.endswith("running_mean") for name in names) for names in (ours, given))
    if has_norms != are_given:
        fused = "it is" if has_norms else "the network that is to take it is"
        raise WeightsError(f"{fused} fused for inference; use the file that the training has written")


def by_name(backbone: TimmBackbone, weights: Weights) -> tuple[dict[str, torch.Tensor], list[str], list[str]]:
    """Return the state of a backbone with tensors of its own names, what is missing in them, and what is not used."""
    from timm.models import adapt_input_conv

    arch = backbone.model_name.partition(".")[0]
    if weights.model_name.partition(".")[0] != arch:
        raise WeightsError(f"it holds a {weights.model_name}")
    if normalization_of(weights.model_name) != normalization_of(backbone.model_name):
        raise WeightsError(f"it holds a {weights.model_name}, which normalises the image by other constants")
    state, tensors = backbone.body.state_dict(), dict(weights.tensors)
    check_norms(state, tensors)
    stem = next(iter(state))
    if stem in tensors and tensors[stem].ndim == 4 and tensors[stem].shape[1] != backbone.in_channels:
        check_channels(tensors[stem].shape[1], backbone.in_channels)
        tensors[stem] = adapt_input_conv(backbone.in_channels, tensors[stem])
    wrong = [name for name in state if name in tensors and tensors[name].shape != state[name].shape]
    if wrong:
        raise WeightsError(f"{wrong[0]} is {list(tensors[wrong[0]].shape)}, not {list(state[wrong[0]].shape)}")
    missing = [name for name in state if name not in tensors]
    if 10 * len(missing) > len(state):
        raise WeightsError(f"{len(missing)} of {len(state)} tensors are missing: {shortened(missing)}")
    unused = [name for name in tensors if name not in state]
    return {name: tensors.get(name, tensor) for name, tensor in state.items()}, missing, unused
