"""The distinct networks of a quantised-linear space inside a band, by enumerating their stages.

w0 and wm fix the stages' widths. As wa grows, blocks move up one at a time, so all depths of the
earlier stages follow from where that happens; the last stage has any number of blocks up to the
next level. Cost is linear in the depths, so the band picks the last depth in closed form.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise, product

import numpy as np
from numpy.typing import NDArray

from dsd.net.groups import Stages, buildable
from dsd.regime import Regime
from dsd.space.candidates import Candidates, batch_cost
from dsd.space.expression import STAGE_PARAMETERS, Expression
from dsd.space.quantized import levels, quantized_stages
from dsd.space.rules import Rules
from dsd.space.sample import judge
from dsd.space.spec import Space

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
Tests = tuple[Expression, ...]
MOST_NETWORKS = 3_000_000
MOST_ROWS = 20_000_000
CHUNK = 1 << 18
EQUAL = ({"wa": "w0"}, {"w0": "wa"})  # the shared draws that can be followed
NEAR = 1e-7  # relative; `levels` itself decides whatever is nearer to a step than this


def count_lines(space: Space, regime: Regime, rules: Rules) -> tuple[int, bool] | None:
    """Distinct networks in the band, and whether these are all; None where a rule forbids the way.

    Not all where they are over 3 million, as without a band.
    """
    sorted_rules = _sorted(space, rules)
    if sorted_rules is None:
        return None
    on_line, on_stages = sorted_rules
    known = {rule.text for rule in on_line}
    built = tuple(rule for rule in rules.built if rule.text not in known)
    later = replace(rules, drawn=on_stages, built=built)
    seen: set[bytes] = set()
    for w0 in rules.chains[rules.shares.get("w0", "w0")].allowed[0].tolist():
        lines = _lines(space, regime, rules, on_line, w0)
        for batch in _candidates(space, regime, rules, w0, lines):
            if batch is None:
                return len(seen), False
            seen.update(judge(space, regime, later, batch).built.keys().tolist())
            if len(seen) > MOST_NETWORKS:
                return len(seen), False
    return len(seen), True


def _sorted(space: Space, rules: Rules) -> tuple[Tests, Tests] | None:
    """Tested rules on w0, wa and wm, and those on w0 and the stages; None if one needs both."""
    if rules.shares and rules.shares not in EQUAL:
        return None
    stage = {
        *STAGE_PARAMETERS,
        *(f"{p}{i + 1}" for p in STAGE_PARAMETERS for i in range(space.stages)),
    }
    on_line = tuple(r for r in rules.drawn if not r.neighbors and r.names <= {"w0", "wa", "wm"})
    again = {r.text for r in on_line}
    rest = tuple(r for r in rules.drawn if r not in on_line)
    if any(not r.names <= stage | {"w0"} for r in rest):
        return None
    if any(r.names & {"wa", "wm"} and r.text not in again for r in rules.built):
        return None
    return on_line, rest


@dataclass(frozen=True)
class _Lines:
    """n different beginnings: widths (n, stages), and how many blocks lie on levels up to each."""

    widths: IntArray
    blocks: IntArray


def _lines(space: Space, regime: Regime, rules: Rules, on_line: Tests, w0: float) -> _Lines:
    """All beginnings from one w0. The last column of `blocks` is the most that there can be."""
    wm = rules.chains["wm"].allowed[0]
    wa = np.array([w0]) if rules.shares else rules.chains["wa"].allowed[0]
    most = int(rules.chains["d"].allowed[0].max())
    widths = _widths(space, w0, wm)
    fits = np.flatnonzero(_affordable(space, regime, rules, widths))
    step = max(1, CHUNK // len(wa))
    rows = [np.zeros((0, 2 * space.stages), dtype=np.int64)]
    for part in (fits[start : start + step] for start in range(0, len(fits), step)):
        line, depths = _beginnings(space.stages, on_line, w0, wa, wm[part], most)
        rows.append(np.hstack([widths[part[line]], depths]))
    found = _distinct_rows(np.vstack(rows))
    return _Lines(found[:, : space.stages], found[:, space.stages :])


def _widths(space: Space, w0: float, wm: FloatArray) -> IntArray:
    """(wm, stages) widths of the levels."""
    ones = np.ones(len(wm))
    one = ones.astype(np.int64)
    return quantized_stages(one, ones * w0, ones, wm, space.stages, space.quantum)[1]


def _affordable(space: Space, regime: Regime, rules: Rules, widths: IntArray) -> BoolArray:
    """Rising widths of which some b and g make a network below the band's upper end."""
    column, (_, high) = _limit(regime)
    kinds, kind = np.unique(widths, axis=0, return_inverse=True)
    fits = np.zeros(len(kinds), dtype=bool)
    for b, g in _ratios(rules):
        fits |= _cost(space, regime, np.ones_like(kinds), kinds, b, g, column) <= high
    fits &= (np.diff(kinds, axis=1) > 0).all(axis=1) & (kinds[:, 0] > 0)
    return np.asarray(fits[kind.ravel()])


def _beginnings(
    stages: int, on_line: Tests, w0: float, wa: FloatArray, wm: FloatArray, most: int
) -> tuple[IntArray, IntArray]:
    """Places in wm, and how many blocks lie on levels up to each, wherever wa changes them."""
    blocks = [_blocks(k, w0, wa, wm, most) for k in range(stages)]
    keep = blocks[0] > 0
    for lower, upper in pairwise(blocks):
        keep &= upper > lower
    for rule in on_line:
        a, m = (x.ravel() for x in np.meshgrid(wa, wm))
        keep &= rule({"w0": np.full(len(a), w0), "wa": a, "wm": m}, 1).reshape(keep.shape)
    changes = np.ones_like(keep)
    changes[:, 1:] = ~keep[:, :-1]
    for level in blocks:
        changes[:, 1:] |= level[:, 1:] != level[:, :-1]
    line, at = np.nonzero(keep & changes)
    return line, np.column_stack([level[line, at] for level in blocks])


def _distinct_rows(rows: IntArray) -> IntArray:
    """Each row once. Rows are packed into one number where it holds them: that sorts faster."""
    bases = (rows.max(axis=0, initial=0) + 1).tolist()
    if math.prod(bases) >= 1 << 62:
        return np.unique(rows, axis=0)
    packed = np.zeros(len(rows), dtype=np.int64)
    for column, base in zip(rows.T, bases, strict=True):
        packed = packed * base + column
    return rows[np.unique(packed, return_index=True)[1]]


def _blocks(level: int, w0: float, wa: FloatArray, wm: FloatArray, most: int) -> IntArray:
    """(wm, wa) how many of `most` blocks lie on a level or below it."""
    with np.errstate(divide="ignore"):
        step: FloatArray = w0 * (np.float_power(wm, level + 0.5)[:, None] - 1) / wa[None, :]
        slack = NEAR * (1 + step + w0 / wa[None, :])
    count = np.minimum(np.ceil(step), most).astype(np.int64)
    nearest = np.rint(np.minimum(step, most + 1))
    line, at = np.nonzero((np.abs(step - nearest) <= slack) & (nearest <= most))
    block = nearest[line, at].astype(np.int64)
    below = levels(block, w0, wa[at], wm[line]) <= level
    count[line, at] = np.minimum(block + below, most)
    return count


def _candidates(
    space: Space, regime: Regime, rules: Rules, w0: float, lines: _Lines
) -> Iterator[Candidates | None]:
    """Draws in the band's first column, for every b and g; None in place of too many."""
    allowed = rules.chains["d"].allowed[0].astype(np.int64)
    column, (low, high) = _limit(regime)
    kinds, kind = np.unique(lines.widths, axis=0, return_inverse=True)
    for b, g in _ratios(rules) if len(kinds) else ():
        least, each = _linear_cost(space, regime, kinds, b, g, column)
        rows, last = _last_depths(lines.blocks, least[kind], each[kind], low, high)
        if len(rows) < len(last):
            yield None
            return
        depths = np.diff(lines.blocks[rows], axis=1, prepend=0)
        depths[:, -1] = last
        fits = np.isin(depths.sum(axis=1), allowed)
        yield _drawn(depths[fits], lines.widths[rows[fits]], b, g, w0)


def _ratios(rules: Rules) -> list[tuple[float, int]]:
    """Every b and g."""
    g = rules.chains["g"].allowed[0].astype(np.int64).tolist()
    return list(product(rules.chains["b"].allowed[0].tolist(), g))


def _limit(regime: Regime) -> tuple[str, tuple[float, float]]:
    """The band's first column and its bounds."""
    return next(iter(regime.band.items()), ("flops", (0.0, math.inf)))


def _drawn(d: IntArray, w: IntArray, b: float, g: int, w0: float) -> Candidates:
    stages = Stages(d, w, np.full(d.shape, b), np.full(d.shape, g))
    one = {"b": np.full(len(d), b), "g": np.full(len(d), g), "w0": np.full(len(d), w0)}
    return Candidates({**stages.columns(), **one}, stages, np.ones(len(d), dtype=bool))


def _cost(
    space: Space, regime: Regime, d: IntArray, w: IntArray, b: float, g: int, column: str
) -> IntArray:
    """(n,) cost of networks (n, stages), made buildable."""
    drawn = Stages(d, w, np.full(d.shape, b), np.full(d.shape, g))
    return np.asarray(batch_cost(space, regime, buildable(drawn, space.block)).as_dict()[column])


def _linear_cost(
    space: Space, regime: Regime, widths: IntArray, b: float, g: int, column: str
) -> tuple[IntArray, IntArray]:
    """Cost of one block a stage (n,), and of each further block (n, stages)."""
    ones, more = np.ones_like(widths), np.eye(space.stages, dtype=np.int64)
    least = _cost(space, regime, ones, widths, b, g, column)
    costs = [_cost(space, regime, ones + row, widths, b, g, column) for row in more]
    return least, np.column_stack(costs) - least[:, None]


def _last_depths(
    blocks: IntArray, least: IntArray, each: IntArray, low: float, high: float
) -> tuple[IntArray, IntArray]:
    """Rows of `blocks` and last depths that end in the band; no rows where they are too many."""
    depths = np.diff(blocks, axis=1, prepend=0)
    base = least + ((depths[:, :-1] - 1) * each[:, :-1]).sum(axis=1)
    per = np.maximum(1, each[:, -1])
    first = np.maximum(1, 1 + np.ceil((low - base) / per)).astype(np.int64)
    last = np.minimum(depths[:, -1], np.floor(np.minimum(high - base, 1e15) / per) + 1)
    times = np.maximum(0, last.astype(np.int64) - first + 1)
    if times.sum() > MOST_ROWS:
        return times[:0], times
    rows = np.repeat(np.arange(len(blocks)), times)
    run = np.arange(len(rows)) - np.repeat(np.cumsum(times) - times, times)
    return rows, first[rows] + run
