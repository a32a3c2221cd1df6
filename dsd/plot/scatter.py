"""One property against others, a panel each (RegNet, fig. 12)."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dsd.analysis.checks import FloatArray
from dsd.analysis.correlation import Correlation
from dsd.plot.captions import small_print
from dsd.plot.style import HEIGHT, SMALL, WIDTH, large_ticks, look, styled

SIDE = 0.75  # of a column's width: three panels fit a page
IN_ROW = 3


def plot_scatter(
    panels: Mapping[str, tuple[FloatArray, FloatArray, Correlation]], y: str, *, note: str = ""
) -> Figure:
    """name -> (x (n,), y (n,), their correlation); `y` labels the common axis."""
    across = min(len(panels), IN_ROW)
    rows = -(-len(panels) // IN_ROW)
    with styled():
        size = (WIDTH * SIDE * across, HEIGHT * 0.9 * rows)
        figure = Figure(figsize=size, layout="constrained")
        for index, (name, (xs, ys, found)) in enumerate(panels.items()):
            axes = figure.add_subplot(rows, across, index + 1)
            axes.plot(xs, ys, ".", color=look(0).color, markersize=3, alpha=0.6)
            axes.xaxis.set_major_locator(MaxNLocator(4))
            large_ticks(axes.xaxis, xs)
            large_ticks(axes.yaxis, ys)
            axes.set_xlabel(name)
            if not index % IN_ROW:
                axes.set_ylabel(y)
            text = f"r = {found.pearson:.2f} [{found.low:.2f}, {found.high:.2f}]"
            axes.set_title(text, fontsize=SMALL, loc="left", pad=3)
        small_print(figure, [note])
    return figure
