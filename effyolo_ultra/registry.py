"""The modules that a model YAML can name besides those of Ultralytics: name -> class."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from effyolo_ultra._user_state import rebuild_user_module
from effyolo_ultra.nn.backbone import EfficientNetBackbone, TimmBackbone
from effyolo_ultra.nn.backbone_state import rebuild
from effyolo_ultra.nn.bifpn import BiFPN
from effyolo_ultra.nn.bifpn_cell import BiFPNCell, BiFPNNode, Lateral
from effyolo_ultra.nn.fusion import BiFPN_Add, BiFPN_Concat, FusionWeights
from effyolo_ultra.nn.light_head import Integral, SeparableConv
from effyolo_ultra.nn.pyramid import PyramidLevel
from effyolo_ultra.user_modules import USER_MODULES

# What public YAML files call the same modules: name -> (class, number of inputs that the name promises).
ALIASES: dict[str, tuple[type, int | None]] = {
    "BiFPN_Add2": (BiFPN_Add, 2),
    "BiFPN_Add3": (BiFPN_Add, 3),
    "BiFPN_Concat2": (BiFPN_Concat, 2),
    "BiFPN_Concat3": (BiFPN_Concat, 3),
    "Concat_BiFPN": (BiFPN_Concat, None),
}

# A registered class has `from_row(row) -> Built`: it builds itself from a Row and says what it gives.
MODULES: dict[str, type] = {
    **{cls.__name__: cls for cls in (EfficientNetBackbone, TimmBackbone, PyramidLevel, BiFPN, BiFPN_Add, BiFPN_Concat)},
    **{name: cls for name, (cls, _) in ALIASES.items()},
}

# What has a form of its own for inference, which its `fuse` gives it.
WITH_FUSE = (TimmBackbone, FusionWeights)

# Everything of this package that a checkpoint names.
IN_CHECKPOINTS = [
    *MODULES.values(),
    rebuild,
    rebuild_user_module,
    BiFPNCell,
    BiFPNNode,
    Lateral,
    FusionWeights,
    SeparableConv,
    Integral,
]


def known_modules(tasks: ModuleType) -> dict[str, Any]:
    """Return our modules that `ultralytics.nn.tasks` has from us, as a fork keeps its own, and those of users."""
    return {**{name: cls for name, cls in MODULES.items() if vars(tasks).get(name) is cls}, **USER_MODULES}
