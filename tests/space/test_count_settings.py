"""Counts of settings: equal to enumeration, and to what the sampler meets."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsd.errors import UsageError
from dsd.net.arch import Stem
from dsd.net.groups import Stages, buildable
from dsd.regime import load_regime
from dsd.space.candidates import batch_cost, draw
from dsd.space.count import count
from dsd.space.counting import cases, coarse, dense, tables
from dsd.space.counting import settings as counting
from dsd.space.expression import parse_rule
from dsd.space.rules import columns_of, reads_network
from dsd.space.sample import judge, regime_rules
from dsd.space.spec import load_space, space_from

PAPER = load_regime("imagenet_400mf")
FASHION = load_regime("fashion")
SHARE = re.compile(r"^(\w)\[i\+1\] == \1\[i\]$")
SMALL = {
    "d": {"uniform": [1, 3]},
    "w": {"uniform": [8, 40], "step": 8},
    "b": [1, 2, 4],
    "g": [1, 4, 16],
}
TINY = {"d": [1, 2, 5], "w": [8, 16, 24, 40], "b": [0.5, 2], "g": [1, 8]}
MIXED = {
    **TINY,
    "d2": [1, 2, 3, 4],
    "w1": [8, 16],
    "w3": {"log": [16, 64], "step": 16},
    "g2": [2, 3],
    "b1": [1],
}


def spaced(draws, restrict=(), stages=2, block="X"):
    data = {"form": "per-stage", "stages": stages, "block": block}
    return space_from({**data, "draw": draws, "restrict": list(restrict)}, "small", "small")


def banded(low, high, column="flops", **changes):
    return replace(PAPER, **{"resolution": 32, "band": {column: (low, high)}, **changes})


def every_setting(space):
    """All draws of the stages, rules or not."""
    names = [(p, i) for p in "dwbg" for i in range(space.stages)]
    grids = np.meshgrid(*(space.draws[p][i].values for p, i in names), indexing="ij", copy=False)
    columns = {name: grid.ravel() for name, grid in zip(names, grids, strict=True)}
    d, w, b, g = (np.stack([columns[p, i] for i in range(space.stages)], axis=1) for p in "dwbg")
    return Stages(d.astype(int), w.astype(int), b, g.astype(int))


def brute(space, regime):
    """(settings that keep the rules on the draw, those in the band and under all), one by one."""
    drawn = every_setting(space)
    built = buildable(drawn, space.block)
    costs = batch_cost(space, regime, built).as_dict()
    keeps, inside = np.ones(len(drawn), dtype=bool), regime.in_band(costs)
    for text in (*space.restrict, *regime.restrict):
        for rule in parse_rule(text, columns_of(space), "test"):
            if rule.names & {"flops", "params", "acts"}:
                inside &= rule({**built.columns(), **costs}, space.stages)
                continue
            keeps &= rule(drawn.columns(), space.stages)
            if reads_network(rule) and not SHARE.match(rule.text):
                keeps &= rule({**built.columns(), **costs}, space.stages)
    return int(keeps.sum()), int((keeps & inside).sum())


def middle(space, regime):
    """A band that about half of the settings hit."""
    cost = batch_cost(space, regime, buildable(every_setting(space), space.block)).flops
    return {"flops": tuple(float(x) for x in np.quantile(cost, [0.2, 0.7], method="lower"))}


RULES = [
    (),
    ("b[i+1] == b[i]", "g[i+1] == g[i]"),
    ("w[i+1] >= w[i]",),
    ("w[i+1] == w[i]", "d[i+1] <= d[i]"),
    ("b[i+1] == b[i]", "w[i+1] >= w[i]", "d[i+1] >= d[i]"),
    ("w <= 24", "w[i+1] > w[i]", "d1 <= 2"),
    ("d <= 6",),
    ("d % 2 == 0", "d[i+1] != d[i]", "g[i+1] >= g[i]"),
    ("w >= g", "w2 <= 2 * w1", "b[i] * w[i] <= 64"),
    ("w[i+1] * b[i] >= w[i]", "g2 <= 8 or b2 == 2"),
    ("d[i+1] == d[i]", "d >= 4"),
]


@pytest.mark.parametrize("restrict", RULES, ids=" and ".join)
@pytest.mark.parametrize(("draws", "stages"), [(SMALL, 2), (TINY, 3)], ids=["two", "three"])
def test_settings_equal_enumeration_under_every_kind_of_rule(restrict, draws, stages):
    space = spaced(draws, restrict, stages)
    regime = replace(PAPER, resolution=32)
    regime = replace(regime, band=middle(space, regime))
    found = count(space, regime)
    assert (found.total, found.inside) == brute(space, regime)
    assert (found.unit, found.exact) == ("settings", True)


@pytest.mark.parametrize("block", ["X", "Y", "R", "V", "VR"])
@pytest.mark.parametrize("resolution", [28, 37, 65])
def test_settings_equal_enumeration_for_every_block_and_odd_sides(block, resolution):
    space = spaced(MIXED, ("w[i+1] >= w[i]",), 3, block)
    stem = Stem(width=12, kernel=7, pool=resolution > 60)
    regime = replace(PAPER, resolution=resolution, stem=stem, strides=(1, 2, 3), restrict=("d<=9",))
    regime = replace(regime, band=middle(space, regime))
    found = count(space, regime)
    assert found.exact
    assert (found.total, found.inside) == brute(space, regime)


FOUR = {"d": [1, 3], "w": [8, 24, 40], "b": [1, 4], "g": [1, 16]}


@pytest.mark.parametrize(
    ("stages", "draws", "restrict"),
    [
        (1, SMALL, ()),
        (1, SMALL, ("w <= 32", "d != 2", "b * g <= 16")),
        (4, FOUR, ("w[i+1] >= w[i]", "d <= 8")),
        (4, FOUR, ("g[i+1] == g[i]",)),
    ],
)
def test_settings_equal_enumeration_for_one_stage_and_four(stages, draws, restrict):
    space = spaced(draws, restrict, stages)
    regime = replace(PAPER, band=middle(space, PAPER))
    found = count(space, regime)
    assert (found.total, found.inside) == brute(space, regime)


@pytest.mark.parametrize("column", ["flops", "params", "acts"])
def test_the_bounds_themselves_are_inside(column):
    space = spaced(SMALL)
    regime = banded(0, 0, column)
    costs = batch_cost(space, regime, buildable(every_setting(space), "X")).as_dict()[column]
    values, times = np.unique(costs, return_counts=True)
    at = len(values) // 2
    for low, high, expected in [
        (values[at], values[at], times[at]),
        (values[at] + 0.5, values[at + 1] - 0.5, 0),
        (values[at], math.inf, times[at:].sum()),
        (0, values[at], times[: at + 1].sum()),
        (values[-1], values[-1] + 10, times[-1]),
        (0, values[0] - 1, 0),
        (values[-1] + 1, math.inf, 0),
    ]:
        assert count(space, banded(float(low), float(high), column)).inside == expected


def test_without_a_band_all_settings_are_inside():
    found = count(load_space("anynetx_a"), replace(PAPER, band={}))
    assert found.inside == found.total == (16 * 128 * 3 * 6) ** 4


def test_totals_of_the_shared_spaces():
    assert count(load_space("anynetx_b"), replace(PAPER, band={})).total == 3 * (16 * 128 * 6) ** 4
    assert count(load_space("anynetx_c"), replace(PAPER, band={})).total == 18 * (16 * 128) ** 4


def test_totals_beyond_int64():
    data = {"d": {"log": [1, 16]}, "w": {"log": [8, 1024], "step": 8}, "b": [1, 2, 4]}
    space = spaced({**data, "g": [1, 2, 4, 8, 16, 32]}, stages=9)
    assert count(space, replace(PAPER, band={})).total == (16 * 128 * 3 * 6) ** 9


@pytest.mark.parametrize("kind", [np.int64, object])
def test_counts_beyond_a_type_go_on_in_the_next(kind, monkeypatch):
    space = spaced(SMALL, ("w[i+1] >= w[i]",), 2)
    regime = replace(PAPER, band=middle(space, PAPER))
    monkeypatch.setattr(dense, "_integer", lambda bound: kind)
    assert (count(space, regime).total, count(space, regime).inside) == brute(space, regime)


WAYS = {
    "as it likes": {},
    "arrays": {"EASY_S": math.inf, "MOST_BYTES": 1 << 80},
    "lists": {"EASY_S": -1, "MOST_BYTES": -1},
    "pairs": {"rule_planes": lambda *given: None},
    "bounds": {"EASY_S": 1e-7, "MOST_BYTES": 1000},
}
COUPLING = [
    "w[i+1] >= w[i]", "w[i+1] <= w[i]", "w[i+1] == w[i]", "d[i+1] >= d[i]", "d[i+1] == d[i]",
    "b[i+1] == b[i]", "g[i+1] == g[i]", "b[i+1] != b[i] or w[i] > 8", "d % 2 == 0", "d <= 8",
    "w[i+2] >= w[i]", "g[i+2] == g[i]", "w1 <= 2 * w{n}", "w{n} <= 4 * w1", "w1 + w{n} >= 2 * w2",
    "d * w1 <= 100", "d1 * w1 <= 24", "d[i] * w[i] <= 80", "d[i+1] * w[i] >= 16", "w <= w1 + 32",
    "w <= 4 * g", "b[i] * w[i] <= 96", "g1 <= 8 or b{n} == 2", "max(d1, d{n}) > 1",
    "params <= 2e4 + 1e-2 * flops", "acts <= 60 * sqrt(flops)", "flops >= 9e4 * d",
    "acts >= 500 * w{n}", "params > 3e4 or d == 5", "2e4 <= params + acts < 3e4 + flops / w{n}",
    "log2(flops) * 2e3 >= params and acts // 2 < 9e5", "max(params, 2e4) <= 1e5 - min(acts, 5e4)",
]  # fmt: skip


@st.composite
def spaces_and_regimes(draw):
    """A space of a few thousand settings at most, and a regime with up to three limits."""
    stages = draw(st.integers(1, 5))
    pools = {"d": [1, 2, 3, 5], "w": [8, 16, 24, 40, 64], "b": [0.5, 1, 2, 4], "g": [1, 2, 8, 16]}
    left, draws = 8000, {}
    for p in draw(st.permutations([f"{p}{i + 1}" for p in pools for i in range(stages)])):
        values = draw(st.lists(st.sampled_from(pools[p[0]]), min_size=1, max_size=3, unique=True))
        draws[p] = values[: 1 if len(values) > left else len(values)]
        left //= len(draws[p])
    rules = draw(st.lists(st.sampled_from(COUPLING), max_size=3, unique=True))
    rules = [rule.format(n=stages) for rule in rules]
    block = draw(st.sampled_from(["X", "Y", "R", "V", "VR"]))
    try:
        space = spaced(draws, rules, stages, block)
    except UsageError:  # two stages ahead of one, or no vector keeps the rules
        space = spaced(draws, (), stages, block)
    strides = tuple(draw(st.lists(st.integers(1, 3), min_size=stages, max_size=stages)))
    regime = replace(PAPER, resolution=draw(st.sampled_from([28, 32, 65])), strides=strides)
    costs = batch_cost(space, regime, buildable(every_setting(space), block)).as_dict()
    band = {}
    for column in draw(st.sets(st.sampled_from(["flops", "params", "acts"]))):
        ends = draw(st.tuples(st.floats(0, 1), st.floats(0, 1)))
        low, high = np.quantile(costs[column], sorted(ends), method="lower").tolist()
        band[column] = (float(low), draw(st.sampled_from([float(high), math.inf])))
    return space, replace(regime, band=band)


@given(spaces_and_regimes(), st.sampled_from(sorted(WAYS)))
@settings(max_examples=30, deadline=None)
def test_settings_equal_enumeration_whatever_is_asked(drawn, way):
    space, regime = drawn
    total, inside = brute(space, regime)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in WAYS[way].items():
            patch.setattr(counting, name, value)
        found = count(space, regime, minutes=0 if way == "bounds" else 10)
    assert found.total == total or found.left_out
    assert found.at_least <= inside <= found.at_most
    if way != "bounds":
        assert found.exact or found.left_out


@pytest.mark.parametrize("rule", COUPLING)
def test_each_kind_of_rule_on_five_stages_with_squeeze_and_excitation(rule):
    draws = {"d": [1, 2], "w": [8, 24], "b": [1, 2], "g": [8]}
    space = spaced(draws, [rule.format(n=5)], 5, "Y")
    regime = replace(PAPER, band={**middle(space, PAPER), "params": (0.0, 6e4)})
    found = count(space, regime)
    assert found.exact
    assert (found.total, found.inside) == brute(space, regime)


@pytest.mark.parametrize("whole", [1 << 63, 1], ids=["whole numbers", "floats"])
def test_costs_too_fine_for_memory_give_close_bounds(whole, monkeypatch):
    space = spaced({**TINY, "d": [1, 2, 5, 9]}, ("w[i+1] >= w[i]",), 3, "Y")
    regime = replace(PAPER, resolution=32)
    regime = replace(regime, band=middle(space, regime))
    exact = brute(space, regime)[1]
    monkeypatch.setattr(dense, "MOST_WHOLE", whole)
    monkeypatch.setattr(counting, "MOST_BYTES", 10_000)
    monkeypatch.setattr(counting, "coarse_unit", lambda *given: 500)
    found = count(space, regime, minutes=0)
    assert not found.exact
    assert 0.97 * exact < found.at_least <= exact <= found.at_most < 1.03 * exact


@pytest.mark.parametrize(("parts", "close"), [(4096, 0.15), (200, 0.3), (64, 1.0)])
@pytest.mark.parametrize("rule", [
    "params <= 8e4 + 1e-2 * flops", "acts >= 26 * sqrt(flops)", "5e4 <= params - acts / 2 < 9e4"
])  # fmt: skip
def test_costs_in_whole_units_give_bounds_under_several_limits(rule, parts, close, monkeypatch):
    draws = {"d": [1, 2, 3], "w": {"uniform": [8, 64], "step": 8}, "b": [1, 2], "g": [8, 16]}
    space = spaced(draws, (rule, "w[i+1] >= w[i]", "b[i+1] == b[i]"), 3)
    regime = replace(PAPER, resolution=32)
    space_alone = spaced(draws, ("w[i+1] >= w[i]", "b[i+1] == b[i]"), 3)
    regime = replace(regime, band=middle(space_alone, regime))
    exact = count(space, regime).inside
    assert exact > 1000
    monkeypatch.setattr(coarse, "FINEST", parts)
    monkeypatch.setattr(counting, "EASY_S", 1e-9)
    found = count(space, regime, minutes=0)
    assert "rounded" in found.method
    assert found.at_least <= exact <= found.at_most
    assert found.at_most - found.at_least <= close * exact


def test_what_no_memory_or_number_holds_is_said(monkeypatch):
    wide = spaced({**SMALL, "w": [500_000, 1_000_000]}, block="R")
    with pytest.raises(UsageError, match=r"up to .* flops at 4096 px, more than 64 bits can count"):
        count(wide, banded(0, 1e12, resolution=4096))
    monkeypatch.setattr(tables, "MOST_STEPS", 10)
    with pytest.raises(UsageError, match=r"Stage 1 .* too many to count. Larger steps would work"):
        count(spaced(SMALL), banded(0, 1e12))


def test_rules_that_couple_too_much_are_left_out_and_named(monkeypatch):
    monkeypatch.setattr(cases, "MOST_CASES", 1)
    space = spaced(TINY, ("w3 <= 2 * w1", "w[i+1] >= w[i]"), 3)
    regime = banded(1e6, 3e6)
    found = count(space, regime)
    assert (found.at_least, found.left_out) == (0, ("w3 <= 2 * w1",))
    assert found.at_most == brute(spaced(TINY, ("w[i+1] >= w[i]",), 3), regime)[1]
    assert found.at_most > brute(space, regime)[1]


def drawn_share(space, regime, n, seed):
    """How many of n settings, drawn alike, are inside; and of how many settings they are drawn."""
    alike = {
        p: {
            "uniform": x[0].spec.get("log") or x[0].spec["uniform"],
            "step": x[0].spec.get("step", 1),
        }
        for p, x in space.draws.items()
        if isinstance(x[0].spec, dict)
    }
    draws = {p: alike.get(p, x[0].spec) for p, x in space.draws.items()}
    space = spaced(draws, space.restrict, space.stages)
    rules = regime_rules(space, regime)
    settings = math.prod(chain.size for chain in rules.chains.values())
    rng = np.random.default_rng(seed)
    parts = [
        judge(space, regime, rules, draw(space, rules, rng, 50_000)) for _ in range(n // 50_000)
    ]
    return sum(len(part.inside) for part in parts), settings


@pytest.mark.parametrize(("name", "regime"), [("anynetx_d", PAPER), ("anynetx_e", FASHION)])
def test_counts_agree_with_the_share_that_the_sampler_accepts(name, regime):
    hits, settings = drawn_share(load_space(name), regime, 200_000, seed=5)
    p = count(load_space(name), regime).inside / settings
    assert abs(hits - 200_000 * p) < 4.5 * math.sqrt(200_000 * p * (1 - p))
    assert hits > 200


def test_bounds_of_spaces_beyond_64_bits(monkeypatch):
    """No count wraps: what the sampler meets is between them."""
    stages = 9
    draws = {"d": [1, 2, 3], "w": {"uniform": [8, 64], "step": 8}, "b": [1, 2, 4], "g": [1, 8, 16]}
    space = spaced(draws, ("params <= 2e4 + 1e-2 * flops",), stages)
    strides = (2, *(1,) * (stages - 1))
    regime = replace(PAPER, resolution=32, strides=strides, band={"flops": (1e6, 1e7)})
    monkeypatch.setattr(counting, "COARSE_S", 2.0)
    monkeypatch.setattr(counting, "EASY_S", 1.0)
    found = count(space, regime, minutes=0)
    assert found.total == (3 * 8 * 3 * 3) ** stages
    assert 0 <= found.at_least < found.at_most <= found.total
    hits, settings = drawn_share(space, regime, 50_000, seed=9)
    assert settings == found.total
    share, err = hits / 50_000, 4.5 * math.sqrt(max(1, hits)) / 50_000
    assert found.at_least / settings <= share + err
    assert found.at_most / settings >= share - err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "total", "inside"),
    [
        ("anynetx_a", 1_846_757_322_198_614_016, 1_582_499_975_011_171),
        ("anynetx_b", 68_398_419_340_689_408, 84_176_942_881_648),
        ("anynetx_c", 316_659_348_799_488, 396_309_766_676),
        ("anynetx_d", 13_821_510_942_720, 76_596_098_990),
        ("anynetx_e", 817_446_539_520, 4_559_456_989),
    ],
)
def test_the_catalogue_at_400_mf(name, total, inside):
    found = count(load_space(name), PAPER)
    assert (found.total, found.inside, found.exact) == (total, inside, True)
    hits, settings = drawn_share(load_space(name), PAPER, 2_000_000, seed=6)
    p = inside / settings
    assert abs(hits - 2_000_000 * p) < 4.5 * math.sqrt(2_000_000 * p * (1 - p))


LINEAR, CURVED = "params <= 3.0e6 + 5.5e-3 * flops", "acts <= 250 * sqrt(flops)"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "rules", "inside"),
    [
        ("anynetx_e", (LINEAR,), 3_340_356_028),
        ("anynetx_e", (LINEAR, CURVED), 2_442_878_806),
        ("anynetx_d", (LINEAR,), 64_414_364_419),
    ],
)
def test_the_catalogue_at_400_mf_under_rules_on_cost(name, rules, inside):
    data = json.loads(load_space(name).text)
    space = space_from({**data, "restrict": [*data["restrict"], *rules]}, "ruled", "ruled")
    found = count(space, PAPER)
    assert (found.inside, found.exact) == (inside, True)
    hits, settings = drawn_share(space, PAPER, 2_000_000, seed=7)
    p = inside / settings
    assert abs(hits - 2_000_000 * p) < 4.5 * math.sqrt(2_000_000 * p * (1 - p))
    assert hits > 1000
