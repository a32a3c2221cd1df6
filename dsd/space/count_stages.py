"""Exact counts of a per-stage space by dynamic programming backward over the stages.

For a state that a stage may find (see `Table`), S(x) is the number of choices for it and all later
stages which end in the band when x was spent before. x lies on a grid, the greatest common divisor
of what can be spent, so S is an array and every count exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsd.space.count_tables import IntArray, Table

Array = NDArray[Any]
FEW, MOST_POINTS = 100_000, 20_000_000
FEW_CELLS, MOST_CELLS = 20_000_000, 600_000_000
JUMP_WORK = POINT_WORK = 16  # a look-up at one point costs about as much as 16 additions in a row


def count_all(stages: Sequence[Table]) -> int:
    """Settings of the stages that keep the rules, whatever they cost."""
    kind = _integer(_bound(stages))
    ways: Array = np.ones((1, 1), dtype=kind)
    for table in reversed(stages):
        if not len(table.follows):
            return 0
        depths: Array = np.zeros((ways.shape[1], len(table.follows)), dtype=kind)
        for c, (row, leaves) in enumerate(zip(table.follows, table.leaves, strict=True)):
            np.add.at(depths[:, c], leaves[row], 1)
        shapes: Array = (table.allowed * table.times).astype(kind)
        ways = shapes @ (ways @ depths)[table.state]
    return int(ways[0, 0])


def count_band(stages: Sequence[Table], low: float, high: float) -> int:
    """Settings of the stages that keep the rules and cost from low to high, bounds included."""
    if high < 0 or not all(len(t.follows) and len(t.times) for t in stages):
        return 0
    most = sum(int((t.first + (t.d.max() - 1) * t.other).max()) for t in stages)
    if high >= most:
        return count_all(stages) - (count_band(stages, -1, math.ceil(low) - 1) if low > 0 else 0)
    stages = _affordable([_start(), *stages], math.floor(high))
    return _Backward(stages, math.ceil(low), math.floor(high)).count()


def coarseness(stages: Sequence[Table], high: float) -> int:
    """How much coarser than exact costs must be, so that the sums of the stages fit in memory.

    Depth classes count from the fourth stage on: the first two are few enough to try (`_few`).
    """
    unit = max(1, _divisor(stages[:-1]))
    most = sum(int((t.first + (t.d.max(initial=1) - 1) * t.other).max(initial=0)) for t in stages)
    length, states = min(high, most) / unit, max(table.states for table in stages)
    rows = max([states, *(table.states * len(table.follows) for table in stages[3:-1])])
    if len(stages) < 3 or length * rows <= MOST_CELLS:
        return 1
    return unit * math.ceil(length * states / FEW_CELLS)


def count_at_most(stages: Sequence[Table], low: float, high: float, unit: int) -> int:
    """The same with each block's cost rounded down to a multiple of `unit`: too many, by the
    settings that are within a `unit` a block of the band."""
    slack = unit * sum(int(table.d.max(initial=1)) for table in stages)
    rounded = [replace(t, first=t.first // unit, other=t.other // unit) for t in stages]
    return count_band(rounded, (low - slack) / unit, high / unit)


def _divisor(stages: Sequence[Table]) -> int:
    """Greatest common divisor of all costs."""
    parts = [int(np.gcd.reduce(x, axis=None)) for t in stages for x in (t.first, t.other) if x.size]
    return math.gcd(*parts)


def _start() -> Table:
    """A stage of one free choice, so that every network has two."""
    one, zero = np.ones(1, dtype=np.int64), np.zeros(1, dtype=np.int64)
    yes = np.ones((1, 1), dtype=bool)
    return Table(one, zero[None, :], zero, yes, zero, one, yes, zero[None, :])


def _affordable(stages: list[Table], high: int) -> list[Table]:
    """Without the shapes that fit into no network of cost `high`."""
    ahead, behind = _ahead(stages), _behind(stages)
    kept = []
    for table, before, after in zip(stages, behind, ahead[1:], strict=False):
        through = before[:, None] + table.least + after[table.state]
        fits = np.where(table.allowed, through, high + 1).min(axis=0, initial=high + 1) <= high
        kept.append(table.take(fits))
    return kept


def _ahead(stages: Sequence[Table]) -> list[IntArray]:
    """Least cost of all stages from each on, by previous state; of nothing at the end."""
    least = [np.zeros(1, dtype=np.int64)]
    for table in reversed(stages):
        rest = np.where(table.allowed, table.least + least[0][table.state], _NEVER)
        least.insert(0, rest.min(axis=1, initial=_NEVER))
    return least


def _behind(stages: Sequence[Table]) -> list[IntArray]:
    """Least cost spent before each stage, by previous state."""
    least = [np.zeros(1, dtype=np.int64)]
    for table, later in pairwise(stages):
        spent = np.where(table.allowed, table.least + least[-1][:, None], _NEVER)
        found = np.full(later.states, _NEVER)
        np.minimum.at(found, table.state, spent.min(axis=0, initial=_NEVER))
        least.append(found)
    return least


_NEVER = 1 << 60


def _bound(stages: Sequence[Table]) -> int:
    return math.prod(table.choices for table in stages)


def _integer(bound: int) -> type:
    """The smallest type that holds counts up to `bound`: Python's own where no other does."""
    return np.int32 if bound < 1 << 31 else np.int64 if bound < 1 << 63 else object


@dataclass(frozen=True)
class _Points:
    """Beginnings of networks, (n,) each: state and depth class they leave, cost (rising)."""

    state: IntArray
    leaves: IntArray
    spent: IntArray
    times: IntArray

    def __len__(self) -> int:
        return len(self.state)


def _first_point() -> _Points:
    """Nothing drawn yet."""
    zero, one = np.zeros(1, dtype=np.int64), np.ones(1, dtype=np.int64)
    return _Points(zero, zero, zero, one)


@dataclass(frozen=True)
class _Groups:
    """Shapes that may follow the same states, and there cost the same but for a constant.

    extra (s, groups): cost after each state above the shape's `base`, -1 where not allowed.
    """

    of: IntArray
    base: IntArray
    extra: IntArray

    def __len__(self) -> int:
        return self.extra.shape[1]


def _groups(table: Table) -> _Groups:
    base = np.where(table.allowed, table.first, _NEVER).min(axis=0, initial=_NEVER)
    extra = np.where(table.allowed, table.first - base, -1)
    kinds, of = np.unique(extra, axis=1, return_inverse=True)
    return _Groups(of.ravel(), base, kinds)


class _Backward:
    """One pass: beginnings of networks forward as long as they are few, all the rest backward."""

    def __init__(self, stages: list[Table], low: int, high: int) -> None:
        self.stages, self.low, self.high = stages, low, high
        self.ahead, self.behind = _ahead(stages), _behind(stages)
        self.grid = self._grids()

    def _grids(self) -> list[int]:
        """For each stage, a number that divides all that can be spent before it."""
        high, grids = self.high, [0]
        for table in self.stages:
            grids.append(math.gcd(grids[-1], _divisor([table])))
        for i in range(len(grids) - 1, -1, -1):
            finer = grids[i + 1] if i + 1 < len(grids) else 1
            grids[i] = grids[i] or finer * (high // finer + 1)
        return grids

    def count(self) -> int:
        """All settings in the band."""
        if self.ahead[0][0] > self.high:
            return 0
        at, points = 0, _first_point()
        while at + 2 < len(self.stages) and self._few(at, len(points)):
            points = self._extended(at, points)
            at += 1
        later: _Later = _Last(self.stages[-1], self.stages[-2], self.low, self.high)
        for i in range(len(self.stages) - 2, at, -1):
            later = self._backward(i, later)
        return self._sum(at, points, later)

    def _few(self, at: int, points: int) -> bool:
        """Whether it is less work to try every choice of this stage after each beginning."""
        table, later = self.stages[at], self.stages[at + 1]
        share = table.allowed.mean() * table.follows.mean() if table.allowed.size else 0.0
        raw = points * len(table.times) * len(table.d) * share
        size = later.states * len(later.follows)
        return raw <= MOST_POINTS and raw * POINT_WORK <= max(FEW, size * self._length(at + 1))

    def _length(self, at: int) -> int:
        return self.high // self.grid[at] + 1

    def _extended(self, at: int, points: _Points) -> _Points:
        table, parts = self.stages[at], []
        room = self.high - self.ahead[at + 1]
        for k, state in enumerate(table.state.tolist()):
            fits = points.spent + table.least[points.state, k] <= room[state]
            rows = np.flatnonzero(fits & table.allowed[points.state, k])
            row, which = np.nonzero(table.follows[points.leaves[rows]])
            row = rows[row]
            spent = points.spent[row] + table.first[points.state[row], k]
            spent += (table.d[which] - 1) * table.other[k]
            keep = spent <= room[state]
            leaves = table.leaves[points.leaves[row], which]
            whole = (np.full(len(row), state), leaves, spent, points.times[row] * table.times[k])
            parts.append([x[keep] for x in whole])
        columns = [np.concatenate(x) for x in zip(*parts, strict=True)]
        order = np.argsort(columns[2], kind="stable")
        return _Points(*(x[order] for x in columns))

    def _backward(self, at: int, later: _Later) -> _Stored:
        """S of this stage, from that of the next."""
        table, groups, unit = self.stages[at], _groups(self.stages[at]), self.grid[at]
        kind = _integer(_bound(self.stages[at:]))
        room = np.maximum(-1, (self.high - self.ahead[at]) // unit) + 1
        begin = np.minimum(self.behind[at] // unit, room).tolist()
        stored = [np.zeros((len(table.follows), n), dtype=kind) for n in room.tolist()]
        fine = self._fine(at, groups)
        for k in range(len(groups)):
            sums = self._group(at, groups, k, fine, later, kind)
            for state in np.flatnonzero(groups.extra[:, k] >= 0).tolist():
                first = (begin[state] * unit + int(groups.extra[state, k])) // fine
                target = stored[state][:, begin[state] :]
                part = sums[:, first :: unit // fine][:, : target.shape[1]]
                target[:, : part.shape[1]] += part
        return _Stored(stored, unit)

    def _fine(self, at: int, groups: _Groups) -> int:
        """The grid of what is spent before the stage and on its extra costs."""
        return math.gcd(self.grid[at], *np.unique(np.maximum(groups.extra, 0)).tolist())

    def _group(
        self, at: int, groups: _Groups, k: int, fine: int, later: _Later, kind: type
    ) -> Array:
        """(classes, x) count for a group's shapes, x before `extra` on the fine grid."""
        table, shapes = self.stages[at], np.flatnonzero(groups.of == k)
        spent = groups.base[shapes, None] + (table.d - 1) * table.other[shapes, None]
        room = self.high - (spent.min(axis=1) + self.ahead[at + 1][table.state[shapes]]).min()
        sums: Array = np.zeros((len(table.follows), max(0, int(room) // fine + 1)), dtype=kind)
        states, times = table.state[shapes].tolist(), table.times[shapes].tolist()

        def add(c: int, depths: IntArray, target: Array) -> None:
            leaves = table.leaves[c, depths].tolist()
            costs = spent[:, depths].tolist()
            asked = [
                _Asked(state, leave, cost, time)
                for state, time, row in zip(states, times, costs, strict=True)
                for leave, cost in zip(leaves, row, strict=True)
            ]
            later.add_to(target, asked, fine)

        _each_class(table, sums, add)
        return sums

    def _sum(self, at: int, points: _Points, later: _Later) -> int:
        """Every beginning times the ways to go on from there."""
        groups, kind = _groups(self.stages[at]), _integer(_bound(self.stages[at:]))
        fine = self._fine(at, groups)
        ways: Array = np.zeros(len(points), dtype=kind)
        begin = points.spent // fine
        extra = np.where(groups.extra < 0, _NEVER, groups.extra // fine)
        for k in range(len(groups)):
            sums = self._group(at, groups, k, fine, later, kind)
            length = sums.shape[1]
            some = np.searchsorted(begin, length - extra[:, k].min())
            place = begin[:some] + extra[:, k][points.state[:some]]
            rows = np.flatnonzero(place < length)
            ways[rows] += sums.reshape(-1)[points.leaves[rows] * length + place[rows]]
        if _bound(self.stages) < 1 << 63:
            return int(np.dot(ways.astype(np.int64), points.times))
        return sum(a * b for a, b in zip(ways.tolist(), points.times.tolist(), strict=True))


def _each_class(table: Table, sums: Array, add: Callable[[int, IntArray, Array], None]) -> None:
    """Sum the depths that follow each class into `sums`; classes come with the smallest first.

    Where a class allows all that the one before does (d[i+1] >= d[i]), its sum goes on from there.
    """
    known = np.zeros(len(table.d), dtype=bool)
    for c, row in enumerate(table.follows):
        grows = c > 0 and (row & (table.leaves[c] == table.leaves[c - 1]))[known].all()
        if grows:
            sums[c] = sums[c - 1]
        add(c, np.flatnonzero(row & ~known if grows else row), sums[c])
        known = row


@dataclass(frozen=True)
class _Asked:
    """What the next stage is asked for: `times` S after this state and class, and this spent."""

    state: int
    leaves: int
    spent: int
    times: int


class _Stored:
    """S as arrays on a grid. Coarser grids read every r-th value: they lie together in a copy."""

    def __init__(self, values: list[Array], unit: int) -> None:
        self.values, self.unit = values, unit
        self.known: dict[tuple[int, int], Array] = {}

    def add_to(self, target: Array, asked: Sequence[_Asked], grid: int) -> None:
        """Add the counts for x * grid spent before, at each x of `target`."""
        for ask in asked:
            _add(target, self._at(ask, grid, target.dtype), ask.times)

    def _at(self, ask: _Asked, grid: int, kind: Any) -> Array:
        ratio = grid // self.unit
        whole, phase = divmod(ask.spent // self.unit, ratio)
        key = ask.state, phase
        if key not in self.known:
            self.known[key] = np.ascontiguousarray(self.values[ask.state][:, phase::ratio], kind)
        return self.known[key][ask.leaves, whole:]


class _Last:
    """S of the last stage, computed where it is asked for: its choices sorted into the grid."""

    def __init__(self, table: Table, before: Table, low: int, high: int) -> None:
        self.table, self.low, self.high = table, low, high
        self.known: dict[tuple[int, int, int], Array] = {}
        self.choices: dict[tuple[int, int], tuple[IntArray, IntArray]] = {}
        share = table.allowed.mean() * table.follows.mean() if table.allowed.size else 0.0
        self.jumps = len(table.times) * len(table.d) * share
        asked = max(1, len(before.times) * len(before.d))
        self.uses = asked / (table.states * len(table.follows))

    def add_to(self, target: Array, asked: Sequence[_Asked], grid: int) -> None:
        """Add the counts for x * grid spent before, at each x of `target`.

        Where choices are few, all at once: each opens and closes a run of x; runs are summed last.
        """
        if asked and self.jumps * JUMP_WORK < len(target) * (1 + 8 / self.uses):
            found = [(*self._choices(ask.state, ask.leaves), ask) for ask in asked]
            cost = np.concatenate([cost + ask.spent for cost, _, ask in found])
            runs = self._runs(cost, np.concatenate([t * ask.times for _, t, ask in found]), grid)
            target[: len(runs)] += runs.astype(target.dtype)
            return
        for ask in asked:
            _add(target, self._at(ask, grid, target.dtype), ask.times)

    def _at(self, ask: _Asked, grid: int, kind: Any) -> Array:
        whole, phase = divmod(ask.spent, grid)
        key = ask.state, ask.leaves, phase
        if key not in self.known:
            cost, times = self._choices(ask.state, ask.leaves)
            self.known[key] = self._runs(cost + phase, times, grid).astype(kind)
        return self.known[key][whole:]

    def _choices(self, state: int, leaves: int) -> tuple[IntArray, IntArray]:
        """Cost and times of each choice."""
        if (state, leaves) not in self.choices:
            table, shapes = self.table, np.flatnonzero(self.table.allowed[state])
            d = table.d[table.follows[leaves]]
            cost = table.first[state, shapes] + (d[:, None] - 1) * table.other[shapes]
            times = np.broadcast_to(table.times[shapes], cost.shape)[cost <= self.high]
            self.choices[state, leaves] = cost[cost <= self.high], times
        return self.choices[state, leaves]

    def _runs(self, cost: IntArray, times: IntArray, grid: int) -> NDArray[np.float64]:
        """How many of these costs are in the band when x * grid is added, as long as any can be.

        Whole numbers far below 2^53, so that floats hold them exactly.
        """
        last = np.concatenate([(self.high - cost) // grid, (self.low - 1 - cost) // grid])
        some = np.flatnonzero(last >= 0)
        signed = np.concatenate([times, -times])[some]
        runs = np.bincount(last[some], signed)[::-1]
        return np.asarray(np.cumsum(runs)[::-1], dtype=np.float64)


_Later = _Stored | _Last


def _add(target: Array, values: Array, times: int) -> None:
    target[: len(values)] += values if times == 1 else values * times
