"""The modules that a model YAML can name besides those of Ultralytics: name -> class."""

from __future__ import annotations

from effyolo_ultra.nn.backbone import EfficientNetBackbone, TimmBackbone, rebuild
from effyolo_ultra.nn.bifpn import BiFPN
from effyolo_ultra.nn.bifpn_cell import BiFPNCell, BiFPNNode, Lateral
from effyolo_ultra.nn.fusion import BiFPN_Add, BiFPN_Concat, FusionWeights
from effyolo_ultra.nn.pyramid import PyramidLevel

# A registered class has `from_row(row) -> Built`: it builds itself from a Row and says what it gives.
MODULES: dict[str, type] = {
    cls.__name__: cls for cls in (EfficientNetBackbone, TimmBackbone, PyramidLevel, BiFPN, BiFPN_Add, BiFPN_Concat)
}

# Everything of this package that a checkpoint names.
IN_CHECKPOINTS = [*MODULES.values(), rebuild, BiFPNCell, BiFPNNode, Lateral, FusionWeights]
