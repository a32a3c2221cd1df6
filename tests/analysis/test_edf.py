"""The strict EDF and its bands."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from dsd.analysis.binomial import binomial_quantile
from dsd.analysis.edf import band, edf, evaluate, steps
from dsd.errors import DsdError, UsageError

# Few distinct values, so that ties are common.
ERRORS = st.lists(st.integers(0, 40).map(lambda k: k / 4), min_size=1, max_size=60)
KINDS = pytest.mark.parametrize("kind", ["exact", "bootstrap", "dkw"])


def test_share_below_an_error_is_strict() -> None:
    curve = edf([40.0, 42.0, 40.0, 45.0])
    assert evaluate(curve, [39.9, 40.0, 40.1, 42.0, 45.0, 45.1]).tolist() == [
        *(0, 0, 0.5, 0.5, 0.75, 1)
    ]


def test_area_left_of_the_curve_is_the_published_mean(paper: dict[str, list[float]]) -> None:
    curve = edf(paper["AnyNetX_D"])
    area = curve.errors[0] + np.sum((1 - curve.share[1:-1]) * np.diff(curve.errors))
    assert round(area, 1) == 43.2


@settings(deadline=None)
@given(ERRORS)
def test_edf_follows_its_definition_in_any_order(errors: list[float]) -> None:
    curve = edf(errors)
    points = np.arange(-1, 12, 0.125)
    expected = (np.array(errors)[:, None] < points).mean(axis=0)
    assert np.allclose(evaluate(curve, points), expected, atol=1e-12)
    assert (np.diff(curve.share) > 0).all()
    assert (curve.share[0], curve.share[-1]) == (0, 1)
    assert np.array_equal(edf(sorted(errors, reverse=True)).share, curve.share)


@KINDS
@settings(deadline=None)
@given(errors=ERRORS)
def test_band_holds_the_curve_rises_with_it_and_widens_with_confidence(
    kind: str, errors: list[float]
) -> None:
    curve = edf(errors)
    narrow, wide = band(curve, 0.8, kind), band(curve, 0.99, kind)  # type: ignore[arg-type]
    assert (wide.lower >= 0).all()
    assert (wide.upper <= 1).all()
    assert (narrow.lower <= curve.share).all()
    assert (curve.share <= narrow.upper).all()
    assert (wide.lower <= narrow.lower).all()
    assert (narrow.upper <= wide.upper).all()
    assert (np.diff(wide.lower) >= 0).all()
    assert (np.diff(wide.upper) >= 0).all()


def test_bootstrap_band_is_the_resampled_one_and_has_no_width_at_the_ends() -> None:
    curve = edf(np.arange(200.0))
    limits = band(curve, 0.95, "bootstrap")
    rng = np.random.default_rng(0)
    resampled = rng.binomial(200, curve.share, size=(20_000, curve.share.size)) / 200
    assert np.allclose(limits.lower, np.quantile(resampled, 0.025, axis=0), atol=0.006)
    assert np.allclose(limits.upper, np.quantile(resampled, 0.975, axis=0), atol=0.006)
    assert limits.upper[0] == 0
    assert limits.lower[-1] == 1


def test_exact_band_matches_clopper_pearson_and_keeps_width_at_the_ends() -> None:
    limits = band(edf(np.arange(16.0)), 0.95, "exact")
    for k in range(17):
        expected = stats.binomtest(k, 16).proportion_ci(0.95, "exact")
        assert limits.lower[k] == pytest.approx(expected.low, abs=1e-9)
        assert limits.upper[k] == pytest.approx(expected.high, abs=1e-9)


def test_dkw_band_covers_the_whole_curve_at_once() -> None:
    rng, hits = np.random.default_rng(1), 0
    for _ in range(500):
        curve = edf(rng.random(100))
        limits = band(curve, 0.95, "dkw")
        starts = np.append(0, curve.errors)  # F(e) = e runs along each piece of the curve
        ends = np.append(curve.errors, 1)
        hits += bool((limits.lower <= starts).all() and (ends <= limits.upper).all())
    assert hits / 500 >= 0.94


@pytest.mark.parametrize("n", [1, 7, 500, 5000])
@pytest.mark.parametrize("level", [0.001, 0.025, 0.49, 0.975])
def test_binomial_quantiles_are_exact(n: int, level: float) -> None:
    p = np.linspace(0, 1, 101)
    expected = np.maximum(stats.binom.ppf(level, n, p), 0)
    assert np.array_equal(binomial_quantile(level, n, p), expected)


def test_steps_draw_each_piece_from_its_own_error() -> None:
    x, y = steps(edf([40.0, 42.0]), 39.0, 50.0)
    assert x.tolist() == [39, 40, 42, 50]
    assert y.tolist() == [0, 0.5, 1, 1]


def test_bad_input_is_said_plainly() -> None:
    with pytest.raises(DsdError, match="at least one error"):
        edf([])
    with pytest.raises(DsdError, match="2 of 3 errors are not finite"):
        edf([1.0, float("nan"), float("inf")])
    with pytest.raises(DsdError, match=r"shape \(1, 2\)"):
        edf([[1.0, 2.0]])
    with pytest.raises(UsageError, match="confidence = 95"):
        band(edf([1.0]), 95)
    with pytest.raises(UsageError, match="exact, bootstrap, dkw"):
        band(edf([1.0]), 0.95, "greenwood")  # type: ignore[arg-type]
