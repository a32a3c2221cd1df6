"""Differences of populations: exact where they can be, and intervals that cover."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from dsd.analysis.correlation import correlation
from dsd.analysis.difference import (
    differences,
    holm,
    mean_difference,
    networks_needed,
    quantile_difference,
    win_interval,
    win_probability,
)
from dsd.errors import DsdError

numbers = st.lists(st.sampled_from([10.0, 11.5, 12.0, 13.0, 20.0]), min_size=2, max_size=15)


@given(numbers, numbers)
def test_winning_is_counted_over_all_pairs(a, b):
    pairs = [(x < y) + (x == y) / 2 for x in a for y in b]
    assert win_probability(a, b) == pytest.approx(np.mean(pairs))
    assert win_probability(a, b) + win_probability(b, a) == pytest.approx(1)
    interval = win_interval(a, b)
    assert 0 < interval.low <= interval.high < 1


@pytest.mark.filterwarnings("ignore:Precision loss")  # scipy's, on errors that are all equal
@given(numbers, numbers)
def test_the_mean_is_welchs(a, b):
    if np.var(a) + np.var(b) == 0:
        return
    known = stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.9)
    found = mean_difference(a, b, 0.9)
    assert (found.low, found.high) == pytest.approx((known.low, known.high))


def test_holm_is_the_textbooks():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_the_papers_verdicts(paper):
    named = {name: paper[name] for name in ("AnyNetX_A", "AnyNetX_C", "AnyNetX_D")}
    found = {(one.a, one.b): one for one in differences(named)}
    assert found["AnyNetX_A", "AnyNetX_C"].verdict == "none"
    assert found["AnyNetX_A", "AnyNetX_C"].more > 100
    clear = found["AnyNetX_C", "AnyNetX_D"]
    assert (clear.verdict, round(clear.test.ks, 2), clear.more) == ("worse", 0.59, None)
    assert clear.mean == pytest.approx(49.409 - 43.226, abs=0.001)
    assert clear.mean_interval.low > 5
    assert clear.wins < 0.3
    said = clear.as_dict()
    assert {"a", "b", "ks", "p_value", "mean_difference", "mean_interval", "wins"} <= set(said)


def test_populations_that_are_one_show_nothing():
    same = np.random.default_rng(0).gamma(2, 3, 60) + 30
    (found,) = differences({"a": same, "b": same})
    assert (found.verdict, found.mean, found.wins, found.more) == ("none", 0, 0.5, 10**9)


def test_a_spread_without_a_better_one_is_different_only():
    rng = np.random.default_rng(1)
    narrow, wide = 50 + rng.normal(0, 1, 300), 50 + rng.normal(0, 10, 300)
    (found,) = differences({"a": narrow - narrow.mean(), "b": wide - wide.mean()})
    assert found.verdict == "different"


def test_the_networks_needed_suffice():
    rng = np.random.default_rng(2)
    a, b = rng.normal(50, 5, 100), rng.normal(51, 5, 100)
    more = networks_needed(a, b)
    sizes = 100 + more
    gap, spread = abs(a.mean() - b.mean()), np.sqrt((a.var(ddof=1) + b.var(ddof=1)) / 2)
    shown = [
        stats.ttest_ind(rng.normal(0, spread, sizes), rng.normal(gap, spread, sizes)).pvalue < 0.05
        for _ in range(400)
    ]
    assert 0.7 < np.mean(shown) < 0.9


def test_one_network_is_too_few():
    with pytest.raises(DsdError, match="a: at least 2"):
        differences({"a": [1.0], "b": [1.0, 2.0]})


def truths(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Two large skewed populations, as errors are."""
    return 35 + rng.lognormal(2.0, 0.6, 20_000), 36 + rng.lognormal(2.2, 0.5, 20_000)


@pytest.mark.parametrize("n", [100, 500])
@pytest.mark.parametrize("repeats", [300, pytest.param(4000, marks=pytest.mark.slow)])
def test_intervals_cover(n, repeats):
    rng = np.random.default_rng(n)
    a, b = truths(rng)
    tenth = np.quantile(a, 0.1) - np.quantile(b, 0.1)
    truth = (a.mean() - b.mean(), np.median(a) - np.median(b), tenth, win_probability(a, b))
    inside = np.zeros(4)
    for _ in range(repeats):
        x, y = rng.choice(a, n), rng.choice(b, n)
        found = (mean_difference(x, y), quantile_difference(x, y),
                 quantile_difference(x, y, 0.1), win_interval(x, y))  # fmt: skip
        inside += [i.low <= t <= i.high for i, t in zip(found, truth, strict=True)]
    slack = 0.0 if repeats > 1000 else 0.03
    assert (inside / repeats >= 0.93 - slack).all(), inside / repeats
    assert (inside / repeats <= 0.97 + slack).all(), inside / repeats


@given(st.integers(0, 1000))
def test_correlations_are_scipys_and_pairs_without_a_number_count_nowhere(seed):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=20), rng.normal(size=20)
    found = correlation(x, y)
    assert found.pearson == pytest.approx(np.corrcoef(x, y)[0, 1])
    assert found.low <= found.pearson <= found.high
    assert correlation([*x, np.nan], [*y, 1.0]) == found
    assert correlation(x, np.exp(y)).spearman == pytest.approx(found.spearman)


def test_a_constant_correlates_with_nothing():
    with pytest.raises(DsdError, match="same for all"):
        correlation([1.0] * 5, [1.0, 2, 3, 4, 5])
