"""Figures of fits and trends: what they show, and that all of it is inside."""

from __future__ import annotations

import numpy as np
import pytest

from dsd.analysis.best import best_range
from dsd.analysis.trend import trend
from dsd.errors import DsdError
from dsd.plot.fit import Fitted, plot_fits
from dsd.plot.trends import plot_trends


def test_networks_with_their_fits_and_the_errors() -> None:
    widths = np.repeat([32, 64, 512], [1, 2, 7])
    one = Fitted(widths, np.repeat([24, 64, 480], [1, 2, 7]), np.linspace(20, 900, 10))
    errors, e_fit = np.linspace(40, 60, 30), np.linspace(0, 1, 30)
    points = (e_fit, errors, best_range(e_fit, errors))
    figure = plot_fits({"best": one, "worst": one}, points, note="a note")
    first, second, scatter = figure.axes
    assert [axes.get_title(loc="left") for axes in (first, second)] == ["best", "worst"]
    assert first.get_ylim() == second.get_ylim()
    low, high = first.get_ylim()
    assert low < 20
    assert high > 900
    line, dots = first.get_lines()
    assert np.asarray(dots.get_ydata()).tolist() == widths.tolist()
    assert np.asarray(line.get_ydata()).tolist() == one.line.tolist()
    assert first.patches[0].get_data().values.tolist() == one.fit.tolist()
    assert len(np.asarray(scatter.get_lines()[-1].get_xdata())) == 30
    assert "a note" in figure.get_supxlabel()
    assert len(plot_fits({"one": one}).axes) == 1
    with pytest.raises(DsdError, match="No network"):
        plot_fits({})


def test_a_panel_a_column_with_ranges_as_bars() -> None:
    flops, errors = [2e8, 4e8, 3.2e9], np.arange(40)
    moves = trend(flops, [(i * 10 + errors / 40, errors) for i in range(3)])
    stays = trend(flops, [(errors % 7, errors)] * 3)
    figure = plot_trends({"w0": moves, "d": stays}, note="a note")
    grows, flat = figure.axes
    assert grows.get_ylabel() == "w0"
    assert grows.get_xscale() == "log"
    assert [tick.get_text() for tick in grows.get_xticklabels()] == ["200M", "400M", "3.2G"]
    assert len(grows.get_lines()) == len(flat.get_lines()) + 1, "only what is shown has a line"
    assert "a doubling" in grows.get_title(loc="left")
    with pytest.raises(DsdError, match="No column"):
        plot_trends({})
