"""Populations: in the band, distinct, repeatable, a prefix of a larger one, and buildable."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from dsd.errors import DsdError, UsageError
from dsd.net.build import build
from dsd.net.cost import cost
from dsd.regime import load_regime, regime_from
from dsd.space import sample as sampling
from dsd.space.count import count
from dsd.space.quantized import quantized_widths
from dsd.space.sample import sample
from dsd.space.size import size
from dsd.space.spec import load_space, space_from, space_names

PAPER = load_regime("imagenet_400mf")
SMALL = load_regime("fashion")


@pytest.mark.parametrize("name", sorted(space_names()))
@pytest.mark.parametrize("regime", [PAPER, SMALL], ids=lambda r: r.name)
def test_networks_are_distinct_in_the_band_and_buildable(name, regime):
    found = sample(load_space(name), regime, 100, seed=1)
    assert len(found) == len({a.digest for a in found.archs}) == 100
    low, high = regime.band["flops"]
    for k, arch in enumerate(found.archs):
        c = cost(arch, regime.resolution)
        assert low <= c.flops <= high
        assert (c.flops, c.params, c.acts) == (found.flops[k], found.params[k], found.acts[k])
        if regime is SMALL:
            assert max(s.w for s in arch.stages) <= 256
    with torch.device("meta"):
        for arch in found.archs[:10]:
            build(arch)


def test_every_candidate_is_accounted_for():
    tally = dict(sample(load_space("regnetx"), SMALL, 50, seed=3).tally)
    assert tally.pop("candidates") == sum(tally.values()) + 50


@pytest.mark.parametrize("name", ["anynetx_d", "regnetx"])
def test_fewer_are_a_prefix_of_more_whatever_the_batch(name, monkeypatch):
    many = sample(load_space(name), PAPER, 300, seed=2)
    few = sample(load_space(name), PAPER, 120, seed=2)
    assert few.archs == many.archs[:120]
    assert few.draws == many.draws[:120]


def test_seeds_and_spaces_draw_independently():
    a = {x.digest for x in sample(load_space("anynetx_c"), PAPER, 100, seed=0).archs}
    b = {x.digest for x in sample(load_space("anynetx_c"), PAPER, 100, seed=1).archs}
    d = {x.digest for x in sample(load_space("anynetx_d"), PAPER, 100, seed=0).archs}
    assert not a & b
    assert not a & d


def test_rules_of_the_catalogue_hold_on_the_networks():
    def stages(name):
        archs = sample(load_space(name), PAPER, 200).archs
        return [np.array([(s.d, s.w, s.b, s.g) for s in a.stages]) for a in archs]

    assert all(len(set(x[:, 2])) == 1 for x in stages("anynetx_b"))
    for x in stages("anynetx_e"):
        assert (np.diff(x[:, 1]) >= 0).all()
        assert (np.diff(x[:, 0]) >= 0).all()


def test_regnet_networks_have_the_widths_of_their_equations():
    found = sample(load_space("regnetx"), PAPER, 50)
    for arch, p in zip(found.archs, found.draws, strict=True):
        line = quantized_widths(p["d"], p["w0"], p["wa"], p["wm"])
        widths, depths = np.unique(line, return_counts=True)
        assert [s.d for s in arch.stages] == depths.tolist()
        assert all(abs(s.w - w) <= w / 3 for s, w in zip(arch.stages, widths, strict=True))


def tiny(restrict=(), **draw):
    draws = {"d": [1], "w": [8], "b": [1], "g": [1], **draw}
    data = {"form": "per-stage", "draw": draws, "restrict": list(restrict)}
    return space_from(data, "tiny", "tiny.toml")


def open_band(low=0, high=1e12):
    data = {"dataset": "imagenet", "resolution": 64, "classes": 10, "band": {"flops": [low, high]}}
    return regime_from(data, "open", "open.toml")


def test_a_space_that_holds_fewer_gives_all_it_has(monkeypatch):
    monkeypatch.setattr(sampling, "PATIENCE", 200_000)
    found = sample(tiny(d=[1, 2]), open_band(), 500)
    assert len(found) == 16
    assert found.tally["duplicate"] > 1000


def test_a_rule_that_nothing_meets_ends_likewise(monkeypatch):
    monkeypatch.setattr(sampling, "PATIENCE", 100_000)
    with pytest.raises(UsageError, match="114,688 candidates tried; 'rule d > 99' refused most"):
        sample(tiny(d=[1, 2], restrict=["d > 99"]), open_band(), 5)


LINE = {"d": {"uniform": [1, 20]}, "w0": {"log": [8, 64], "step": 8}, "b": [1], "g": [1, 2]}
LINE |= {"wa": {"log": [8, 80], "step": 4}, "wm": [2.0, 2.5]}


def lined(*restrict):
    data = {"form": "quantized-linear", "draw": LINE, "restrict": list(restrict)}
    return space_from(data, "lined", "lined.toml")


def test_a_rule_that_no_line_meets_is_named_beside_lines_of_other_stages(monkeypatch):
    monkeypatch.setattr(sampling, "PATIENCE", 30_000)
    with pytest.raises(UsageError, match=r"'rule w4 < w1' refused most .* with 4 stages\)"):
        sample(lined("w4 < w1"), open_band(), 5)


@pytest.mark.parametrize("equal", [["w0 == wa"], ["wa == w0"], ["w0 == wa", "wa == w0"]])
def test_parameters_that_share_a_draw_keep_the_rules_and_ranges_of_both(equal):
    for draw in sample(lined(*equal, "wa <= 48", "w0 >= 16"), open_band(), 12).draws:
        assert draw["w0"] == draw["wa"]
        assert draw["w0"] in (16, 24, 32, 40, 48)
    depths = {draw["d"] for draw in sample(lined("w0 == d"), open_band(), 6).draws}
    assert depths <= {8, 16}


def test_parameters_without_a_common_value_cannot_share_one():
    with pytest.raises(UsageError, match="no value in common"):
        lined("g == w0")


def test_costs_that_64_bits_do_not_hold_are_refused_and_the_others_exact():
    wide = {"log": [10_000, 1_000_000], "step": 10_000}
    space = tiny(d={"log": [1, 64]}, w=wide, b=[0.125, 1, 2], g={"power2": [1, 1 << 19]})
    regime = regime_from(
        {"dataset": "imagenet", "resolution": 4096, "classes": 10, "stem": {"width": 32}},
        "large", "large.toml",
    )  # fmt: skip
    found = sample(space, regime, 200)
    assert found.tally["cost of 2^62 or more"] > 50
    for k, arch in enumerate(found.archs):
        c = cost(arch, 4096)
        assert (c.flops, c.params, c.acts) == (found.flops[k], found.params[k], found.acts[k])


def test_products_of_whole_columns_do_not_wrap():
    rule = "flops * flops * params > 1e20"
    found = sample(tiny(w=[256], restrict=[rule]), open_band(), 1)
    assert float(found.flops[0]) ** 2 * float(found.params[0]) > 1 << 63


def test_an_empty_band_ends_with_what_refused_most(monkeypatch):
    monkeypatch.setattr(sampling, "PATIENCE", 100_000)
    with pytest.raises(DsdError, match=r"flops below 100,000,000,000.*refused most"):
        sample(tiny(), open_band(1e11, 1e12), 5)


@pytest.mark.parametrize("stages", [17, 60])
def test_spaces_of_many_stages(stages):
    """Counted, sampled, told apart and priced as those of four."""
    draws = {"d": [1, 2], "w": {"uniform": [8, 64], "step": 8}, "b": [1], "g": [8]}
    rules = ["w[i+1] >= w[i]", "g[i+1] == g[i]", f"d{stages} <= d1"]
    data = {"form": "per-stage", "stages": stages, "draw": draws, "restrict": rules}
    space = space_from(data, "long", "long")
    strides = (2, 2, 2, *(1,) * (stages - 3))
    regime = replace(PAPER, band={}, resolution=32, strides=strides)
    found = sample(space, regime, 5, seed=2)
    assert {len(arch.stages) for arch in found.archs} == {stages}
    assert all(space.contains(arch) for arch in found.archs)
    assert cost(found.archs[0], 32).flops == found.flops[0]
    orders = math.comb(stages + 7, 7)  # of eight widths that never fall
    assert size(space).settings == count(space, regime).total * 4 // 3 == orders * 2**stages
