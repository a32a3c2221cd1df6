"""Random search: exact over all sets of networks, and an interval that covers."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsd.analysis.search import doublings, expected_best, search_curve
from dsd.errors import UsageError

ERRORS = st.lists(st.integers(0, 40).map(lambda k: k / 4), min_size=2, max_size=9)


@settings(deadline=None)
@given(ERRORS, st.integers(1, 9))
def test_the_expected_best_is_the_mean_over_all_sets(errors, m):
    if m > len(errors):
        with pytest.raises(UsageError, match="can be drawn"):
            expected_best(errors, m)
        return
    every_set = np.mean([min(some) for some in combinations(errors, m)])
    assert expected_best(errors, m) == pytest.approx(every_set)


@settings(deadline=None)
@given(ERRORS)
def test_the_standard_error_leaves_out_every_network_once(errors):
    n = len(errors)
    m = list(range(1, n))
    found = search_curve(errors, m)
    left = [expected_best(errors[:i] + errors[i + 1 :], m) for i in range(n)]
    spread = np.sqrt((n - 1) ** 2 / n * np.var(left, axis=0, ddof=1))
    reach = found.high - found.best
    assert found.low == pytest.approx(np.maximum(found.best - reach, 0))
    assert (found.low <= found.best + 1e-12).all()
    assert (reach >= spread * 1.9 - 1e-12).all()  # no Student's quantile at 95% is smaller
    assert (reach <= spread * 13 + 1e-12).all()  # nor larger than with one degree of freedom


def test_equal_errors_give_that_error_and_limits_stay_above_0():
    for error in (0.0, 50.0, 33.3):
        found = search_curve([error] * 30)
        assert (found.best == error).all()
        assert (found.low == error).all()
        assert (found.high == error).all()
    assert search_curve([0.0, 0.0, 0.0, 100.0]).low[0] == 0


def test_one_network_is_the_mean_and_all_are_the_minimum():
    errors = [30.0, 10.0, 20.0]
    assert expected_best(errors, [1, 3]) == pytest.approx([20.0, 10.0])
    assert doublings(100).tolist() == [1, 2, 4, 8]
    assert doublings(3).tolist() == [1]
    assert search_curve([40.0]).as_dict() == {
        "m": [1], "expected_best": [40.0], "low": [None], "high": [None],
    }  # fmt: skip


SHAPES = {
    "long tail": lambda rng, n: 35 + rng.lognormal(2.0, 0.6, n),
    "hard floor": lambda rng, n: 38 + rng.exponential(5, n),
    "bell": lambda rng, n: rng.normal(45, 4, n),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("n", [100, 500])
@pytest.mark.parametrize("repeats", [300, pytest.param(4000, marks=pytest.mark.slow)])
def test_the_interval_of_the_expected_best_covers(shape, n, repeats):
    rng = np.random.default_rng(n)
    space = SHAPES[shape](rng, 200_000)
    m = [1, 4, n // 16, n // 8]
    truth = expected_best(space, m)
    inside = np.zeros(len(m))
    for _ in range(repeats):
        found = search_curve(rng.choice(space, n), m)
        inside += (found.low <= truth) & (truth <= found.high)
    slack = 0.0 if repeats > 1000 else 0.03
    assert (inside / repeats >= 0.93 - slack).all(), inside / repeats
    assert (inside / repeats <= 0.97 + slack).all(), inside / repeats
