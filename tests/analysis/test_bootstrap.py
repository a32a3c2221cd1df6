"""Intervals: what they are, and how often they hold."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from dsd.analysis.bootstrap import (
    mean_interval,
    median_interval,
    minimum_interval,
    minimum_note,
    quantile_interval,
    top_share,
)
from dsd.errors import DsdError, UsageError

ERRORS = st.lists(st.floats(10, 90).map(lambda e: round(e, 2)), min_size=2, max_size=40)


def skewed(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Errors like a population's: a hard floor and a long right tail (skewness 1.75)."""
    return 38 + 9 * rng.lognormal(0, 0.5, shape)


TRUE_MEAN, TRUE_MEDIAN = 38 + 9 * np.exp(0.125), 47.0


@pytest.mark.parametrize("n", [100, 500])
def test_mean_interval_covers(n: int) -> None:
    draws = skewed(np.random.default_rng(n), 1200, n)
    intervals = [mean_interval(x, resamples=600) for x in draws]
    covered = np.mean([i is not None and i.low <= TRUE_MEAN <= i.high for i in intervals])
    assert 0.93 <= covered <= 0.97


@pytest.mark.parametrize("n", [100, 500])
def test_median_interval_covers(n: int) -> None:
    draws = skewed(np.random.default_rng(n), 3000, n)
    intervals = [median_interval(x) for x in draws]
    covered = np.mean([i is not None and i.low <= TRUE_MEDIAN <= i.high for i in intervals])
    assert 0.93 <= covered <= 0.97
    assert intervals[0]
    assert covered == pytest.approx(intervals[0].confidence, abs=0.012)


def test_low_quantile_interval_covers() -> None:
    draws = skewed(np.random.default_rng(5), 3000, 100)
    true = 38 + 9 * np.exp(0.5 * stats.norm.ppf(0.1))
    intervals = [quantile_interval(x, 0.1) for x in draws]
    covered = np.mean([i is not None and i.low <= true <= i.high for i in intervals])
    assert 0.94 <= covered <= 0.98


@pytest.mark.parametrize("n", [30, 300])
def test_mean_interval_is_scipys_bca_at_the_expanded_level(n: int) -> None:
    errors = skewed(np.random.default_rng(n), n)
    reach = np.sqrt(n / (n - 1)) * stats.t.ppf(0.975, n - 1)
    level = 2 * stats.norm.cdf(reach) - 1
    limits = stats.bootstrap(
        (errors,), np.mean, confidence_level=level, n_resamples=20_000, batch=1000, rng=1
    ).confidence_interval
    ours, width = mean_interval(errors, resamples=20_000), errors.std() / np.sqrt(n)
    assert ours is not None
    assert ours.low == pytest.approx(limits.low, abs=0.06 * width)
    assert ours.high == pytest.approx(limits.high, abs=0.06 * width)


@settings(deadline=None)
@given(ERRORS)
def test_intervals_hold_the_estimate_widen_with_confidence_and_ignore_order(
    errors: list[float],
) -> None:
    assume(len(set(errors)) > 1)
    for interval, estimate in (
        (lambda e, c: mean_interval(e, c, resamples=300), np.mean(errors)),
        (median_interval, np.median(errors)),
        (minimum_interval, np.min(errors)),
    ):
        low, high = interval(errors, 0.6), interval(errors, 0.95)
        assert min(errors) <= high.low <= low.low <= estimate + 1e-9
        assert estimate - 1e-9 <= low.high <= high.high <= max(errors) + 1e-9
        assert interval(errors[::-1], 0.95) == high


@pytest.mark.parametrize("errors", [[1.0, 1.0, 9.0], [1.0, 9.0, 9.0], [1.0, 9.0]])
def test_tiny_populations_at_high_confidence_span_their_range(errors: list[float]) -> None:
    interval = mean_interval(errors, 0.9999)
    assert interval is not None
    assert interval.as_list() == [1.0, 9.0]


def test_same_seed_same_interval_and_another_seed_hardly_another() -> None:
    errors = skewed(np.random.default_rng(0), 200)
    first, again, other = (mean_interval(errors, seed=s) for s in (1, 1, 2))
    assert first == again != other
    assert first
    assert other
    assert other.low == pytest.approx(first.low, abs=0.1 * (first.high - first.low))


@pytest.mark.parametrize(("n", "confidence"), [(2, 0.5), (5, 0.9375), (6, 0.96875)])
def test_small_populations_say_what_their_median_interval_attains(
    n: int, confidence: float
) -> None:
    interval = median_interval(np.arange(n))
    assert interval is not None
    assert (interval.low, interval.high) == (0, n - 1)
    assert interval.confidence == pytest.approx(confidence)


@pytest.mark.parametrize(("level", "least"), [(0.5, 6), (0.1, 36), (0.9, 36), (0.25, 13)])
def test_an_interval_of_too_few_networks_says_so(level: float, least: int) -> None:
    for n in range(1, 3 * least):
        errors = np.arange(float(n))
        for confidence in (0.5, 0.95):
            found = quantile_interval(errors, level, confidence)
            assert found is not None
            assert found.low <= np.quantile(errors, level) <= found.high
        missed = level**n + (1 - level) ** n  # all networks on one side of the true quantile
        assert missed <= 0.05 or found.if_holds(0.95) is None
        assert n < least or found.if_holds(0.95) is found


def test_minimum_interval_is_the_whole_bootstrap_counted() -> None:
    errors = [3.0, 1.0, 4.0, 1.5, 5.0]
    minima = np.array([min(draw) for draw in itertools.product(errors, repeat=5)])
    interval = minimum_interval(errors, 0.9)
    assert interval is not None
    assert interval.low == 1.0
    assert np.mean(minima <= interval.high) == pytest.approx(interval.confidence)
    assert np.mean(minima < interval.high) < 0.9 <= interval.confidence


def test_minimum_note_says_what_the_best_of_n_shows() -> None:
    assert top_share(500) == pytest.approx(1 - 0.05 ** (1 / 500))
    assert "best 0.6% of the space" in minimum_note(500)
    assert minimum_note(0) == "no finished network"


def test_none_one_and_equal_errors() -> None:
    for interval in (mean_interval, median_interval, minimum_interval):
        assert interval([]) is None
        equal = interval([0.1] * 9)
        assert equal is not None
        assert equal.as_list() == [0.1, 0.1]
    assert mean_interval([40.0]) is None
    one = median_interval([40.0])
    assert one is not None
    assert (one.as_list(), one.confidence) == ([40, 40], 0)


def test_bad_input_is_said_plainly() -> None:
    for interval in (mean_interval, median_interval, minimum_interval):
        with pytest.raises(DsdError, match="1 of 2 errors are not finite"):
            interval([1.0, float("nan")])
        with pytest.raises(UsageError, match="confidence = 1"):
            interval([1.0, 2.0], 1)
    with pytest.raises(UsageError, match=r"quantile 1\.5"):
        quantile_interval([1.0], 1.5)
