"""The one expression language over a population's frame: `--where`, `--split`, axes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dsd.errors import UsageError
from dsd.space.expression import Expression, parse

if TYPE_CHECKING:
    import pandas as pd

ALIAS = {"error": "error_last"}


def matching(frame: pd.DataFrame, text: str, where: str = "--where") -> NDArray[np.bool_]:
    """Whether each network (n,) meets a condition such as `d <= 20 and w[i+1] >= w[i]`.

    A network without a value that the condition compares does not meet it. Raises UsageError.
    """
    expression = _parsed(frame, text, where)
    if not expression.is_condition:
        raise UsageError(f"{where}: '{text}' is a number, not a condition such as 'd <= 20'.")
    return _value(frame, expression).astype(bool)


def values(frame: pd.DataFrame, text: str, where: str = "column") -> NDArray[np.float64]:
    """The number (n,) that a column or an expression such as `w4 / w1` has for each network.

    NaN where a network lacks what it reads. Raises UsageError.
    """
    expression = _parsed(frame, text, where)
    if expression.is_condition:
        raise UsageError(f"{where}: '{text}' is a condition, not a number.")
    return _value(frame, expression).astype(float)


def _parsed(frame: pd.DataFrame, text: str, where: str) -> Expression:
    numbers = set(frame.select_dtypes("number").columns)
    return parse(text, numbers | {new for new, old in ALIAS.items() if old in numbers}, where)


def _value(frame: pd.DataFrame, expression: Expression) -> Any:
    columns = {name: frame[name].to_numpy() for name in frame.select_dtypes("number").columns}
    columns |= {new: columns[old] for new, old in ALIAS.items() if old in columns}
    stages = sum(f"w{i}" in columns for i in range(1, 100))
    if not len(frame):
        return np.zeros(0)
    found = expression({name: np.asarray(column) for name, column in columns.items()}, stages)
    return np.broadcast_to(found, (len(frame),))
