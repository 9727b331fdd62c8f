"""The backbone of a composed file: its row, its levels, and the EfficientNet that it is as large as."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from effyolo_ultra.composing.sizes import BACKBONE_OF_SCALE, EFFICIENTDET, nearest_efficientnet
from effyolo_ultra.errors import nearest
from effyolo_ultra.nn.backbone import EfficientNetBackbone
from effyolo_ultra.nn.timm_models import check_timm_name, feature_maps, is_efficientnet

EFFICIENTNET_LEVELS = (1, 2, 3, 4, 5)


@dataclass(frozen=True)
class Backbone:
    """A backbone.

    Attributes:
        title: What it is, for the comment.
        module: Name of its module.
        model: Its first argument.
        available: The levels that it can give.
        size: The variant, b0 to b7, whose neck it gets; None where the scale letter chooses backbone and neck.
    """

    title: str
    module: str
    model: str
    available: Sequence[int]
    size: str | None = None

    def row(self, levels: Sequence[int]) -> str:
        """Return the args and options of its row."""
        options = f", {{levels: {list(levels)}}}" if list(levels) != [3, 4, 5] else ""
        return f"  - [-1, 1, {self.module}, [{self.model}{options}]] # 0\n"

    def given(self, levels: Sequence[int]) -> list[int]:
        """Return those of `levels` that the backbone gives; coarser ones are made from its last one.

        Raises:
            ValueError: If it cannot give one that is not coarser than its last, or none.
        """
        given = [level for level in levels if level <= max(self.available)]
        missing = [level for level in given if level not in self.available]
        if missing or not given:
            first = min((level for level in self.unbroken if level > levels[0]), default=max(self.available))
            range_ = f"{first}-{min(first + len(levels) - 1, 8)}"
            raise ValueError(
                f"the levels P{levels[0]} to P{levels[-1]} need P{(missing or levels)[0]} of the backbone, but"
                f" {self.title} gives {', '.join(f'P{level}' for level in self.available)}: take levels that begin"
                f" among those, such as {range_} (--levels {range_}); coarser ones are made from its last"
            )
        return given

    @property
    def unbroken(self) -> list[int]:
        """The levels that it can give with all up to its coarsest."""
        return [level for level in self.available if {*range(level, max(self.available))} <= {*self.available}]


def find_backbone(name: str | None, scale: str | None) -> Backbone:
    """Return a backbone by its name.

    Args:
        name: A variant of EfficientNet such as 'b3' or 'v2-s', or the name of a timm model; None for an EfficientNet
            as large as `scale`, or one that grows with the scale letter.
        scale: The scale whose neck it gets; None for the one that EfficientDet pairs with the backbone.

    Raises:
        ValueError: If there is no such model, or it gives no feature maps of the strides of a pyramid.
    """
    if name is None and scale is None:
        title = "an EfficientNet that grows with the scale letter, B0 (n) to B4 (x)"
        return Backbone(title, "EfficientNetBackbone", "backbones", EFFICIENTNET_LEVELS)
    size = BACKBONE_OF_SCALE[scale] if scale else None
    name = size if name is None else name
    if name in EFFICIENTDET:
        return Backbone(f"EfficientNet-{name.upper()}", "EfficientNetBackbone", name, EFFICIENTNET_LEVELS, size or name)

    variants = EfficientNetBackbone.variants
    timm_name = check_model(variants.get(name, name), name, list(variants))
    module = "EfficientNetBackbone" if name in variants or "efficientnet" in name else "TimmBackbone"
    if name in variants:
        title = f"EfficientNetV2-{name[3:].upper()}" if name.startswith("v2-") else f"EfficientNet-{name.capitalize()}"
    else:
        title = f"{name} of timm"
    available = EFFICIENTNET_LEVELS if is_efficientnet(timm_name) else levels_of(timm_name)
    return Backbone(title, module, name, available, size or nearest_efficientnet(timm_name))


def check_model(timm_name: str, name: str, variants: list[str]) -> str:
    """Return `timm_name` if timm has such a model."""
    import timm

    if isinstance(name, str) and timm.is_model(timm_name):
        return check_timm_name(timm_name)
    raise ValueError(
        f"there is no backbone {name!r}: it is a variant of EfficientNet ({', '.join(variants)}) or the name of a timm"
        f" model.{nearest(str(name), [*variants, *timm.list_models()])}"
    )


def levels_of(timm_name: str) -> tuple[int, ...]:
    """Return the levels that a timm model can give, finest first.

    Raises:
        ValueError: If it gives none.
    """
    strides = {stage["reduction"] for stage in feature_maps(timm_name)}
    levels = tuple(level for level in range(1, 9) if 2**level in strides)
    if not levels:
        raise ValueError(f"the feature maps of {timm_name} have the strides {sorted(strides)}: name another model")
    return levels
