"""The width of every block of a network (RegNet, fig. 8)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dsd.errors import DsdError
from dsd.plot.style import HEIGHT, WIDTH, look, styled


def plot_widths(networks: Mapping[str, Sequence[tuple[int, int]]]) -> Figure:
    """Steps of block widths in channels over the block's index, from (d, w) of each stage.

    A dot marks each block; a stage is a run of equal width. Raises DsdError for no network.
    """
    if not networks:
        raise DsdError("No network to draw.")
    with styled():
        figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
        axes = figure.add_subplot(xlabel="block index", ylabel="width (channels)")
        for index, (name, stages) in enumerate(networks.items()):
            widths = np.repeat([w for _, w in stages], [d for d, _ in stages])
            style = look(index)
            axes.plot(widths, drawstyle="steps-mid", marker="o", markersize=3, label=name,
                      color=style.color, ls=style.dashes)  # fmt: skip
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(loc="upper left")
    return figure
