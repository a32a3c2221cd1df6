"""Small print, legends and ticks: all of it inside the figure, none of it on a curve."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

from dsd.analysis.best import best_range
from dsd.analysis.correlation import correlation
from dsd.analysis.search import search_curve
from dsd.plot.best import plot_best
from dsd.plot.edf import plot_edfs
from dsd.plot.scatter import plot_scatter
from dsd.plot.search import plot_search
from dsd.plot.style import short

RNG = np.random.default_rng(3)
ERRORS = 40 + RNG.gamma(2, 3, 60)
FLOPS = RNG.uniform(360e6, 400e6, 60)
NOTES = (
    "regime fashion, paper: ImageNet, 10 epochs, 360-400 MF, error of the last epoch, WM > 2",
    "d <= 20 and w4 > 2 * w3 and flops > 365000000 and params < 5500000 and acts > 1000000",
    "a_word_without_a_blank_" * 9,
)


def inside(figure: Figure) -> bool:
    figure.draw_without_rendering()
    tight = figure.get_tightbbox()
    return (
        tight.x0 >= -0.01 and tight.x1 <= figure.get_figwidth() + 0.01
        and tight.y0 >= -0.01 and tight.y1 <= figure.get_figheight() + 0.01
    )  # fmt: skip


@pytest.mark.parametrize("note", NOTES)
def test_small_print_of_any_width_stays_inside(note: str) -> None:
    best = {"flops": (FLOPS, ERRORS, best_range(FLOPS, ERRORS))}
    figures = [plot_edfs({"x": ERRORS}, note=note), plot_best(best, note=note)]
    figures.append(plot_search({"x": search_curve(ERRORS)}, note=note))
    for figure in figures:
        assert inside(figure)
        assert "".join(note.split()) in "".join(figure.get_supxlabel().split())


@pytest.mark.parametrize(("count", "name"), [(1, "x"), (10, "x"), (2, "a_long_name_" * 9)])
def test_the_legend_of_a_search_covers_no_curve(count: int, name: str) -> None:
    curves = {f"{name}{i}": search_curve(ERRORS - 2 * i) for i in range(count)}
    figure = plot_search(curves)
    assert inside(figure)
    axes = figure.axes[0]
    legend = (axes.get_legend() or figure.legends[0]).get_window_extent()
    for line in axes.get_lines():
        assert not line.get_path().transformed(axes.transData).intersects_bbox(legend, False)
    assert legend.y1 <= figure.bbox.y1 + 0.01


def test_a_single_m_is_seen() -> None:
    line = plot_search({"one": search_curve([45.0])}).axes[0].get_lines()[0]
    assert (len(line.get_xdata()), line.get_marker()) == (1, "o")  # type: ignore[arg-type]


def test_many_panels_take_rows_and_large_values_no_power_of_ten() -> None:
    panels = {f"{i}": (FLOPS, FLOPS, correlation(FLOPS, ERRORS)) for i in range(5)}
    figure = plot_scatter(panels, "flops")
    assert figure.get_figwidth() < 8
    figure.draw_without_rendering()
    for axes in figure.axes:
        assert not axes.xaxis.get_offset_text().get_text()
        labels = [label.get_text() for label in axes.get_xticklabels()]
        assert len(set(labels)) == len(labels)
        assert all(label.endswith("M") for label in labels)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (1.756, "1.756"), (1000, "1000"), (45600, "45.6k"), (-2.649e6, "-2.649M"),
     (3.7745e8, "377.4M"), (3.2e9, "3.2G"), (5e15, "5e+15")],
)  # fmt: skip
def test_short_numbers(value: float, text: str) -> None:
    assert short(value, 4) == text


def test_a_letter_without_a_font_warns_no_one(recwarn: pytest.WarningsRecorder) -> None:
    plot_edfs({"\u7f51\u7edc": ERRORS})
    plot_search({"\u7f51\u7edc": search_curve(ERRORS)})
    assert not [one for one in recwarn if "Glyph" in str(one.message)]
