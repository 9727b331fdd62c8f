"""Pretrained weights of backbones: where they come from, and how they get into a module."""
