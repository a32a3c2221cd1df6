"""Rules on cost as half planes: within which limits of a weighted sum of costs a rule holds.

`params <= 3.0e6 + 5.5e-3 * flops` is one as it stands. In `acts <= 6.5e3 * sqrt(flops)` the root is
replaced by its chord over the flops that the band leaves, and by how far it is from that at most:
the rule surely holds below one limit, surely not above another, and has to be tried in between.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Interval = tuple[FloatArray, FloatArray]
PIECES = 4096  # of a column's range, over each of which a curved term is bounded
ROUNDING = 1e-12  # of the largest number at hand: many times what float64 errs in a few operations
EXACT = 1 << 53  # whole numbers below are exact as float64
_FUNCTIONS: dict[str, tuple[Callable[..., FloatArray], float]] = {
    "sqrt": (np.sqrt, 0.0), "log": (np.log, 1.0), "log2": (np.log2, 1.0), "log10": (np.log10, 1.0)
}  # fmt: skip  # rising functions, and from which number on they are used


@dataclass(frozen=True)
class Plane:
    """Limits (low, high) of sum(weights * cost), weights (columns,), both ends inside.

    Within `sure` the condition holds, outside of `maybe` it does not; `sure` may be empty.
    """

    weights: FloatArray
    sure: tuple[float, float]
    maybe: tuple[float, float]

    def beyond(self, spent: FloatArray) -> Plane:
        """The same for what comes on top of a cost (columns,)."""
        shift = float(self.weights @ spent)
        sure, maybe = ((low - shift, high - shift) for low, high in (self.sure, self.maybe))
        return Plane(self.weights, sure, maybe)


def band_plane(column: int, columns: int, low: int, high: int, most: int) -> Plane:
    """A column's own limits, where costs are up to `most`."""
    err = 0.0 if max(most, abs(low), abs(high)) < EXACT else ROUNDING * max(most, abs(high))
    weights = np.eye(columns)[column]
    return Plane(weights, (low + err, high - err), (low - err, high + err))


def rule_planes(
    rule: ast.expr, ranges: Mapping[str, tuple[float, float]], columns: Sequence[str],
    given: Mapping[str, float],
) -> list[Plane] | None:  # fmt: skip
    """A condition as planes over the columns, all of which have to hold; None where it is none.

    ranges: least and most of each column; given: numbers of all other names.
    """
    match rule:
        case ast.BoolOp(op=ast.And(), values=parts):
            found = [rule_planes(part, ranges, columns, given) for part in parts]
            return None if None in found else [plane for some in found for plane in some or []]
        case ast.Compare(left=left, ops=ops, comparators=rest):
            sides = [_form(side, ranges, given) for side in (left, *rest)]
            pairs = [
                _plane(a, op, b, columns)
                for a, op, b in zip(sides[:-1], ops, sides[1:], strict=True)
            ]
            return None if None in pairs else [plane for plane in pairs if plane]
    return None


@dataclass(frozen=True)
class _Form:
    """sum(weights * cost) + something from `low` to `high`; `size` bounds every number in it."""

    weights: Mapping[str, float]
    low: float
    high: float
    size: float

    def plus(self, other: _Form) -> _Form:
        names = {*self.weights, *other.weights}
        weights = {n: self.weights.get(n, 0.0) + other.weights.get(n, 0.0) for n in names}
        low, high = self.low + other.low, self.high + other.high
        return _Form(weights, low, high, self.size + other.size)

    def times(self, factor: float) -> _Form:
        weights = {name: weight * factor for name, weight in self.weights.items()}
        low, high = sorted((self.low * factor, self.high * factor))
        return _Form(weights, low, high, self.size * abs(factor))


def _plane(
    left: _Form | None, op: ast.cmpop, right: _Form | None, columns: Sequence[str]
) -> Plane | None:
    """left - right <= 0, or >= 0. Strict comparisons differ on the very line, which is tried."""
    if left is None or right is None or not isinstance(op, ast.Lt | ast.LtE | ast.Gt | ast.GtE):
        return None
    whole = left.plus(right.times(-1.0))
    if not math.isfinite(whole.size):
        return None
    err = ROUNDING * whole.size
    weights = np.array([whole.weights.get(name, 0.0) for name in columns])
    if isinstance(op, ast.Lt | ast.LtE):
        return Plane(weights, (-math.inf, -whole.high - err), (-math.inf, -whole.low + err))
    return Plane(weights, (-whole.low + err, math.inf), (-whole.high - err, math.inf))


def _form(
    node: ast.expr, ranges: Mapping[str, tuple[float, float]], given: Mapping[str, float]
) -> _Form | None:
    """A number of the rule, its curved terms bounded by lines; None where it has other terms."""
    match node:
        case ast.UnaryOp(op=ast.USub() | ast.UAdd() as op, operand=part):
            one = _form(part, ranges, given)
            return one and one.times(-1.0 if isinstance(op, ast.USub) else 1.0)
        case ast.BinOp(left=left, op=ast.Add() | ast.Sub() as op, right=right):
            one, two = _form(left, ranges, given), _form(right, ranges, given)
            return one and two and one.plus(two.times(-1.0 if isinstance(op, ast.Sub) else 1.0))
        case ast.Name(id=name) if name in ranges:
            return _Form({name: 1.0}, 0.0, 0.0, max(map(abs, ranges[name])))
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            for factor, other in ((left, right), (right, left)):
                number, rest = _number(factor, given), _form(other, ranges, given)
                if number is not None and rest is not None:
                    return rest.times(number)
        case ast.BinOp(left=left, op=ast.Div(), right=right):
            number, rest = _number(right, given), _form(left, ranges, given)
            if number and rest is not None:
                return rest.times(1.0 / number)
    names = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)} & set(ranges)
    if not names:
        number = _number(node, given)
        return None if number is None else _Form({}, number, number, abs(number))
    return _chord(node, min(names), ranges, given) if len(names) == 1 else None


def _number(node: ast.expr, given: Mapping[str, float]) -> float | None:
    """The value of a term without costs."""
    found = _bounds(node, {name: (np.array([x]), np.array([x])) for name, x in given.items()})
    if found is None:
        return None
    low, high = (float(x[0]) for x in found)
    middle = (low + high) / 2
    return middle if abs(high - low) <= 1e3 * ROUNDING * max(1.0, abs(middle)) else None


def _chord(
    node: ast.expr, name: str, ranges: Mapping[str, tuple[float, float]],
    given: Mapping[str, float],
) -> _Form | None:  # fmt: skip
    """A term of one column as a line, and how far it is from that at most to either side."""
    low, high = ranges[name]
    edges = np.linspace(low, high, PIECES + 1 if high > low else 2)
    known = {other: (np.array([x]), np.array([x])) for other, x in given.items()}
    pieces = _bounds(node, {**known, name: (edges[:-1], edges[1:])})
    ends = _bounds(node, {**known, name: (edges, edges)})
    if pieces is None or ends is None:
        return None
    slope = float(ends[0][-1] - ends[0][0]) / (high - low) if high > low else 0.0
    line = (
        np.minimum(slope * edges[:-1], slope * edges[1:]),
        np.maximum(slope * edges[:-1], slope * edges[1:]),
    )
    under, over = float((pieces[0] - line[1]).min()), float((pieces[1] - line[0]).max())
    size = max(float(np.abs(ends[0]).max()), abs(under), abs(over))
    return _Form({name: slope}, under, over, size) if math.isfinite(size) else None


def _bounds(node: ast.expr, known: Mapping[str, Interval]) -> Interval | None:
    """Least and most of a term, where each name is between two numbers; None where it has parts
    that are not followed, or numbers that a part of it is not defined for."""
    with np.errstate(all="ignore"):
        found = _interval(node, known)
    if found is None or not all(np.isfinite(x).all() for x in found):
        return None
    return found


def _interval(node: ast.expr, known: Mapping[str, Interval]) -> Interval | None:
    match node:
        case ast.Constant(value=number):
            exact = np.array([float(number)])  # type: ignore[arg-type]
            return exact, exact
        case ast.Name(id=name):
            return known.get(name)
        case ast.UnaryOp(op=ast.USub(), operand=part):
            one = _interval(part, known)
            return one and (-one[1], -one[0])
        case ast.UnaryOp(op=ast.UAdd(), operand=part):
            return _interval(part, known)
        case ast.BinOp(left=left, op=op, right=right):
            one, two = _interval(left, known), _interval(right, known)
            return None if one is None or two is None else _combined(op, one, two)
        case ast.Call(func=ast.Name(id=name), args=args):
            parts = [_interval(arg, known) for arg in args]
            return None if None in parts else _called(name, [part for part in parts if part])
    return None


def _combined(op: ast.operator, one: Interval, two: Interval) -> Interval | None:
    """Of two numbers; rising and falling in each of them, the ends tell all."""
    match op:
        case ast.Add():
            ends = [one[0] + two[0], one[1] + two[1]]
        case ast.Sub():
            ends = [one[0] - two[1], one[1] - two[0]]
        case ast.Mult():
            ends = [a * b for a in one for b in two]
        case ast.Div() if ((two[0] > 0) | (two[1] < 0)).all():
            ends = [a / b for a in one for b in two]
        case ast.Pow() if (one[0] > 0).all():
            ends = [np.float_power(a, b) for a in one for b in two]
        case _:
            return None
    return _widened(np.minimum.reduce(ends), np.maximum.reduce(ends))


def _called(name: str, parts: Sequence[Interval]) -> Interval | None:
    if name in ("min", "max"):
        pick = np.minimum if name == "min" else np.maximum
        (a, b), (c, d) = parts
        return pick(a, c), pick(b, d)
    ((low, high),) = parts
    if name == "abs":
        inside = (low <= 0) & (high >= 0)
        ends = np.abs(low), np.abs(high)
        return np.where(inside, 0.0, np.minimum(*ends)), np.maximum(*ends)
    function, least = _FUNCTIONS[name]
    return _widened(function(low), function(high)) if (low >= least).all() else None


def _widened(low: FloatArray, high: FloatArray) -> Interval:
    """By more than rounding takes."""
    return low - ROUNDING * np.abs(low), high + ROUNDING * np.abs(high)
