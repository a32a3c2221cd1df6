"""Errors against one property each, with the range that holds the best (RegNet, figs. 2, 5, 11)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dsd.analysis.best import BestRange
from dsd.analysis.checks import FloatArray
from dsd.plot.captions import small_print
from dsd.plot.style import HEIGHT, SMALL, WIDTH, large_ticks, look, short, styled

MOST_IN_ROW = 2
FEW = 6
APART = 0.1  # of the axis, for names of few values
WIDE_RATIO = 20  # values that span more than this are drawn on a logarithmic axis


def plot_best(
    panels: Mapping[str, tuple[FloatArray, FloatArray, BestRange]], *, note: str = ""
) -> Figure:
    """One panel a column: name -> (x (n,), errors (n,) in percent, its best range).

    The shaded range holds the best network with the range's confidence, the line is the likeliest
    best. Values that span much are drawn on a logarithmic axis. `note` goes below in small print.
    """
    columns = min(len(panels), MOST_IN_ROW)
    rows = -(-len(panels) // MOST_IN_ROW)
    with styled():
        figure = Figure(figsize=(WIDTH * columns, HEIGHT * rows), layout="constrained")
        for index, (name, (x, errors, best)) in enumerate(panels.items()):
            axes = figure.add_subplot(rows, columns, index + 1)
            style = look(0)
            axes.axvspan(best.low, best.high, color=style.color, alpha=0.15, linewidth=0)
            axes.axvline(best.best, color=style.color, linewidth=1.1)
            axes.plot(x, errors, ".", color="#333333", markersize=2.2, alpha=0.6, rasterized=False)
            _scale(axes, x[np.isfinite(x)])
            axes.set_xlabel(name)
            axes.set_ylabel("top-1 error (%)")
            middle, low, high = (short(x, 4) for x in (best.best, best.low, best.high))
            range_text = f"best {middle} [{low}, {high}], n = {best.n}"
            axes.set_title(range_text, fontsize=SMALL, loc="left", pad=3)
        small_print(figure, [note])
    return figure


def _scale(axes: Axes, x: FloatArray) -> None:
    """Few values are named each; many that span much stand on a logarithmic axis."""
    distinct = np.unique(x)
    if len(distinct) and distinct[0] > 0 and distinct[-1] > WIDE_RATIO * distinct[0]:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, place: short(value))
    elif len(distinct) <= FEW and np.all(np.diff(distinct) >= APART * np.ptp(distinct)):
        axes.set_xticks(distinct, [short(value) for value in distinct])
    else:
        whole = bool((distinct == np.round(distinct)).all())
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=whole))
        large_ticks(axes.xaxis, distinct)
