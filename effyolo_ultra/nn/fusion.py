"""Weighted fusion of feature maps (EfficientDet, https://arxiv.org/abs/1911.09070, section 3.3)."""

from __future__ import annotations

import torch
from torch import nn

from effyolo_ultra.nn._checks import check_choice, check_int, check_number
from effyolo_ultra.row import Built, Feature, Row

FUSIONS = ("fast", "softmax", "sum")
is_compiling = getattr(torch.compiler, "is_compiling", lambda: False)  # torch has it since 2.3


# Ultralytics' optimizers spare the parameters of nn.*Norm* classes from weight decay, and fusion weights must be
# spared: decay alone would pull them to zero, where ReLU lets no gradient through. 1-D, so that Muon leaves them alone.
class FusionWeights(nn.LocalResponseNorm):
    """The learned weights of one fusion, normalised over its inputs.

    `fast` is relu(w_i) / (sum_j relu(w_j) + eps), `softmax` is exp(w_i) / sum_j exp(w_j), `sum` is 1 for every input.

    Args:
        inputs: Number of inputs.
        fusion: 'fast', 'softmax' or 'sum'.
        eps: Keeps the denominator of `fast` above zero.
    """

    constants: list[float] | None = None

    def __init__(self, inputs: int, fusion: str = "fast", eps: float = 1e-4):
        nn.Module.__init__(self)
        self.inputs = inputs
        self.fusion = check_choice("fusion", fusion, FUSIONS)
        self.eps = check_number("eps", eps, least=1e-12, below=1)
        if fusion != "sum":
            self.weight = nn.Parameter(torch.ones(inputs))

    def reset_parameters(self) -> None:
        """Give all inputs the same weight."""
        if self.fusion != "sum":
            nn.init.ones_(self.weight)

    def forward(self, features: list[torch.Tensor]) -> list[torch.Tensor]:
        """Return each feature map times its normalised weight."""
        if len(features) != self.inputs:
            raise ValueError(f"this fusion takes {self.inputs} feature maps, not {len(features)}")
        if self.fusion == "sum":
            return list(features)
        weights = self.constants or self.normalized().unbind()
        return [x * (w if isinstance(w, float) else w.to(x.dtype)) for w, x in zip(weights, features)]

    def normalized(self) -> torch.Tensor:
        """Return the normalised weights (inputs,)."""
        # In float16, eps is below the resolution of the sum.
        weight = self.weight.to(torch.promote_types(self.weight.dtype, torch.float32))
        if self.fusion == "softmax":
            return weight.softmax(0)
        positive = weight.relu()
        total = positive.sum()
        normalized = positive / (total + self.eps)
        if not self.training:
            return normalized
        # With no weight above zero, ReLU would let no gradient through ever again. So in that case a term is added that
        # is zero, and has the gradient of a sum weighted by w itself, not by w / eps: that one would leap.
        return normalized + torch.where(total > 0, 0.0, weight - weight.detach())

    def fuse(self) -> None:
        """Make the normalised weights constants, for a network that is used and no more trained."""
        self.constants = None if self.fusion == "sum" else self.normalized().tolist()

    def train(self, mode: bool = True) -> FusionWeights:
        """Set training mode, in which the weights change."""
        if mode:
            self.constants = None
        return super().train(mode)

    def extra_repr(self) -> str:
        """Show the options in the printed model."""
        return f"inputs={self.inputs}, fusion={self.fusion}, eps={self.eps}"


class BiFPN_Add(nn.Module):
    """Weighted sum of feature maps of one shape.

    In a YAML, `[[-1, 4], 1, BiFPN_Add, []]` or `[[-1, 4, 6], 1, BiFPN_Add, [{fusion: softmax}]]`.

    Args:
        inputs: Number of inputs.
        fusion: 'fast' (section 3.3, the paper's choice), 'softmax', or 'sum' without weights.
        eps: Keeps the denominator of `fast` above zero.
    """

    stride: int | None = None  # of the feature maps, where a model YAML tells

    def __init__(self, inputs: int, *, fusion: str = "fast", eps: float = 1e-4):
        super().__init__()
        self.weights = FusionWeights(inputs, fusion, eps)

    def forward(self, features: list[torch.Tensor]) -> torch.Tensor:
        """Fuse tensors (N, C, H, W) into one of the same shape."""
        if self.weights.constants:
            first, *constants = self.weights.constants
            fused = features[0] * first
            as_graph = torch.jit.is_tracing() or is_compiling()  # the exports to CoreML and LiteRT know no `alpha`
            for feature, constant in zip(features[1:], constants):
                if as_graph:
                    fused = fused + feature * constant
                else:
                    fused.add_(feature, alpha=constant)  # product and sum in one pass over memory
            return fused
        first, *others = self.weights(features)
        for feature in others:
            first = first + feature
        return first

    @classmethod
    def from_row(cls, row: Row) -> Built:
        """Build from `[[layers], 1, BiFPN_Add, [{options}]]`, or with the channels in and out as args."""
        row.no_repeats()
        features = row.same_size()
        arguments = row.arguments(cls, "in_channels", "out_channels")
        if len({f.channels for f in features}) > 1:
            given = ", ".join(f"layer {s} has {f.channels}" for s, f in zip(row.sources, features))
            row.error(f"inputs of {row.module} must have equal channels, but {given}: put a 1x1 Conv before.")
        channels = features[0].channels
        for name in ("in_channels", "out_channels"):
            given = check_int(name, arguments.pop(name, channels))
            # Public files have the numbers either as in the rows around or as they are after scaling.
            if channels not in (given, row.scaling.channels(given)):
                row.error(
                    f"{row.module} adds feature maps of {channels} channels and changes no channels, but {name} is"
                    f" {given}: leave the channels out of the args; for other ones put a 1x1 Conv before or behind."
                )
        module = cls(len(features), **arguments)
        module.stride = features[0].stride
        return Built(module, features[0], row.all_args)


class BiFPN_Concat(nn.Module):
    """Weighted concatenation of feature maps: each is scaled by its normalised weight, then they are concatenated.

    In a YAML, `[[-1, 4], 1, BiFPN_Concat, []]`, `[[-1, 4], 1, BiFPN_Concat, [1, {fusion: softmax}]]`.

    Args:
        inputs: Number of inputs.
        dim: Dimension of the concatenation; in a model YAML always 1, the channels.
        fusion: 'fast', 'softmax', or 'sum' without weights.
        eps: Keeps the denominator of `fast` above zero.
    """

    stride: int | None = None  # of the feature maps, where a model YAML tells

    def __init__(self, inputs: int, dim: int = 1, *, fusion: str = "fast", eps: float = 1e-4):
        super().__init__()
        self.dim = dim
        self.weights = FusionWeights(inputs, fusion, eps)

    def forward(self, features: list[torch.Tensor]) -> torch.Tensor:
        """Fuse tensors (N, C_i, H, W) into one (N, sum of C_i, H, W)."""
        return torch.cat(self.weights(features), self.dim)

    @classmethod
    def from_row(cls, row: Row) -> Built:
        """Build from `[[layers], 1, BiFPN_Concat, [1, {options}]]`."""
        row.no_repeats()
        features = row.same_size()
        if len(row.args) > 1 or check_int("dim", *(row.args or [1]), least=-9) != 1:
            row.error(
                f"the only arg of {row.module} is the dimension, 1 (channels), not {', '.join(map(str, row.args))}: the"
                f" channels of its inputs add up. Write [{list(row.sources)}, 1, {row.module}, [1]]."
            )
        arguments = row.arguments(cls, "dim")
        module = cls(len(features), **arguments)
        module.stride = features[0].stride
        return Built(module, Feature(sum(f.channels for f in features), module.stride), row.all_args)
