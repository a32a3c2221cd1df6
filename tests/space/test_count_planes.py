"""Rules on cost as half planes, and pairs of points counted within them: equal to trying each."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsd.space.counting import bits
from dsd.space.counting.bits import Subsets
from dsd.space.counting.planes import Plane, band_plane, rule_planes
from dsd.space.expression import parse

COLUMNS = ("flops", "params", "acts", "d")
RANGES = {"flops": (3.6e8, 4e8), "params": (1e5, 2e7), "acts": (0.0, 3e7), "d": (4.0, 60.0)}
PLANES = [
    "params <= 3.0e6 + 5.5e-3 * flops",
    "acts <= 6.5 * sqrt(flops) * 80",
    "flops >= 9e6 * d",
    "params - acts / 2 < 1e6 - -d * 1e4",
    "2e6 <= params <= 4e6 + flops / w4",
    "acts >= 500 * w4 and params < 1e7",
    "log10(flops) ** 2 * 1e5 > params",
    "3e6 > abs(params - 4e6)",
    "max(params, 5e6) <= 2e7 - min(acts, 1e7)",
    "1e15 / flops >= params",
    "1e12 * params - 1e12 * params + acts <= 1e7",
]
NONE = [
    "params == 1000",
    "params > 3e4 or d == 5",
    "not params > 3e4",
    "params // 2 < 1e6",
    "flops * params < 1e15",
    "sqrt(acts - 1e6) < 1e3",
    "params / (d - 20) > 7",
]


def condition(text):
    return parse(text, (*COLUMNS, "w4"), "test")


def planes_of(text):
    return rule_planes(condition(text).tree, RANGES, COLUMNS, {"w4": 100.0})


@pytest.mark.parametrize("text", PLANES)
def test_a_rule_holds_within_its_sure_limits_and_nowhere_beyond_the_others(text):
    rng = np.random.default_rng(3)
    cost = np.stack([rng.integers(*map(int, RANGES[name]), 50_000) for name in COLUMNS])
    cost[:, ::2] = cost[:, :1] + rng.integers(-3, 4, (4, 25_000))  # some of them close together
    cost = np.clip(cost, *np.array([RANGES[name] for name in COLUMNS], dtype=int).T[:, :, None])
    holds = condition(text)({**dict(zip(COLUMNS, cost, strict=True)), "w4": np.array([100.0])}, 1)
    planes = planes_of(text)
    sure, maybe = (
        np.logical_and.reduce([
            (plane.weights @ cost >= getattr(plane, kind)[0])
            & (plane.weights @ cost <= getattr(plane, kind)[1]) for plane in planes
        ])
        for kind in ("sure", "maybe")
    )  # fmt: skip
    assert not (sure & ~holds).any()
    assert not (holds & ~maybe).any()
    if not any(rough in text for rough in ("log10", "1e15", "1e12", "min", "abs")):
        assert (maybe & ~sure).mean() < 0.002, "few are left to be tried"


@pytest.mark.parametrize("text", NONE)
def test_other_rules_are_no_planes(text):
    assert planes_of(text) is None


def test_what_was_spent_before_moves_the_limits():
    plane = Plane(np.array([1.0, 2.0]), (0.0, 10.0), (-1.0, 11.0)).beyond(np.array([3, 1]))
    assert (plane.sure, plane.maybe) == ((-5.0, 5.0), (-6.0, 6.0))


def test_a_columns_own_limits_are_exact_as_long_as_numbers_are():
    plane = band_plane(1, 3, 5, 1 << 40, 1 << 50)
    assert plane.sure == plane.maybe == (5, 1 << 40)
    wide = band_plane(1, 3, 5, 1 << 60, 1 << 61)
    assert wide.maybe[1] > 1 << 60 > wide.sure[1]


@st.composite
def lists(draw):
    """Kept points and points to meet, (node, cost, times) each; costs are small, so many tie."""
    rng = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    columns, most = draw(st.integers(1, 3)), draw(st.sampled_from([3, 40, 1000]))
    sides = []
    for n in draw(st.tuples(st.integers(1, 300), st.integers(0, 200))):
        node, cost = rng.integers(0, 3, n), rng.integers(0, most, (columns, n))
        order = np.lexsort((cost[0], node))
        times = rng.integers(1, draw(st.sampled_from([2, 20])), n)
        sides.append((node[order], cost[:, order], times[order]))
    planes = []
    for _ in range(draw(st.integers(1, 3))):
        weights = rng.integers(-2, 3, columns).astype(float)
        low, high = sorted(rng.integers(-most, 2 * most, 2).tolist())
        low = draw(st.sampled_from([float(low), -np.inf]))
        high = draw(st.sampled_from([float(high), np.inf]))
        strip = draw(st.sampled_from([0.0, 0.0, most / 8]))
        planes.append(Plane(weights, (low + strip, high - strip), (low - strip, high + strip)))
    limits = tuple(sorted(rng.integers(0, 2 * most, 2).tolist()))
    return *sides, planes, limits


@given(lists(), st.sampled_from([64, 1024]))
@settings(max_examples=60, deadline=None)
def test_pairs_within_planes_are_those_that_are_found_one_by_one(drawn, run):
    kept, came, planes, limits = drawn
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bits, "RUN", run)
        patch.setattr(bits, "AT_ONCE", 50)
        met = list(Subsets(*kept, limits, planes).met(came[0], came[1]))
    found = sum(int(one.found @ came[2][one.rows]) for one in met)
    open_ = sorted(
        pair for one in met for pair in zip(*(x.tolist() for x in one.pairs), strict=True)
    )

    cost = came[1][:, :, None] + kept[1][:, None, :]
    fits = (cost[0] >= limits[0]) & (cost[0] <= limits[1])
    fits &= came[0][:, None] == kept[0][None, :]
    sure, maybe = fits.copy(), fits.copy()
    for plane in planes:
        value = np.tensordot(plane.weights, cost, 1)
        sure &= (value >= plane.sure[0]) & (value <= plane.sure[1])
        maybe &= (value >= plane.maybe[0]) & (value <= plane.maybe[1])
    assert found == int((sure * came[2][:, None] * kept[2][None, :]).sum())
    rows, places = np.nonzero(maybe & ~sure)
    assert open_ == sorted(zip(rows.tolist(), places.tolist(), strict=True))
