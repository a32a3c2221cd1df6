"""Conditions on a frame: what they mean where a network lacks a value."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsd.errors import UsageError
from dsd.where import matching, values

NAN = float("nan")


def frame() -> pd.DataFrame:
    stages = {"w1": [8, 8, 24], "w2": [16, 16, 8], "w3": [24.0, NAN, 32.0]}
    return pd.DataFrame({"d": [5, 15, 25], "error_last": [30.0, NAN, 10.0], **stages})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("d <= 15", [True, True, False]),
        ("error < 20", [False, False, True]),
        ("not error < 20", [True, False, False]),
        ("error != 30", [False, False, True]),
        ("not (d > 20 or error == 10)", [True, False, False]),
        ("d > 10 or error < 20", [False, True, True]),
        ("not 20 < error <= 40", [False, False, True]),
        ("w[i+1] >= w[i]", [True, False, False]),
        ("not w3 > 24", [True, False, False]),
    ],
)
def test_a_missing_value_meets_no_comparison(text: str, expected: list[bool]):
    assert matching(frame(), text).tolist() == expected


@pytest.mark.parametrize("text", ["width > 3", "d", "d >", "d if d else d", "d > 3 and d"])
def test_what_is_no_condition_is_refused_in_one_line(text: str):
    with pytest.raises(UsageError, match=r"--where: .*") as error:
        matching(frame(), text)
    assert "\n" not in str(error.value)


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(UsageError, match=r"unknown name 'eror'.*Did you mean 'error'"):
        matching(frame(), "eror < 3")


def test_no_rows_meet_nothing():
    assert matching(frame().head(0), "d > 3").tolist() == []


def test_depth_and_what_all_stages_share_have_one_value():
    shared = pd.DataFrame(
        {"b1": [1, 4], "b2": [1, 4], "g1": [8, 8], "g2": [16, 8], "depth": [9, 7]}
    )
    assert values(shared, "b").tolist() == [1, 4]
    assert values(shared, "d").tolist() == values(shared, "depth").tolist() == [9, 7]
    assert values(pd.DataFrame({"d": [3]}), "depth").tolist() == [3]
    with pytest.raises(UsageError, match=r"'g' differs between stages.* such as g1"):
        values(shared, "g")
    stages = pd.DataFrame({"d1": [3, 4], "d2": [2.0, NAN]})
    assert values(stages, "d").tolist() == [5, 4]
    assert matching(stages, "d <= 4").tolist() == [False, True], "the total, not every stage"


def test_stages_are_those_of_the_columns_that_are_read():
    gap = pd.DataFrame({"w1": [8], "w2": [16], "w4": [64], "d1": [1], "d2": [2], "d3": [3]})
    assert matching(gap, "w[i+1] >= 2 * w[i]").tolist() == [True]
    assert matching(gap, "d[i+1] > d[i]").tolist() == [True]
    assert matching(gap, "w < 10").tolist() == [False]


def test_a_single_equals_sign_is_explained():
    with pytest.raises(UsageError, match="Equal is =="):
        matching(frame(), "d = 4")


def test_values_are_missing_where_a_part_is():
    np.testing.assert_array_equal(values(frame(), "error + d"), [35.0, NAN, 35.0])


Truth = bool | None
COMPARE = ["<", "<=", ">", ">=", "==", "!="]
leaves = st.tuples(st.sampled_from("abc"), st.sampled_from(COMPARE), st.integers(0, 2))
trees = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.tuples(st.just("not"), inner), st.tuples(st.sampled_from(["and", "or"]), inner, inner)
    ),
    max_leaves=6,
)


def text_of(tree: tuple[Any, ...]) -> str:
    match tree:
        case ("not", part):
            return f"(not {text_of(part)})"
        case ("and" | "or" as word, one, two):
            return f"({text_of(one)} {word} {text_of(two)})"
    return f"{tree[0]} {tree[1]} {tree[2]}"


def truth(tree: tuple[Any, ...], row: dict[str, float | None]) -> Truth:
    """Kleene's three values, a network at a time."""
    match tree:
        case ("not", part):
            inner = truth(part, row)
            return None if inner is None else not inner
        case ("and" | "or" as word, one, two):
            parts, strong = {truth(one, row), truth(two, row)}, word == "or"
            return strong if strong in parts else None if None in parts else not strong
    name, op, number = tree
    value = row[name]
    if value is None:
        return None
    holds = {"<": value < number, "<=": value <= number, ">": value > number}
    holds |= {">=": value >= number, "==": value == number, "!=": value != number}
    return holds[op]


rows = st.fixed_dictionaries(dict.fromkeys("abc", st.none() | st.integers(0, 2).map(float)))


@given(trees, st.lists(rows, min_size=1, max_size=5))
def test_conditions_follow_three_valued_logic(tree: Any, found: list[dict[str, float | None]]):
    table = pd.DataFrame(found, dtype=float)
    assert matching(table, text_of(tree)).tolist() == [truth(tree, row) is True for row in found]
