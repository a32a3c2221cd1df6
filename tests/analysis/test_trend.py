"""Trends over compute, and the rank correlation's interval: laws, and what they cover."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from dsd.analysis.best import best_range, drawn_bests
from dsd.analysis.correlation import rank_correlation
from dsd.analysis.trend import trend
from dsd.errors import DsdError


def scored(rng: np.random.Generator, best: float, n: int = 100) -> tuple[np.ndarray, np.ndarray]:
    """Values around a best one, errors that grow with the distance from it."""
    x = best + rng.uniform(-0.5, 0.5, n)
    return x, 40 + 10 * (x - best) ** 2 + 0.6 * np.abs(rng.normal(size=n))


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 6), st.integers(0, 99), st.floats(-5, 5), st.floats(0.1, 10))
def test_a_trend_follows_shifts_and_scales_and_not_errors(k, seed, shift, scale) -> None:
    rng = np.random.default_rng(seed)
    flops = 2e8 * 2.0 ** np.arange(k)
    held = [scored(rng, 0.0) for _ in range(k)]
    plain = trend(flops, held)
    tilted = trend(
        flops, [(scale * x + shift * i, 3 * e + i) for i, (x, e) in enumerate(held)]
    )  # errors move by regime, yet rank the same within each
    for key in ("slope", "low", "high"):
        expected = scale * getattr(plain, key) + shift
        assert getattr(tilted, key) == pytest.approx(expected, abs=1e-9)
    again = trend(flops, held)
    assert again == plain
    assert plain.ranges == tuple(best_range(x, e) for x, e in held)


def test_what_grows_is_shown_and_what_stays_is_not() -> None:
    rng = np.random.default_rng(1)
    flops = 2e8 * 2.0 ** np.arange(4)
    shown = [trend(flops, [scored(rng, rise * i) for i in range(4)]).shown for rise in [0.3] * 20]
    false = [trend(flops, [scored(rng, 0.0) for _ in range(4)]).shown for _ in range(40)]
    assert all(shown)
    assert sum(false) <= 2
    same = trend(flops, [([1.0] * 10, range(10))] * 4)
    assert (same.slope, same.low, same.high, same.shown) == (0, 0, 0, False)


def test_a_trend_needs_two_computes_and_four_networks() -> None:
    held = [([1, 2, 3, 4], [1, 2, 3, 4])] * 2
    with pytest.raises(DsdError, match="two different flops"):
        trend([1e8, 1e8], held)
    with pytest.raises(DsdError, match="two different flops"):
        trend([1e8, float("nan")], held)
    with pytest.raises(DsdError, match="4 are needed"):
        trend([1e8, 2e8], [([1, 2, 3], [1, 2, 3])] * 2)


def test_drawn_bests_have_the_range_of_the_closed_form() -> None:
    x, errors = scored(np.random.default_rng(3), 0.0, 200)
    drawn = drawn_bests(x, errors, 40_000, np.random.default_rng(0))
    exact = best_range(x, errors, 0.9)
    found = np.quantile(drawn, [0.05, 0.5, 0.95])
    assert found == pytest.approx([exact.low, exact.best, exact.high], abs=0.02)


def test_the_rank_correlation_covers_and_knows_no_scale() -> None:
    rng = np.random.default_rng(4)
    r, n = 0.5, 100
    truth = 6 / np.pi * np.arcsin(r / 2)  # Spearman's rho of the normal law (Kruskal 1958)
    inside = 0
    for _ in range(300):
        x = rng.normal(size=n)
        y = r * x + np.sqrt(1 - r**2) * rng.normal(size=n)
        found = rank_correlation(x, y)
        inside += found.low <= truth <= found.high
        assert found.rho == pytest.approx(stats.spearmanr(x, y).statistic)
    assert 0.91 < inside / 300 < 0.985
    assert rank_correlation(x, y).rho == pytest.approx(rank_correlation(np.exp(x), y).rho)
    perfect = rank_correlation(range(5), range(5))
    assert (perfect.rho, perfect.low, perfect.high) == (1, 1, 1)
