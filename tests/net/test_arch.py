"""Digests name networks, not the ways to write them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dsd.net.arch import Arch, Stage, Stem
from dsd.net.groups import Stages, buildable
from tests.net.strategies import archs


@given(arch=archs)
def test_canonical_text_reads_back_as_the_same_network(arch):
    again = Arch.from_json(arch.canonical)
    assert again == arch.normalized()
    assert again.digest == arch.digest


def test_blocks_that_ignore_b_and_g_have_one_digest_for_all_of_them():
    x = Arch(Stem(), (Stage(1, 32, 1, 8),))
    y = Arch(Stem(), (Stage(1, 32, 2, 16),))
    assert x.digest != y.digest
    for block in ("V", "VR"):
        assert replace(x, block=block).digest == replace(y, block=block).digest
    wide = Arch(Stem(), (Stage(1, 32, 1, 16),), "R")
    assert replace(x, block="R").digest == wide.digest
    assert replace(x, block="R").digest != replace(y, block="R").digest


@given(
    w=st.integers(1, 128).map(lambda k: 8 * k),
    b=st.sampled_from([0.125, 0.25, 0.5, 1, 2, 4]),
    g=st.sampled_from([1, 2, 4, 8, 16, 32, 24]),
)
def test_group_compatibility_follows_appendix_d(w, b, g):
    one = lambda x, kind: np.array([[x]], dtype=kind)  # noqa: E731
    built = buildable(Stages(one(1, int), one(w, int), one(b, float), one(g, int)), "X")
    new_w, new_g = int(built.w[0, 0]), int(built.g[0, 0])
    w_b = new_w / b
    assert w_b == int(w_b)
    assert w_b % new_g == 0
    if g > w / b:
        assert (new_g, new_w) == (int(w / b), w)
    else:
        assert new_g == g
        unit = np.lcm(g, int(max(1, 1 / b)))
        assert abs(w_b - w / b) <= unit / 2 or w_b == unit
    if b >= 1 and g & (g - 1) == 0:
        assert abs(new_w - w) <= w / 3
