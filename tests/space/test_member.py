"""Membership: every draw is a member, children lie in their parents, outsiders do not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dsd.errors import UsageError
from dsd.net.arch import Stage
from dsd.regime import load_regime
from dsd.space.networks import anynet, published_network
from dsd.space.sample import sample
from dsd.space.spec import load_space, space_from, space_names

PAPER = load_regime("imagenet_400mf")
PAPER_OPEN = replace(PAPER, band={})
PER_STAGE = [name for name in sorted(space_names()) if load_space(name).form == "per-stage"]
QUANTIZED = [name for name in sorted(space_names()) if load_space(name).form != "per-stage"]


def networks(name, n):
    return sample(load_space(name), PAPER, n, seed=9).archs


@pytest.mark.parametrize("name", PER_STAGE)
def test_every_drawn_network_is_a_member(name):
    space = load_space(name)
    assert all(space.contains(arch, PAPER) for arch in networks(name, 15))


@pytest.mark.parametrize("name", ["regnetx", "regnetx_w0_wa", "regnetx_constrained", "regnetv"])
def test_every_drawn_line_is_a_member(name):
    space = load_space(name)
    assert all(space.contains(arch, PAPER) for arch in networks(name, 3))


def test_the_spaces_lie_in_each_other():
    chain = [load_space(f"anynetx_{x}") for x in "abcde"]
    for k, space in enumerate(chain):
        found = networks(space.name, 40)
        for parent in chain[:k]:
            assert all(parent.contains(arch) for arch in found)
        for child in chain[k + 1 :]:
            assert not all(child.contains(arch) for arch in found)


def test_a_network_outside_is_told_from_one_inside():
    e = load_space("anynetx_e")
    inside = anynet([1, 2, 7, 12], [32, 64, 160, 400], [1] * 4, [16] * 4)
    assert e.contains(inside)
    assert not e.contains(inside, PAPER)  # 414 MF
    narrower = anynet([1, 2, 7, 12], [32, 64, 400, 160], [1] * 4, [16] * 4)
    assert not e.contains(narrower)
    assert load_space("anynetx_c").contains(narrower)
    odd = replace(inside, stages=(*inside.stages[:3], Stage(12, 404, 1, 4)))
    assert not load_space("anynetx_a").contains(odd)
    assert not e.contains(replace(inside, block="Y"))
    assert not e.contains(replace(inside, stages=inside.stages[:3]))
    assert not e.contains(replace(inside, stages=(Stage(17, 32, 1, 16), *inside.stages[1:])))


def test_a_capped_group_width_is_still_the_shared_one():
    stages = anynet([1, 1, 1, 1], [8, 64, 64, 64], [1] * 4, [32] * 4)
    assert stages.stages[0].g == 8
    assert load_space("anynetx_c").contains(stages)
    mixed = anynet([1, 1, 1, 1], [64, 64, 64, 64], [1] * 4, [8, 32, 32, 32])
    assert not load_space("anynetx_c").contains(mixed)
    assert load_space("anynetx_b").contains(mixed)


@pytest.mark.parametrize(
    ("block", "rules"),
    [
        ("V", ["b == 2"]),
        ("R", ["g[i+1] == g[i]", "w1 >= 2 * g1", "g1 >= 8"]),
        ("VR", ["w >= 4 * g"]),
    ],
)
def test_rules_on_what_the_block_ignores_still_bind_the_draw(block, rules):
    draw = {"d": [1, 2], "w": {"log": [8, 64], "step": 8}, "b": [1, 2], "g": [1, 8, 16]}
    data = {"form": "per-stage", "block": block, "draw": draw, "restrict": rules}
    space = space_from(data, "odd", "odd.toml")
    found = sample(space, PAPER_OPEN, 20).archs
    assert all(space.contains(arch) for arch in found)
    w8 = anynet([1, 1, 1, 1], [8] * 4, [1] * 4, [1] * 4, block)
    assert space.contains(w8) is (block != "R")


def test_membership_of_many_stages_takes_no_product_of_their_origins():
    draw = {
        "d": [1, 2],
        "w": {"log": [8, 512], "step": 8},
        "b": [1, 2, 4],
        "g": [1, 2, 4, 8, 16, 32],
    }
    data = {
        "form": "per-stage",
        "stages": 12,
        "draw": draw,
        "restrict": ["g[i+1] >= g[i]", "d <= 13"],
    }
    space = space_from(data, "tall", "tall.toml")
    assert space.contains(anynet([1] * 12, [8] * 12, [1] * 12, [8] * 12))
    assert not space.contains(anynet([1] * 12, [64] * 12, [1] * 12, [32, *[8] * 11]))
    assert not space.contains(anynet([2] * 12, [8] * 12, [1] * 12, [8] * 12))


def test_the_published_400mf_network_is_a_member_where_its_slope_can_be_drawn():
    arch = published_network("regnetx-400mf")
    assert load_space("regnetx").contains(arch, PAPER)
    assert load_space("regnetx_constrained").contains(arch, PAPER)
    assert not load_space("regnetx_wm2").contains(arch)


def test_rules_on_cost_need_a_regime():
    with pytest.raises(UsageError, match="name a regime"):
        load_space("regnetx_constrained").contains(published_network("regnetx-400mf"))
