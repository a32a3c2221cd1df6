"""Sizes: the paper's table 1, and exact counts that brute force confirms."""

from __future__ import annotations

import itertools
import math

import pytest

from dsd.analysis.binomial import proportion_interval
from dsd.regime import load_regime
from dsd.space.size import band_share, size
from dsd.space.spec import load_space, space_from

ONE = {"w": [8], "b": [1], "g": [1]}
TABLE_1 = {
    "anynetx_a": (16, 1.8e18),
    "anynetx_b": (13, 6.8e16),
    "anynetx_c": (10, 3.2e14),
    "anynetx_d": (10, 1.3e13),
    "anynetx_e": (10, 5.5e11),
    "regnetx": (6, 3.0e8),
}


@pytest.mark.parametrize("name", TABLE_1)
def test_the_papers_table_1(name):
    found = size(load_space(name))
    assert (found.freedom, float(f"{found.paper:.1e}")) == TABLE_1[name]


def test_exact_settings_count_ties():
    assert size(load_space("anynetx_a")).settings == (16 * 128 * 3 * 6) ** 4
    assert size(load_space("anynetx_c")).settings == (16 * 128) ** 4 * 18
    ordered = math.comb(128 + 3, 4)
    assert size(load_space("anynetx_d")).settings == ordered * 16**4 * 18
    assert size(load_space("anynetx_e")).settings == ordered * math.comb(16 + 3, 4) * 18
    assert size(load_space("anynetx_c_w_equal")).settings == 128 * 16**4 * 18
    assert size(load_space("anynetv_a")).settings == (16 * 128) ** 4


RULES = [
    (["w[i+1] >= w[i]"], lambda w: all(b >= a for a, b in itertools.pairwise(w))),
    (["w[i+1] > w[i]", "w2 < 32"], lambda w: w[0] < w[1] < w[2] and w[1] < 32),
    (["w3 >= 2 * w2 and w <= 32"], lambda w: w[2] >= 2 * w[1] and max(w) <= 32),
    (["w[i+1] == w[i]", "w > 8"], lambda w: len(set(w)) == 1 and w[0] > 8),
]


@pytest.mark.parametrize(("rules", "holds"), RULES, ids=[r[0][0] for r in RULES])
def test_exact_settings_equal_brute_force(rules, holds):
    draws = {"d": [1], "w": {"log": [8, 64], "step": 8}, "b": [1], "g": [1]}
    data = {"form": "per-stage", "stages": 3, "draw": draws, "restrict": rules}
    widths = range(8, 72, 8)
    expected = sum(holds(w) for w in itertools.product(widths, repeat=3))
    assert size(space_from(data, "small", "small.toml")).settings == expected


def test_exact_settings_of_many_stages_outgrow_64_bits():
    data = {"form": "per-stage", "stages": 16, "draw": {"d": list(range(1, 17)), **ONE}}
    assert size(space_from(data, "tall", "tall.toml")).settings == 16**16


def test_stages_that_draw_differently_count_each_for_itself():
    data = {"form": "per-stage", "draw": {"d": [1, 2], **ONE, "w4": [8, 16, 24]}}
    known = size(space_from(data, "odd", "odd.toml"))
    assert known.paper == known.settings == 2**4 * 3


def test_rules_on_totals_and_cost_make_the_count_a_bound():
    assert size(load_space("anynetx_e")).bounded == ()
    assert len(size(load_space("regnetx_constrained")).bounded) == 2


def test_the_share_in_the_band_is_that_of_the_sampler():
    inside, n = band_share(load_space("anynetx_c"), load_regime("imagenet_400mf"))
    low, high = proportion_interval(inside, n)
    assert low < 500 / 24225 < high
    assert 0.015 < low < inside / n < high < 0.025
