"""Parts of populations: everything is in one part, or said to be in none."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsd.errors import UsageError
from dsd.parts import split


@given(st.lists(st.integers(1, 12), min_size=2, max_size=40), st.integers(1, 12))
def test_parts_are_a_partition(depths, limit):
    table = pd.DataFrame({"d": depths, "state": "done"})
    yes, no = split(table, f"d <= {limit}")
    assert (yes[1]["d"] <= limit).all()
    assert (no[1]["d"] > limit).all()
    assert len(yes[1]) + len(no[1]) == len(depths)
    if len(set(depths)) < 2:
        with pytest.raises(UsageError, match="same for all"):
            list(split(table, "d"))
        return
    parts = list(split(table, "d"))
    assert sorted(pd.concat([part for _, part in parts]).index) == list(range(len(depths)))
    assert len(parts) == len(set(depths)) if len(set(depths)) <= 6 else len(parts) <= 3
    for text, part in parts:
        held = text.replace("=", "==") if " = " in text else text
        assert pd.Series(part["d"]).map(lambda d, held=held: eval(held, {"d": d})).all()


def test_networks_without_the_value_are_in_no_part():
    table = pd.DataFrame({"wm": [2.0, np.nan, 2.5, 3.0], "state": "done"})
    assert [len(part) for _, part in split(table, "wm <= 2.5")] == [2, 1]
    assert [text for text, _ in split(table, "wm")] == ["wm = 2", "wm = 2.5", "wm = 3"]
