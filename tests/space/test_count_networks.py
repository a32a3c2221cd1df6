"""Counts of networks of quantised-linear spaces: equal to enumeration, and to what is sampled."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dsd.net.groups import Stages
from dsd.regime import load_regime
from dsd.space import sample as sampling
from dsd.space.candidates import Candidates
from dsd.space.count import count
from dsd.space.quantized import quantized_stages
from dsd.space.sample import judge, regime_rules
from dsd.space.spec import load_space, space_from

PAPER = load_regime("imagenet_400mf")
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
        lined(("wa == w0", "wa <= 40")),
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


def test_the_released_samplers_space_on_a_coarser_grid():
    """Its ranges (d, w0, wa, wm, g), band and resolution; on the full grid the same enumeration
    of all 6.8e9 settings finds the networks that `dsd count regnetx_pycls` says."""
    coarse = {"wa": {"log": [8.0, 256.0], "step": 4.0}, "wm": {"log": [2.0, 3.0], "step": 0.125}}
    few = {"w0": {"log": [8, 64], "step": 8}, "d": {"uniform": [12, 28]}}
    space = lined(**coarse, **few, b=[1], g=load_space("regnetx_pycls").draws["g"][0].spec)
    found = count(space, PAPER)
    assert found.exact
    assert found.inside == networks(space, PAPER)[0] > 100


def test_too_many_networks_end_with_a_lower_bound(monkeypatch):
    from dsd.space.counting import lines

    monkeypatch.setattr(lines, "MOST_NETWORKS", 100)
    found = count(lined(), replace(PAPER, band={}))
    assert (found.at_most, found.inside, found.exact) == (None, None, False)
    assert 100 < found.at_least < networks(lined(), replace(PAPER, band={}))[0]


def test_a_rule_between_line_and_stages_leaves_a_lower_bound_by_sampling(monkeypatch):
    monkeypatch.setattr(sampling, "PATIENCE", 300_000)
    space = lined(("wa * d1 <= 40",), b=[1], g=[8])
    regime = replace(PAPER, resolution=112, band={"flops": (60e6, 70e6)})
    found = count(space, regime)
    assert found.at_most is None
    assert 0 < found.at_least <= networks(space, regime)[0]
