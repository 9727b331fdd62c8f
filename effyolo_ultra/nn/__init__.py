"""The modules of this package, usable as plain `torch.nn.Module`s without any YAML."""

from effyolo_ultra.nn.backbone import EfficientNetBackbone, TimmBackbone
from effyolo_ultra.nn.bifpn import BiFPN
from effyolo_ultra.nn.fusion import BiFPN_Add, BiFPN_Concat
from effyolo_ultra.nn.pyramid import PyramidLevel

__all__ = ["BiFPN", "BiFPN_Add", "BiFPN_Concat", "EfficientNetBackbone", "PyramidLevel", "TimmBackbone"]
