"""The best value of each property against compute (RegNet, fig. 11)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from dsd.analysis.trend import Trend
from dsd.errors import DsdError
from dsd.plot.captions import small_print
from dsd.plot.style import HEIGHT, SMALL, WIDTH, look, short, styled

IN_ROW = 3
SIDE = 0.66  # of a column's width
MOST_TICKS = 4


def plot_trends(columns: Mapping[str, Trend], *, note: str = "") -> Figure:
    """A panel a column: the best value of each population over its flops, its range as a bar.

    The slope with its interval stands above; a line is drawn where that leaves 0 out.
    """
    if not columns:
        raise DsdError("No column to draw.")
    across = min(len(columns), IN_ROW)
    rows = -(-len(columns) // IN_ROW)
    with styled():
        size = (WIDTH * SIDE * across + 0.2, HEIGHT * 0.75 * rows + 0.1)
        figure = Figure(figsize=size, layout="constrained")
        for index, (name, found) in enumerate(columns.items()):
            _panel(figure.add_subplot(rows, across, index + 1), name, found)
        small_print(figure, [note])
    return figure


def _panel(axes: Axes, name: str, found: Trend) -> None:
    flops, ranges = np.array(found.flops), found.ranges
    best = np.array([one.best for one in ranges])
    bars = np.array([[one.best - one.low, one.high - one.best] for one in ranges]).T
    style = look(0)
    axes.errorbar(flops, best, yerr=bars, fmt="o", color=style.color, markersize=4, capsize=2.5,
                  elinewidth=1)  # fmt: skip
    if found.shown:
        x = np.log2(flops)
        axes.plot(flops, best.mean() + found.slope * (x - x.mean()), color=look(1).color,
                  ls=look(1).dashes)  # fmt: skip
    axes.set_xscale("log")
    step = -(-len(flops) // MOST_TICKS)
    axes.xaxis.set_major_locator(FixedLocator(list(flops[::step])))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda value, place: short(value))
    axes.set_xlim(flops.min() / 1.25, flops.max() * 1.25)
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.set_xlabel("flops")
    axes.set_ylabel(name)
    text = f"{found.slope:+.2g} [{found.low:+.2g}, {found.high:+.2g}] a doubling"
    axes.set_title(text, fontsize=SMALL, loc="left", pad=3)
