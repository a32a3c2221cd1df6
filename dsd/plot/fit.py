"""Networks beside the quantised line nearest to them (RegNet, fig. 8)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from dsd.analysis.best import BestRange
from dsd.analysis.checks import FloatArray
from dsd.errors import DsdError
from dsd.plot.captions import small_print
from dsd.plot.style import HEIGHT, SMALL, WIDTH, look, styled

SIDE = 0.72  # of a column's width


@dataclass(frozen=True)
class Fitted:
    """Widths by block (d,), in channels: the network's, the fit's, and the line u before steps."""

    network: NDArray[np.int64]
    fit: NDArray[np.int64]
    line: FloatArray


def plot_fits(
    networks: Mapping[str, Fitted],
    errors: tuple[FloatArray, FloatArray, BestRange | None] | None = None,
    *,
    note: str = "",
) -> Figure:
    """A panel for each network by its title, and one of e_fit (n,) against error (n,) in percent.

    There the shaded range of e_fit holds the best network. Raises DsdError for nothing to draw.
    """
    count = len(networks) + (errors is not None)
    if not count:
        raise DsdError("No network to draw.")
    with styled():
        side = 1.0 if count == 1 else SIDE
        size = (WIDTH * side * count, HEIGHT * (0.9 if count > 1 else 1))
        figure = Figure(figsize=size, layout="constrained")
        least, most = _limits(networks.values())
        for index, (title, fitted) in enumerate(networks.items()):
            axes = figure.add_subplot(1, count, index + 1, ylim=(least / 1.2, most * 1.2))
            _widths(axes, fitted, title)
            if not index:
                axes.set_ylabel("width (channels)")
                figure.legend(*axes.get_legend_handles_labels(), loc="outside lower right", ncols=3)
        if errors is not None:
            _scatter(figure.add_subplot(1, count, count), *errors)
        small_print(figure, [note])
    return figure


def _limits(networks: Iterable[Fitted]) -> tuple[float, float]:
    """Least and largest width of all, the lines' included."""
    every = [x for one in networks for x in (one.network, one.fit, one.line)]
    return (
        (min(float(x.min()) for x in every), max(float(x.max()) for x in every))
        if every
        else (1, 2)
    )


def _widths(axes: Axes, fitted: Fitted, title: str) -> None:
    blocks = np.arange(len(fitted.network))
    edges = np.append(blocks, len(blocks)) - 0.5
    fit, line, network = look(0), look(1), look(4)
    axes.plot(blocks, fitted.line, color=line.color, ls=line.dashes, label="line u")
    axes.stairs(fitted.fit, edges, color=fit.color, baseline=None, linewidth=1.5, label="fit")
    axes.plot(blocks, fitted.network, "o", color=network.color, markersize=2.6, label="network")
    axes.set_yscale("log", base=2)
    axes.yaxis.set_major_formatter(lambda value, place: f"{value:g}")
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.set_xlabel("block")
    axes.set_title(title, fontsize=SMALL, loc="left", pad=3)


def _scatter(axes: Axes, e_fit: FloatArray, errors: FloatArray, best: BestRange | None) -> None:
    style = look(0)
    if best is not None:
        axes.axvspan(best.low, best.high, color=style.color, alpha=0.15, linewidth=0)
        axes.axvline(best.best, color=style.color, linewidth=1.1)
        text = f"best {best.best:.3g} [{best.low:.3g}, {best.high:.3g}], n = {best.n}"
        axes.set_title(text, fontsize=SMALL, loc="left", pad=3)
    axes.plot(e_fit, errors, ".", color="#333333", markersize=2.2, alpha=0.6)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.set_xlabel("fit error e_fit")
    axes.set_ylabel("top-1 error (%)")
