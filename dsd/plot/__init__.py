"""Figures: arrays in, a matplotlib figure or a file out."""
