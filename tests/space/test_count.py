"""Counts of settings and networks: equal to enumeration, and to what the sampler meets."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import numpy as np
import pytest

from dsd.errors import UsageError
from dsd.net.arch import Stem
from dsd.net.groups import Stages, buildable
from dsd.regime import load_regime
from dsd.space import count as counting
from dsd.space import sample as sampling
from dsd.space.candidates import Candidates, batch_cost, draw
from dsd.space.count import count
from dsd.space.expression import parse_rule
from dsd.space.quantized import quantized_stages
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
    """(settings that keep the rules, those in the band), one by one."""
    drawn = every_setting(space)
    built = buildable(drawn, space.block)
    costs = batch_cost(space, regime, built).as_dict()
    keeps = np.ones(len(drawn), dtype=bool)
    for text in (*space.restrict, *regime.restrict):
        for rule in parse_rule(text, columns_of(space), "test"):
            if not rule.names & {"flops", "params", "acts"}:
                keeps &= rule(drawn.columns(), space.stages)
            if reads_network(rule) and not SHARE.match(rule.text):
                keeps &= rule({**built.columns(), **costs}, space.stages)
    return int(keeps.sum()), int((keeps & regime.in_band(costs)).sum())


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
    assert (found.unit, found.exact, found.method) == ("settings", True, "dynamic programming")


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


@pytest.mark.parametrize("few", [0, 1 << 40])
def test_both_ways_through_the_stages_agree(few, monkeypatch):
    from dsd.space import count_stages

    draws = {"d": [1, 2, 5], "w": [8, 24, 40], "b": [1, 4], "g": [16]}
    space = spaced(draws, ("w[i+1] >= w[i]", "d[i+1] >= d[i]", "d <= 9"), 4)
    regime = replace(PAPER, band={"flops": (30e6, 60e6)})
    monkeypatch.setattr(count_stages, "FEW", few)
    monkeypatch.setattr(count_stages, "POINT_WORK", 0 if few else 1 << 40)
    monkeypatch.setattr(count_stages, "JUMP_WORK", 0 if few else 1 << 40)
    assert count(space, regime).inside == brute(space, regime)[1] > 0


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
    from dsd.space import count_stages

    space = spaced(SMALL, ("w[i+1] >= w[i]",), 2)
    regime = replace(PAPER, band=middle(space, PAPER))
    monkeypatch.setattr(count_stages, "_integer", lambda bound: kind)
    assert (count(space, regime).total, count(space, regime).inside) == brute(space, regime)


def test_costs_too_fine_for_memory_give_a_close_upper_bound(monkeypatch):
    from dsd.space import count_stages

    space = spaced(TINY, ("w[i+1] >= w[i]",), 3, "Y")
    regime = replace(PAPER, band=middle(space, PAPER))
    exact = brute(space, regime)[1]
    monkeypatch.setattr(count_stages, "MOST_CELLS", 100_000)
    monkeypatch.setattr(count_stages, "FEW_CELLS", 100_000)
    found = count(space, regime)
    assert found.inside_is == "at most"
    assert exact <= found.inside < 1.05 * exact


@pytest.mark.parametrize(
    ("restrict", "band"),
    [
        (("params <= 2.5e4 + 1e-2 * flops",), None),
        (("w3 <= 2 * w1",), None),
        (("d * w1 <= 60",), None),
        ((), {"flops": (1e6, 3e6), "params": (3e4, 8e4)}),
    ],
)
def test_what_the_stages_cannot_tell_is_enumerated(restrict, band):
    space = spaced(TINY, restrict, 3)
    regime = replace(PAPER, resolution=32, band=band or {"flops": (1e6, 3e6)})
    found = count(space, regime)
    assert found.exact
    assert (found.total, found.inside) == brute(space, regime)


def test_what_cannot_be_enumerated_is_left_out_and_named(monkeypatch):
    monkeypatch.setattr(counting, "MOST_TRIED", 10)
    space = spaced(TINY, ("w3 <= 2 * w1", "w[i+1] >= w[i]"), 3)
    regime = banded(1e6, 3e6)
    found = count(space, regime)
    assert (found.inside_is, found.left_out) == ("at most", ("w3 <= 2 * w1",))
    assert found.inside == brute(spaced(TINY, ("w[i+1] >= w[i]",), 3), regime)[1]
    assert found.inside > brute(space, regime)[1]


def test_a_band_on_two_columns_is_refused_where_settings_are_too_many():
    regime = replace(PAPER, band={"flops": (360e6, 400e6), "params": (0.0, 5e6)})
    with pytest.raises(UsageError, match="limits flops and params"):
        count(load_space("anynetx_a"), regime)


def drawn_share(name, regime, n, seed):
    """How many of n settings, drawn alike, are inside; and of how many settings they are drawn."""
    space = load_space(name)
    alike = {
        p: {"uniform": x[0].spec["log"], "step": x[0].spec.get("step", 1)}
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
    hits, settings = drawn_share(name, regime, 200_000, seed=5)
    p = count(load_space(name), regime).inside / settings
    assert abs(hits - 200_000 * p) < 4.5 * math.sqrt(200_000 * p * (1 - p))
    assert hits > 200


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
    hits, settings = drawn_share(name, PAPER, 2_000_000, seed=6)
    p = inside / settings
    assert abs(hits - 2_000_000 * p) < 4.5 * math.sqrt(2_000_000 * p * (1 - p))


LINE = {
    "d": {"uniform": [2, 14]},
    "w0": {"log": [8, 48], "step": 8},
    "wa": {"log": [4.0, 40.0], "step": 0.5},
    "wm": {"log": [1.5, 3.0], "step": 0.125},
    "b": [1, 2],
    "g": [1, 8, 16],
}


def lined(restrict=(), stages=4, block="X", quantum=8, **draws):
    data = {"form": "quantized-linear", "stages": stages, "block": block, "quantum": quantum}
    data |= {"draw": {**LINE, **draws}, "restrict": list(restrict)}
    return space_from(data, "line", "line")


def networks(space, regime):
    """Every setting of a quantised-linear space, one by one: the distinct networks."""
    rules = regime_rules(space, regime)
    names = [n for n in space.draws if n not in rules.shares]
    grids = np.meshgrid(*(rules.chains[n].allowed[0] for n in names), indexing="ij")
    values = {n: grid.ravel() for n, grid in zip(names, grids, strict=True)}
    p = {**values, **{n: values[source] for n, source in rules.shares.items()}}
    p |= {n: p[n].astype(np.int64) for n in ("d", "g")}
    d, w, formed = quantized_stages(p["d"], p["w0"], p["wa"], p["wm"], space.stages, space.quantum)
    b, g = (np.repeat(p[n][:, None], space.stages, axis=1) for n in ("b", "g"))
    stages = Stages(d, w, b, g)
    found = judge(space, regime, rules, Candidates({**stages.columns(), **p}, stages, formed))
    return len(set(found.built.keys().tolist())), len(formed)


@pytest.mark.parametrize(
    "space",
    [
        lined(),
        lined(("wm >= 2", "d <= 9", "w <= 200")),
        lined(("w0 == wa",)),
        lined(("wa <= w0", "w0 * wm <= 60")),
        lined(("w4 <= 4 * w1", "d2 <= d3", "w1 >= w0", "params <= 2e6 + 1e-2 * flops")),
        lined(stages=3, block="Y", d=[4, 7, 8, 30]),
        lined(stages=2, block="V", w0={"log": [4, 32], "step": 4}, wa=[0, 3, 8.5]),
        lined(quantum=16, block="R", b=[0.5, 1]),
        lined(stages=1, wa=[0.5, 1, 4]),
        lined(wm=[2.25], w0=[8, 16], wa=[2, 4, 4.5, 10, 12.5, 28.125]),
    ],
    ids=lambda s: " ".join([*s.restrict, s.block, str(s.stages)]),
)
@pytest.mark.parametrize("band", [{"flops": (40e6, 90e6)}, {"params": (0.0, 1e6)}, {}])
def test_networks_equal_enumeration(space, band):
    regime = replace(PAPER, resolution=112, strides=(), band=band)
    found = count(space, regime)
    assert found.exact
    assert (found.unit, found.inside, found.total) == ("networks", *networks(space, regime))


def test_bands_on_two_columns_for_networks():
    regime = replace(PAPER, band={"acts": (5e5, 2e6), "flops": (40e6, 300e6)})
    assert count(lined(), regime).inside == networks(lined(), regime)[0] > 0


def test_the_sampler_finds_all_networks_and_no_other(monkeypatch):
    monkeypatch.setattr(sampling, "PATIENCE", 600_000)
    space = lined(("wm >= 2",), b=[1], g=[8])
    regime = replace(PAPER, resolution=112, band={"flops": (60e6, 70e6)})
    assert len(sampling.sample(space, regime, 10**6)) == count(space, regime).inside


def test_too_many_networks_end_with_a_lower_bound(monkeypatch):
    from dsd.space import count_lines

    monkeypatch.setattr(count_lines, "MOST_NETWORKS", 100)
    found = count(lined(), replace(PAPER, band={}))
    assert (found.inside_is, found.exact) == ("at least", False)
    assert 100 < found.inside < networks(lined(), replace(PAPER, band={}))[0]


def test_a_rule_between_line_and_stages_leaves_a_lower_bound_by_sampling(monkeypatch):
    monkeypatch.setattr(sampling, "PATIENCE", 300_000)
    space = lined(("wa * d1 <= 40",), b=[1], g=[8])
    regime = replace(PAPER, resolution=112, band={"flops": (60e6, 70e6)})
    found = count(space, regime)
    assert found.inside_is == "at least"
    assert 0 < found.inside <= networks(space, regime)[0]
