"""One property against others, a panel each (RegNet, fig. 12)."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dsd.analysis.checks import FloatArray
from dsd.analysis.correlation import Correlation
from dsd.plot.style import HEIGHT, LINE, SMALL, WIDTH, look, styled

SIDE = 0.75  # of a column's width: three panels fit a page


def plot_scatter(
    panels: Mapping[str, tuple[FloatArray, FloatArray, Correlation]], y: str, *, note: str = ""
) -> Figure:
    """name -> (x (n,), y (n,), their correlation); `y` labels the common axis."""
    count = len(panels)
    with styled():
        width = WIDTH * SIDE * count
        figure = Figure(figsize=(width, HEIGHT * 0.9 + 0.2), layout="constrained")
        for index, (name, (xs, ys, found)) in enumerate(panels.items()):
            axes = figure.add_subplot(1, count, index + 1)
            axes.plot(xs, ys, ".", color=look(0).color, markersize=3, alpha=0.6)
            axes.xaxis.set_major_locator(MaxNLocator(4))
            axes.set_xlabel(name)
            if not index:
                axes.set_ylabel(y)
            text = f"r = {found.pearson:.2f} [{found.low:.2f}, {found.high:.2f}]"
            axes.set_title(text, fontsize=SMALL, loc="left", pad=3)
        if note:
            lines = textwrap.fill(note, int(LINE * SIDE * count))
            figure.supxlabel(lines, fontsize=SMALL, x=0.02, ha="left")
    return figure
