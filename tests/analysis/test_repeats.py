"""Mean and spread over repeats."""

from __future__ import annotations

import pytest

from dsd.analysis.repeats import repeated


def test_mean_and_spread():
    one = repeated([24.0, 26.0, float("nan"), 25.0])
    assert (one.n, one.mean, one.sd, one.min, one.max) == (3, 25.0, 1.0, 24.0, 26.0)
    assert repeated([24.0]).sd is None
    assert repeated([]).mean is None
    assert repeated([2, 4, 4, 4, 5, 5, 7, 9]).sd == pytest.approx(2.13809, abs=1e-5)
