"""The figure of a study: error EDFs of several populations with their bands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from dsd.analysis.checks import FloatArray, sorted_errors
from dsd.analysis.edf import Band, BandKind, Edf, band, edf, evaluate, steps
from dsd.analysis.summary import legend
from dsd.errors import DsdError
from dsd.plot.captions import legend_above, small_print
from dsd.plot.style import HEIGHT, WIDTH, look, styled

SQUEEZE = 1.5  # an axis may be this much longer than the bulk needs


def plot_edfs(
    populations: Mapping[str, ArrayLike],
    *,
    confidence: float = 0.95,
    kind: BandKind | None = "exact",
    note: str = "",
    weights: Mapping[str, ArrayLike] | None = None,
) -> Figure:
    """Step curves of the strict EDFs of each population's errors (n,) in percent (RegNet fig. 5).

    Bands of `kind` (see `dsd.analysis.edf.band`; None draws none) at `confidence`. The legend
    gives n [min | mean]; a population without errors keeps its row there. `note` goes below the
    axes in small print, for what all errors share (regime, which epoch). Errors far above the
    bulk, such as chance level, are cut off and counted there. The width fits a paper's column.
    `weights` (n,), which sum to 1, for each population where networks have some.

    Raises DsdError where no population has an error, or one is not finite.
    """
    held = {name: sorted_errors(errors, name) for name, errors in populations.items()}
    weigh = weights or {}
    some = [name for name, values in held.items() if values.size]
    curves = {name: edf(populations[name], weigh.get(name)) for name in some}
    if not curves:
        raise DsdError(f"No finished network to draw in {', '.join(held) or 'no population'}.")
    bands = {name: band(c, confidence, kind) for name, c in curves.items()} if kind else {}
    low, high = error_range(held.values())
    with styled():
        figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
        axes = figure.add_subplot(xlim=(low, high), ylim=(-0.015, 1.015))
        for index, name in enumerate(held):
            label = f"{name}  {legend(populations[name], weigh.get(name))}"
            _draw(axes, index, label, curves.get(name))
            _shade(axes, index, curves.get(name), bands.get(name), len(bands))
        _dress(axes)
        shaded = "; ".join(filter(None, [note, _band_note(kind, confidence)]))
        small_print(figure, [shaded, _cut_note(held.values(), high)], centre=True)
        _place_legend(figure, axes, [(c, bands.get(name)) for name, c in curves.items()])
    return figure


def error_range(populations: Iterable[FloatArray]) -> tuple[float, float]:
    """Limits in percent that show all good networks and every population's bulk.

    From the smallest error to the largest; where that would squeeze the bulk, as a few diverged
    networks do, to three quartile distances above the upper quartile that reaches furthest.
    """
    some = [values for values in populations if values.size]
    low = min(float(values.min()) for values in some)
    high = max(float(values.max()) for values in some)
    fence = max(_upper_fence(values) for values in some)
    if high - low > SQUEEZE * (fence - low):
        high = fence
    pad = 0.03 * (high - low) or 0.5
    return max(low - pad, 0.0) if low >= 0 else low - pad, high + pad


def _upper_fence(values: FloatArray) -> float:
    lower, upper = np.quantile(values, [0.25, 0.75])
    return min(float(values.max()), float(upper + 3 * (upper - lower)))


def _draw(axes: Axes, index: int, label: str, curve: Edf | None) -> None:
    style = look(index)
    x, y = steps(curve, *axes.get_xlim()) if curve else (np.empty(0), np.empty(0))
    axes.plot(x, y, drawstyle="steps-post", color=style.color, ls=style.dashes, label=label)


def _shade(axes: Axes, index: int, curve: Edf | None, limits: Band | None, count: int) -> None:
    if curve is None or limits is None:
        return
    x, lower = steps(curve, *axes.get_xlim(), limits.lower)
    _, upper = steps(curve, *axes.get_xlim(), limits.upper)
    wide = curve.n < 100  # wide bands lie upon each other: many of them need to be pale
    alpha = max(0.06, min(0.15, 0.4 / count)) if wide else 0.2
    axes.fill_between(
        x, lower, upper, step="post", color=look(index).color, alpha=alpha, lw=0, zorder=1
    )


def _dress(axes: Axes) -> None:
    axes.set_xlabel("top-1 error (%)")
    axes.set_ylabel("cumulative share of networks")
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.set_yticks(np.linspace(0, 1, 6))


def _band_note(kind: BandKind | None, confidence: float) -> str:
    reach = {"dkw": "simultaneous", "bootstrap": "pointwise bootstrap"}.get(kind or "", "pointwise")
    return f"shaded: {100 * confidence:g}% {reach} band" if kind else ""


def _cut_note(populations: Iterable[FloatArray], high: float) -> str:
    cut = sum(int(np.count_nonzero(values > high)) for values in populations)
    return f"{cut} network{'s'[: cut > 1]} above {high:.1f}% not shown" if cut else ""


def _place_legend(figure: Figure, axes: Axes, drawn: Sequence[tuple[Edf, Band | None]]) -> None:
    """Inside, where the rising curves leave a corner free; above the axes otherwise."""
    for corner in ("lower right", "upper left"):
        inside = axes.legend(loc=corner)
        inside.set_in_layout(False)
        figure.draw_without_rendering()
        box = inside.get_window_extent().transformed(axes.transData.inverted())
        if corner == "lower right":
            free = all(_limits(c, b, box.x0)[0] > box.y1 + 0.02 for c, b in drawn)
        else:
            free = all(_limits(c, b, box.x1)[1] < box.y0 - 0.02 for c, b in drawn)
        if free:
            return
        inside.remove()
    legend_above(figure, axes)


def _limits(curve: Edf, limits: Band | None, error: float) -> tuple[float, float]:
    """The lowest and highest drawn share of a population at an error."""
    if limits is None:
        share = float(evaluate(curve, error))
        return share, share
    piece = int(np.searchsorted(curve.errors, error, side="left"))
    return float(limits.lower[piece]), float(limits.upper[piece])
