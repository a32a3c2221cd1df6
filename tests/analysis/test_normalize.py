"""Populations at equal complexity: the papers' weights, honest intervals, an exact test."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsd.analysis.edf import band, edf, evaluate
from dsd.analysis.normalize import (
    Normalized,
    common_bins,
    compare_normalized,
    summarize_normalized,
)
from dsd.analysis.summary import legend, summarize
from dsd.errors import DsdError, UsageError


def population(rng: np.random.Generator, n: int, gain: float) -> tuple[np.ndarray, np.ndarray]:
    """Complexity and error of n networks; errors fall with complexity, whatever the population."""
    complexity = rng.beta(gain, 2, n)
    return complexity, 40 - 10 * complexity + rng.gamma(2, 1, n)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 1000), st.integers(1, 6))
def test_weights_are_the_papers(seed, count):
    rng = np.random.default_rng(seed)
    a, b = rng.uniform(0, 1, 800), rng.uniform(0.1, 1.2, 600)
    bins = common_bins({"a": a, "b": b}, "flops", count)
    assert (bins.edges[0], bins.edges[-1]) == (max(a.min(), b.min()), min(a.max(), b.max()))
    assert np.diff(bins.edges) == pytest.approx(np.full(count, np.diff(bins.edges)[0]))
    for x in (a, b):
        place, weights = bins.of(x), bins.weights(x)
        assert weights.sum() == pytest.approx(1)
        assert ((place < 0) == (weights == 0)).all()
        for k in range(count):
            assert weights[place == k] == pytest.approx(1 / (count * (place == k).sum()))


def test_what_cannot_be_normalised_says_why():
    with pytest.raises(DsdError, match=r"b has no network with acts from 2 to 3 \(bin 3 of 4\)"):
        common_bins({"a": np.arange(41) / 10, "b": [0.0, 0.5, 1.5, 3.5, 4.0]}, "acts", 4)
    with pytest.raises(DsdError, match="share no range"):
        common_bins({"a": [1.0, 2.0], "b": [3.0, 4.0]}, "flops", 2)
    with pytest.raises(DsdError, match="b: params is not known"):
        common_bins({"a": [1.0, 2.0], "b": [3.0, np.nan]}, "params", 2)
    with pytest.raises(UsageError, match="0 bins"):
        common_bins({"a": [1.0, 2.0]}, "params", 0)


def test_one_bin_weighs_nothing():
    rng = np.random.default_rng(0)
    complexity, errors = population(rng, 60, 2)
    one = Normalized.of("a", errors, complexity, common_bins({"a": complexity}, "flops", 1))
    weighted, plain = summarize_normalized(one, quantiles=[0.1], below=[38]), summarize(errors)
    assert weighted.mean == pytest.approx(plain.mean)
    assert weighted.median == pytest.approx(np.quantile(errors, 0.5, method="inverted_cdf"))
    assert weighted.below[0].value == pytest.approx((errors < 38).mean())
    a, b = edf(errors), edf(one.errors, one.weights)
    assert b.share == pytest.approx(a.share)
    assert band(b).lower == pytest.approx(band(a).lower, abs=1e-9)
    assert band(b).upper == pytest.approx(band(a).upper, abs=1e-9)
    assert legend(one.errors, one.weights) == legend(errors)


def test_the_weighted_edf_is_its_definition():
    curve = edf([3.0, 1.0, 2.0, 1.0], [0.4, 0.1, 0.3, 0.2])
    assert evaluate(curve, [0.5, 1.0, 1.5, 2.5, 3.5]) == pytest.approx([0, 0, 0.3, 0.6, 1])
    assert curve.effective == pytest.approx(1 / 0.30)


@pytest.mark.parametrize("repeats", [250, pytest.param(2000, marks=pytest.mark.slow)])
def test_intervals_at_equal_complexity_cover(repeats):
    """Complexity is drawn unevenly, and the truth is what even complexity would show."""
    truth = 40 - 5 + 2
    rng = np.random.default_rng(1)
    even = rng.uniform(0, 1, 400_000)
    median = np.median(40 - 10 * even + rng.gamma(2, 1, even.size))
    inside = np.zeros(2)
    for _ in range(repeats):
        complexity, errors = population(rng, 200, 1.5)
        bins = common_bins({"a": [*complexity, 0, 1]}, "flops", 5)
        s = summarize_normalized(Normalized.of("a", errors, complexity, bins))
        found = (s.mean_interval, s.median_interval)
        inside += [i.low <= t <= i.high for i, t in zip(found, (truth, median), strict=True)]
    share = inside / repeats
    assert 0.91 <= share[0] <= 0.98, share
    assert share[1] >= 0.93, share  # blind to what the bins explain: wider than it need be


def test_the_test_asks_for_a_difference_at_equal_complexity():
    """Populations that differ in complexity alone differ, until they are normalised."""
    rng, small, differ = np.random.default_rng(2), 0, 0
    for _ in range(40):
        (xa, ea), (xb, eb) = population(rng, 150, 1.5), population(rng, 150, 3)
        bins = common_bins({"a": xa, "b": xb}, "flops", 3)
        a, b = Normalized.of("a", ea, xa, bins), Normalized.of("b", eb, xb, bins)
        small += compare_normalized(a, b).p_value < 0.05
        c = Normalized.of("c", eb + 1.5, xb, bins)
        differ += compare_normalized(a, c).p_value < 0.05
    assert small <= 9  # the rest of complexity within three wide bins shows now and then
    assert differ >= 38
    assert compare_normalized(a, a).p_value == 1
