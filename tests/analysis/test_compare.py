"""Kolmogorov-Smirnov between populations."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from dsd.analysis import compare as room
from dsd.analysis.compare import compare, pairwise
from dsd.errors import DsdError

TIED = st.lists(st.integers(0, 3).map(float), min_size=1, max_size=5)


def test_published_populations(paper: dict[str, list[float]]) -> None:
    found = {(c.a, c.b): c for c in pairwise(paper)}
    assert len(found) == 6
    better = found["AnyNetX_C", "AnyNetX_D"]
    assert round(better.ks, 2) == 0.59
    assert better.p_value < 1e-50
    assert better.below_a < 0.4 < 0.9 < better.below_b
    assert found["AnyNetX_A", "AnyNetX_C"].p_value > 0.3


@pytest.mark.parametrize(
    ("n", "m", "shift"), [(8, 8, 0.5), (37, 101, 0.3), (500, 500, 0.1), (60, 50, 3)]
)
def test_distinct_errors_match_scipys_exact_test(n: int, m: int, shift: float) -> None:
    rng = np.random.default_rng(n)
    a, b = rng.normal(size=n), rng.normal(shift, size=m)
    theirs = stats.ks_2samp(a, b, method="exact")
    ours = compare(a, b)
    assert ours.ks == pytest.approx(theirs.statistic)
    assert ours.p_value == pytest.approx(theirs.pvalue, rel=1e-9)
    assert ours.at == theirs.statistic_location


def _gap(a: np.ndarray, b: np.ndarray) -> float:
    grid = np.arange(4)
    return float(np.abs((a[:, None] <= grid).mean(0) - (b[:, None] <= grid).mean(0)).max())


@settings(max_examples=40, deadline=None)
@given(TIED, TIED)
def test_tied_errors_are_counted_over_every_split(a: list[float], b: list[float]) -> None:
    pooled, observed = np.array(a + b), _gap(np.array(a), np.array(b))
    splits = combinations(range(pooled.size), len(a))
    gaps = [_gap(pooled[list(s)], np.delete(pooled, s)) for s in splits]
    result = compare(a, b)
    assert result.ks == pytest.approx(observed)
    assert result.p_value == pytest.approx(np.mean(np.array(gaps) >= observed - 1e-12))


@settings(deadline=None)
@given(TIED, TIED)
def test_turned_round_and_shuffled_it_is_the_same(a: list[float], b: list[float]) -> None:
    first, second = compare(a, b), compare(b[::-1], a[::-1])
    assert first.ks == second.ks
    assert first.p_value == pytest.approx(second.p_value)
    assert first.below_a - first.below_b == pytest.approx(second.below_b - second.below_a)
    assert 0 <= first.p_value <= 1


def test_large_populations_use_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=2000), rng.normal(0.03, size=2000)
    exact = compare(a, b).p_value
    monkeypatch.setattr(room, "EXACT", 1000)
    assert compare(a, b).p_value == pytest.approx(exact, rel=0.05)


def test_empty_populations_have_no_pair() -> None:
    assert [(c.a, c.b) for c in pairwise({"x": [1.0], "y": [], "z": [2.0]})] == [("x", "z")]
    with pytest.raises(DsdError, match="y: no finished network"):
        compare([1.0], [], "x", "y")
    with pytest.raises(DsdError, match="y: 1 of 1 errors are not finite"):
        pairwise({"x": [1.0], "y": [float("nan")]})


def test_as_dict_holds_what_json_promises() -> None:
    data = compare([1.0, 2.0], [3.0, 4.0], "x", "y").as_dict()
    assert {"a": "x", "b": "y", "ks": 1.0}.items() <= data.items()
    assert data["p_value"] == pytest.approx(1 / 3)
