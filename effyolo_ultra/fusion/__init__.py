"""Seeing the learned fusion weights of a network: as records, a table, a picture, and their course in a training."""

from effyolo_ultra.fusion.edges import FusionEdge, fusion_weights
from effyolo_ultra.fusion.plot import plot_fusion_weights
from effyolo_ultra.fusion.table import fusion_table

__all__ = ["FusionEdge", "fusion_table", "fusion_weights", "plot_fusion_weights"]
