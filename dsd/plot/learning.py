"""How errors fall over the epochs of training."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dsd.analysis.checks import FloatArray
from dsd.errors import DsdError
from dsd.plot.captions import place_legend, small_print
from dsd.plot.style import HEIGHT, WIDTH, look, styled


def plot_learning(curves: Mapping[str, FloatArray], *, note: str = "") -> Figure:
    """Median test error by epoch, the middle half of the networks shaded.

    name -> (n, epochs) in percent, NaN where a network has no such epoch. Raises DsdError where
    no population has a curve.
    """
    held = {name: table for name, table in curves.items() if np.isfinite(table).any()}
    if not held:
        raise DsdError("No learning curve to draw.")
    with styled():
        figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
        axes = figure.add_subplot(xlabel="epoch", ylabel="top-1 error (%)")
        for index, (name, table) in enumerate(held.items()):
            style = look(index)
            epochs = np.arange(1, table.shape[1] + 1)
            low, middle, high = np.nanquantile(table, [0.25, 0.5, 0.75], axis=0)
            axes.fill_between(epochs, low, high, color=style.color, alpha=0.15, linewidth=0)
            axes.plot(epochs, middle, color=style.color, linestyle=style.dashes, label=name)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        small_print(figure, [note])
        place_legend(figure, axes)
    return figure
