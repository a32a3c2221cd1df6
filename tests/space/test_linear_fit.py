"""Fits to a quantised line: RegNets exactly, whatever their groups; others near the best line."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from dsd.errors import UsageError
from dsd.net.arch import Arch
from dsd.net.groups import Stages
from dsd.regime import load_regime
from dsd.space.line_cells import Line, line_through, short
from dsd.space.linear_fit import Fit, linear_fit, splits, stages_in, stages_of
from dsd.space.networks import anynet, published, published_network, regnet
from dsd.space.quantized import levels
from dsd.space.sample import sample
from dsd.space.spec import load_space

REGNETS = st.tuples(
    st.integers(1, 63), st.floats(4.1, 400), st.floats(0, 256), st.floats(1.501, 2.999),
    st.sampled_from([1, 2, 8, 16, 24, 32]), st.sampled_from([1, 2, 4, 0.5]),
    st.sampled_from(["X", "Y", "R", "V", "VR"]),
)  # fmt: skip


def fitted(arch: Arch, **rules: object) -> Fit:
    found = linear_fit(stages_in(arch), arch.block, **rules)  # type: ignore[arg-type]
    assert found is not None
    return found


def skips_no_level(d: int, w0: float, wa: float, wm: float) -> bool:
    """Whether each level up to the last has blocks, and each a width of its own."""
    reached = np.unique(levels(np.arange(d), w0, wa, wm))
    widths = np.unique(Line(w0, wa, wm).widths(d))
    return len(reached) == reached[-1] + 1 == len(widths)


@settings(max_examples=150, deadline=None)
@given(REGNETS)
def test_every_regnet_is_fitted_exactly(setting) -> None:
    d, w0, wa, wm, g, b, block = setting
    assume(skips_no_level(d, w0, wa, wm))
    arch = regnet(d, w0, wa, wm, g, b, block)
    found = fitted(arch)
    assert found.e_fit == 0
    line = found.line
    g = max(stage.g for stage in arch.stages)  # where all are capped, the drawn g is not known
    again = regnet(d, line.w0, line.wa, line.wm, g, b, block)
    assert [(s.d, s.w) for s in again.stages] == [(s.d, s.w) for s in arch.stages]


@pytest.mark.parametrize("name", published())
def test_every_published_network_is_fitted_exactly(name) -> None:
    assert fitted(published_network(name)).e_fit == 0


@pytest.mark.parametrize(
    "name", ["regnetx", "regnetx_5stage", "regnetx_inverted", "regnetx_depthwise", "regnetv"]
)
def test_drawn_regnets_are_fitted_exactly_at_any_stage_count(name) -> None:
    drawn = sample(load_space(name), load_regime("imagenet_400mf"), 20, seed=4).archs
    assert [fitted(arch).e_fit for arch in drawn] == [0] * 20


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 12), st.integers(1, 60)), min_size=2, max_size=5),
    st.integers(0, 2**32),
)
@example([(1, 1)] * 4, 0)
@example([(1, 1)] * 5, 0)
@example([(2, 1), (3, 2), (1, 1)], 1)
def test_no_random_line_is_much_better_and_e_fit_is_what_it_says(stages, seed) -> None:
    depths, eighths = zip(*stages, strict=True)
    widths = [8 * x for x in eighths]
    ones = [1] * len(stages)
    network = stages_in(anynet(depths, widths, ones, ones))
    found = linear_fit(network)
    rng = np.random.default_rng(seed)
    d, own = sum(depths), np.log2(np.repeat(widths, depths))
    least = np.inf
    for w0, wa, wm in zip(
        rng.uniform(4, 500, 300), rng.exponential(30, 300), rng.uniform(1.5, 3, 300), strict=True
    ):
        line = Line(w0, wa, wm).widths(d)
        if len(np.unique(line)) == len(stages) and skips_no_level(d, w0, wa, wm):
            least = min(least, float(np.mean((np.log2(line) - own) ** 2)))
    if found is None:
        assert least == np.inf
        return
    predicted = found.line.widths(d)
    assert np.array_equal(predicted, found.blocks())
    assert len(found.depths) == len(stages)
    assert 1.5 <= found.line.wm <= 3
    assert found.e_fit == pytest.approx(np.mean((np.log2(predicted) - own) ** 2))
    assert found.e_fit <= least * 1.05 + 0.02


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.floats(1.05, 3.5), st.floats(0.001, 5), st.floats(8, 300))
def test_the_splits_of_a_line_hold_every_slope(d, wm, slope, w0) -> None:
    level = levels(np.arange(d), w0, w0 * slope, wm)
    counts = np.bincount(level)
    assume(counts.all() and len(counts) < 8)
    near = np.abs(np.log1p(slope * np.arange(d)) / np.log(wm) % 1 - 0.5)
    assume(near.min() > 1e-6)
    ends, _ = splits(d, len(counts), np.array([wm]))
    assert np.append(0, np.cumsum(counts)).tolist() in ends.tolist()


def test_a_line_through_stages_or_none() -> None:
    line = line_through(np.array([1, 2, 7, 12]), *[np.array([24, 64, 152, 392])] * 2, (1.5, 3.0))
    assert line is not None
    assert np.unique(line.widths(22)).tolist() == [24, 64, 152, 392]
    assert len(str(line.wm)) <= 5
    assert line_through(np.array([1, 2]), *[np.array([64, 32])] * 2, (1.5, 3.0)) is None
    assert line_through(np.array([9, 1, 1]), *[np.array([8, 16, 32])] * 2, (1.5, 3.0)) is None
    assert (short(2.4, 2.6), short(20, 30, 8), short(2.541, 2.544)) == (2.5, 24, 2.542)


def test_groups_count_unless_left_out() -> None:
    arch = published_network("regnetx-400mf")
    assert 0 < fitted(arch, groups=False).e_fit < 0.01
    reversed_ = anynet([4, 3, 2, 1], [256, 128, 64, 32], [1] * 4, [8] * 4)
    assert fitted(reversed_, wm=(1.01, 3.0)).e_fit < fitted(reversed_).e_fit
    with pytest.raises(UsageError, match="1 < low < high"):
        fitted(arch, wm=(1, 2))
    many = anynet([1] * 12, list(range(8, 104, 8)), [1] * 12, [1] * 12)
    assert linear_fit(stages_in(many)) is None


def test_stages_are_read_from_a_row() -> None:
    row = {"d1": 2, "w1": 16.0, "d2": 3, "w2": 64, "d3": float("nan"), "w3": None, "b1": 2.0}
    found = stages_of(row)
    assert isinstance(found, Stages)
    assert (found.d.tolist(), found.w.tolist()) == ([[2, 3]], [[16, 64]])
    assert (found.b.tolist(), found.g.tolist()) == ([[2, 1]], [[1, 1]])
    for wrong in ({"d1": 0, "w1": 8}, {"d1": 2.5, "w1": 8}, {"d1": 2, "w1": "wide"}, {}):
        with pytest.raises(UsageError, match="stages"):
            stages_of(wrong)
