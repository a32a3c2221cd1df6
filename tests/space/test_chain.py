"""Rules condition a draw exactly: the same law as plain rejection, and not that of a sort."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chi2_contingency

from dsd.space import rules as module
from dsd.space.rules import compile_rules
from dsd.space.spec import space_from
from tests.space.brute import counts, reject

SMALL = {
    "form": "per-stage",
    "stages": 3,
    "draw": {
        "d": {"log": [1, 4]},
        "w": {"log": [8, 40], "step": 8},
        "b": [1, 2],
        "g": [1, 8],
    },
}
CASES = [
    (["w[i+1] >= w[i]"], lambda v: np.diff(v) >= 0),
    (["w[i+1] > w[i]"], lambda v: np.diff(v) > 0),
    (["w[i+1] <= w[i]", "w <= 32"], lambda v: np.hstack([np.diff(v) <= 0, v <= 32])),
    (["w[i+1] >= 2 * w[i]"], lambda v: v[:, 1:] >= 2 * v[:, :-1]),
    (["w2 >= 2 * w1 and w3 < 40"], lambda v: np.stack([v[:, 1] >= 2 * v[:, 0], v[:, 2] < 40], 1)),
    (["w[i+1] != w[i] or w[i] == 8"], lambda v: (np.diff(v) != 0) | (v[:, :-1] == 8)),
]


def p_value(first, second):
    """Chi-square test that two samples of vectors share one law."""
    a, b = counts(first), counts(second)
    table = np.array([[a.get(k, 0), b.get(k, 0)] for k in sorted(a.keys() | b.keys())])
    frequent = table[table.sum(axis=1) >= 10]
    return chi2_contingency(frequent).pvalue


@pytest.mark.parametrize(("rules", "holds"), CASES, ids=[" and ".join(c[0]) for c in CASES])
def test_a_rule_has_the_law_of_plain_rejection(rules, holds):
    space = space_from({**SMALL, "restrict": rules}, "small", "small.toml")
    chain = compile_rules(space, space.restrict, "here").chains["w"]
    rng = np.random.default_rng(5)
    drawn = chain.sample(rng.random((chain.uniforms, 40_000)))
    assert holds(drawn).all()
    expected = reject(space.draws["w"], holds, 40_000, rng)
    assert p_value(drawn, expected) > 1e-3


def test_a_sorted_shortcut_would_be_found_out():
    space = space_from(SMALL, "small", "small.toml")
    rng = np.random.default_rng(5)
    free = compile_rules(space, [], "here").chains["w"].sample(rng.random((3, 40_000)))
    expected = reject(space.draws["w"], lambda v: np.diff(v) >= 0, 40_000, rng)
    assert p_value(np.sort(free, axis=1), expected) < 1e-6


def test_equal_neighbours_are_drawn_once_and_keep_the_parents_law():
    space = space_from({**SMALL, "restrict": ["w[i+1] == w[i]"]}, "small", "small.toml")
    chain = compile_rules(space, space.restrict, "here").chains["w"]
    drawn = chain.sample(np.random.default_rng(1).random((1, 50_000)))
    assert (drawn == drawn[:, :1]).all()
    share = [(drawn[:, 0] == v).mean() for v in space.draws["w"][0].values]
    assert share == pytest.approx(space.draws["w"][0].probabilities.tolist(), abs=0.01)


def test_log_draws_follow_the_stated_law():
    d = space_from(SMALL, "small", "small.toml").draws["d"][0]
    assert d.values.tolist() == [1, 2, 3, 4]
    expected = np.diff(np.log([0.5, 1, 2, 3, 4])) / np.log(8)
    assert d.probabilities == pytest.approx(expected)


def test_a_table_of_too_many_pairs_gives_way_to_tests_of_each_draw(monkeypatch):
    data = {**SMALL, "restrict": ["w[i+1] >= w[i]", "d[i+1] >= d[i]"]}
    known = space_from(data, "small", "small.toml")
    monkeypatch.setattr(module, "MOST_PAIRS", 16)
    rules = compile_rules(known, known.restrict, "here")
    assert [rule.text for rule in rules.drawn] == ["w[i+1] >= w[i]"]
    assert rules.chains["d"].pairs[0] is not None
    plain = compile_rules(known, [], "here").chains["w"]
    assert (rules.chains["w"].size, rules.chains["d"].size) == (plain.size, 20)
