"""Synthetic data sets of simple shapes, drawn on demand."""
