"""The paper's best ranges, exactly; the closed form against resampling."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsd.analysis.best import (
    best_range,
    rank_weights,
    resampled_range,
)
from dsd.errors import DsdError
from dsd.store.papers import SCATTER


def scatter(column: str) -> tuple[list[float], list[float]]:
    rows = list(csv.DictReader(SCATTER.open()))
    return [float(row[column]) for row in rows], [float(row["error"]) for row in rows]


@pytest.mark.parametrize(("column", "printed"), [("depth", (10, 20, 24)), ("w4", (272, 448, 896))])
def test_figure_2_prints_these_ranges(column, printed):
    found = best_range(*scatter(column))
    assert (found.low, found.best, found.high) == printed
    assert (found.n, found.m) == (497, 124)


@pytest.mark.parametrize("column", ["depth", "w4"])
def test_resampling_gives_the_closed_form(column):
    x, errors = scatter(column)
    exact = best_range(x, errors, 0.9)
    drawn = resampled_range(x, errors, np.random.default_rng(0), 0.9, 40_000)
    assert (drawn.low, drawn.best, drawn.high) == (exact.low, exact.best, exact.high)


@given(st.integers(4, 300))
def test_weights_are_a_law_and_fall_with_the_rank(n):
    weights = rank_weights(n)
    assert weights.sum() == pytest.approx(1)
    assert (np.diff(weights) <= 1e-15).all()


@settings(max_examples=30)
@given(st.lists(st.floats(0, 100), min_size=4, max_size=60), st.randoms())
def test_a_network_without_the_value_counts_nowhere(errors, random):
    x = [random.choice([1.0, 2.0, 3.0]) for _ in errors]
    found = best_range(x, errors)
    more = best_range([*x, float("nan")], [*errors, 0.0])
    assert (found.low, found.best, found.high) == (more.low, more.best, more.high)
    assert found.low <= found.best <= found.high


def test_too_few_networks_are_refused():
    with pytest.raises(DsdError, match="3 networks"):
        best_range([1, 2, 3], [1, 2, 3])
