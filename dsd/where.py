"""The one expression language over a population's frame: `--where`, `--split`, axes."""

from __future__ import annotations

import ast
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dsd.columns import stages_named
from dsd.errors import UsageError
from dsd.space.expression import Expression, parse

if TYPE_CHECKING:
    import pandas as pd

ALIAS = {"error": "error_last"}
DEPTHS = {"d": "depth", "depth": "d"}  # the papers' figures say depth, the tables d


def matching(frame: pd.DataFrame, text: str, where: str = "--where") -> NDArray[np.bool_]:
    """Whether each network (n,) meets a condition such as `d <= 20 and w[i+1] >= w[i]`.

    A comparison with a value that a network lacks is neither true nor false, as in SQL: neither
    `error < 20` nor `not error < 20` nor `error != 20` holds for one that is still queued, and
    `d > 10 or error < 20` holds if d does. Raises UsageError.
    """
    expression = _parsed(frame, text, where)
    if not expression.is_condition:
        raise UsageError(f"{where}: '{text}' is a number, not a condition such as 'd <= 20'.")
    plain = replace(expression, tree=_without_not(expression.tree, True))
    return _value(frame, plain).astype(bool)


def values(frame: pd.DataFrame, text: str, where: str = "column") -> NDArray[np.float64]:
    """The number (n,) that a column or an expression such as `w4 / w1` has for each network.

    NaN where a network lacks what it reads. Raises UsageError.
    """
    expression = _parsed(frame, text, where)
    if expression.is_condition:
        raise UsageError(f"{where}: '{text}' is a condition, not a number.")
    return _value(frame, expression).astype(float)


def is_condition(frame: pd.DataFrame, text: str, where: str = "expression") -> bool:
    """Whether the text is a condition, not a number. Raises UsageError where it is neither."""
    return _parsed(frame, text, where).is_condition


_OPPOSITE: dict[type, type[ast.cmpop]] = {
    ast.Lt: ast.GtE, ast.GtE: ast.Lt, ast.Gt: ast.LtE, ast.LtE: ast.Gt,
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
}  # fmt: skip


def _without_not(node: ast.expr, wanted: bool) -> ast.expr:
    """The condition, or its opposite, by comparisons that are false where a side is NaN."""
    match node:
        case ast.UnaryOp(op=ast.Not(), operand=part):
            return _without_not(part, not wanted)
        case ast.BoolOp(op=op, values=parts):
            every = isinstance(op, ast.And) is wanted
            return _joined([_without_not(part, wanted) for part in parts], every)
        case ast.Compare(left=left, ops=ops, comparators=rest):
            sides = zip((left, *rest), ops, rest, strict=False)
            return _joined([_compared(a, type(op), b, wanted) for a, op, b in sides], wanted)
    raise AssertionError(ast.dump(node))


def _compared(left: ast.expr, op: type[ast.cmpop], right: ast.expr, wanted: bool) -> ast.expr:
    op = op if wanted else _OPPOSITE[op]
    if op is not ast.NotEq:  # the only comparison that holds for NaN
        return ast.Compare(left, [op()], [right])
    sides = (ast.Compare(left, [ast.Lt()], [right]), ast.Compare(left, [ast.Gt()], [right]))
    return _joined(list(sides), False)


def _joined(parts: list[ast.expr], every: bool) -> ast.expr:
    return parts[0] if len(parts) == 1 else ast.BoolOp(ast.And() if every else ast.Or(), parts)


def _parsed(frame: pd.DataFrame, text: str, where: str) -> Expression:
    return parse(text, set(_columns(frame)), where)


def _value(frame: pd.DataFrame, expression: Expression) -> Any:
    columns = _columns(frame)
    used = (expression.names - columns.keys()) | expression.neighbors
    stages = min((stages_named(columns, name) for name in used), default=0)
    if not len(frame):
        return np.zeros(0)
    found = expression(columns, stages)
    return np.broadcast_to(found, (len(frame),))


def _columns(frame: pd.DataFrame) -> dict[str, NDArray[Any]]:
    """Numbers by name; d is the total depth, be it called depth or told by its stages alone."""
    numbers = {name: np.asarray(frame[name]) for name in frame.select_dtypes("number").columns}
    numbers |= {new: numbers[old] for new, old in ALIAS.items() if old in numbers}
    by_stage = [numbers[f"d{i + 1}"] for i in range(stages_named(numbers))]
    if by_stage and not numbers.keys() & DEPTHS.keys():
        numbers["d"] = np.nansum(by_stage, axis=0)
    return numbers | {new: numbers[old] for new, old in DEPTHS.items()
                      if old in numbers and new not in numbers}  # fmt: skip
