"""Expected best error of m random networks (RegNet, fig. 9 right; NDS, section 5)."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.figure import Figure

from dsd.analysis.search import ExpectedBest
from dsd.plot.captions import place_legend, small_print
from dsd.plot.style import HEIGHT, WIDTH, look, styled


def plot_search(curves: Mapping[str, ExpectedBest], *, note: str = "") -> Figure:
    """One curve a population, by name.

    m is on a logarithmic axis; the band is shaded. `note` goes below in small print.
    """
    with styled():
        figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
        axes = figure.add_subplot()
        for index, (name, one) in enumerate(curves.items()):
            style = look(index)
            axes.fill_between(one.m, one.low, one.high, color=style.color, alpha=0.18, linewidth=0)
            if len(one.m) == 1:  # a band of no width
                axes.vlines(one.m, one.low, one.high, color=style.color, alpha=0.5)
            axes.plot(one.m, one.best, color=style.color, linestyle=style.dashes,
                      marker="o", markersize=2.5, label=name)  # fmt: skip
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter(lambda value, place: f"{value:g}")
        axes.set_xlabel("random networks drawn")
        axes.set_ylabel("expected best top-1 error (%)")
        small_print(figure, [note])
        place_legend(figure, axes)
    return figure
