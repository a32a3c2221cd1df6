"""Counts of a per-stage space by dynamic programming backward over the stages, on a grid of cost.

For a state that a stage may find (see `Table`), S(x) is the number of choices for it and all later
stages which end in the band when x was spent before. x lies on a grid, the greatest common divisor
of what can be spent, so S is an array and every count exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from dsd.space.counting.later import Array, Asked, Last, Later, Stored
from dsd.space.counting.meet import dot
from dsd.space.counting.tables import IntArray, Table

FEW, MOST_POINTS = 100_000, 20_000_000
OBJECT_WORK = 100  # an addition of Python's own numbers costs about as much as 100 of 64 bits
POINT_WORK = 16  # a look-up at one point costs about as much as 16 additions in a row
MOST_WHOLE, MOST_FLOAT = 1 << 63, 10**300
ROUGH = 10**8  # many times what floats lose in as many additions as a count makes
_NEVER = 1 << 60


def count_all(stages: Sequence[Table]) -> int:
    """Settings of the stages that keep the rules, whatever they cost."""
    kind = _integer(_bound(stages))
    ways: Array = np.ones((1, 1), dtype=kind)
    for table in reversed(stages):
        classes = len(table.follows)
        shapes: Array = (table.allowed * table.times).astype(kind)
        found: Array = np.zeros((table.states, classes), dtype=kind)
        for fits, which in _depths_alike(table):
            steps: Array = np.zeros((ways.shape[1], classes), dtype=kind)
            for c in range(classes):
                np.add.at(steps[:, c], table.leaves[c][table.follows[c] & which], 1)
            found += (shapes * fits) @ (ways @ steps)[table.state]
        ways = found
    return int(ways.sum())


def _depths_alike(table: Table) -> list[tuple[Array, Array]]:
    """Which shapes fit, and the depths that just these fit."""
    if table.fits is None:
        return [(np.ones(len(table.times), bool), np.ones(len(table.d), bool))]
    return [(table.fits[:, k], np.arange(len(table.d)) == k) for k in range(len(table.d))]


def count_band(stages: Sequence[Table], low: float, high: float, rough: bool = False) -> int:
    """Settings of the stages that keep the rules and cost from low to high, bounds included.

    rough: beyond 64 bits to ROUGH of all settings, in floats; Python's own numbers take far longer.
    """
    if high < 0 or high < low or not all(len(t.follows) and len(t.times) for t in stages):
        return 0
    if high >= sum(table.most for table in stages):
        below = count_band(stages, -1, math.ceil(low) - 1, rough) if low > 0 else 0
        return count_all(stages) - below
    return _pass(stages, low, high, rough).count()


def rough_error(stages: Sequence[Table]) -> int:
    """How far a rough count may be off."""
    return count_all(stages) // ROUGH if _bound(stages) >= MOST_WHOLE else 0


def effort(
    stages: Sequence[Table], low: float, high: float, rough: bool = False
) -> tuple[int, int]:
    """About how many bytes `count_band` holds at once, and how many additions it makes."""
    if high < 0 or not all(len(t.follows) and len(t.times) for t in stages):
        return 0, 0
    high = min(high, sum(table.most for table in stages))
    return _pass(stages, low, high, rough).effort()


def _pass(stages: Sequence[Table], low: float, high: float, rough: bool) -> _Backward:
    kept = _affordable([_start(), *stages], math.ceil(low), math.floor(high))
    return _Backward(kept, math.ceil(low), math.floor(high), rough)


def _divisor(table: Table) -> int:
    """Greatest common divisor of all costs."""
    allowed = table.first[table.allowed]
    return math.gcd(*(int(np.gcd.reduce(x, axis=None)) for x in (allowed, table.more) if x.size))


def _start() -> Table:
    """A stage of one free choice, so that every network has two."""
    one, zero = np.ones(1, dtype=np.int64), np.zeros(1, dtype=np.int64)
    yes = np.ones((1, 1), dtype=bool)
    return Table(one, zero[None, :], zero[None, :], yes, zero, one, yes, zero[None, :])


def _affordable(stages: list[Table], low: int, high: int) -> list[Table]:
    """Without the shapes that no network of cost `low` to `high` has."""
    reach = _Reach(stages)
    kept = []
    for i, table in enumerate(stages):
        least = reach.behind_least[i][:, None] + table.least + reach.least[i + 1][table.state]
        most = reach.behind_most[i][:, None] + _greatest(table) + reach.most[i + 1][table.state]
        fits = table.allowed & (least <= high) & (most >= low)
        kept.append(table.take(np.asarray(fits.any(axis=0))))
    return kept


def _greatest(table: Table) -> IntArray:
    """(s, m) cost with the most blocks."""
    return np.asarray(table.first + table.more.max(axis=1))


class _Reach:
    """Least and most cost of the stages from each on (at the end 0), and of those before, by state.

    Where no network passes, the least is enormous and the most below 0.
    """

    def __init__(self, stages: Sequence[Table]) -> None:
        self.least = _ahead(stages, [t.least for t in stages])
        self.most = [-x for x in _ahead(stages, [-_greatest(t) for t in stages])]
        self.behind_least = _behind(stages, [t.least for t in stages])
        self.behind_most = [-x for x in _behind(stages, [-_greatest(t) for t in stages])]


def _ahead(stages: Sequence[Table], costs: Sequence[IntArray]) -> list[IntArray]:
    found = [np.zeros(1, dtype=np.int64)]
    for table, cost in zip(stages[::-1], costs[::-1], strict=True):
        rest = np.where(table.allowed, cost + found[0][table.state], _NEVER)
        found.insert(0, np.minimum(rest.min(axis=1, initial=_NEVER), _NEVER))
    return found


def _behind(stages: Sequence[Table], costs: Sequence[IntArray]) -> list[IntArray]:
    found = [np.zeros(1, dtype=np.int64)]
    for (table, later), cost in zip(pairwise(stages), costs, strict=False):
        spent = np.where(table.allowed, cost + found[-1][:, None], _NEVER)
        best = np.full(later.states, _NEVER)
        np.minimum.at(best, table.state, spent.min(axis=0, initial=_NEVER))
        found.append(best)
    return found


def _bound(stages: Sequence[Table]) -> int:
    """A bound of what the stages hold: every choice of each."""
    return math.prod(table.choices for table in stages)


def _integer(bound: int) -> type:
    """The smallest type that holds counts up to `bound`: Python's own where no other does."""
    return np.int32 if bound < 1 << 31 else np.int64 if bound < MOST_WHOLE else object


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
class Groups:
    """Shapes that may follow the same states, and there cost the same but for a constant.

    extra (s, groups): cost after each state above the shape's `base`, -1 where not allowed.
    """

    of: IntArray
    base: IntArray
    extra: IntArray

    def __len__(self) -> int:
        return self.extra.shape[1]


def cost_groups(table: Table) -> Groups:
    """The groups of a stage's shapes."""
    base = np.where(table.allowed, table.first, _NEVER).min(axis=0, initial=_NEVER)
    extra = np.where(table.allowed, table.first - base, -1)
    kinds, of = np.unique(extra, axis=1, return_inverse=True)
    return Groups(of.ravel(), base, kinds)


class _Backward:
    """One pass: beginnings of networks forward as long as they are few, all the rest backward."""

    def __init__(self, stages: list[Table], low: int, high: int, rough: bool) -> None:
        self.stages, self.low, self.high, self.rough = stages, low, high, rough
        self.reach = _Reach(stages)
        self.grid = self._grids()
        self.windows = [self._window(at) for at in range(len(stages))]

    def _kind(self, at: int) -> type:
        """What holds counts of the stages from one on."""
        bound = _bound(self.stages[at:])
        return float if self.rough and MOST_WHOLE <= bound < MOST_FLOAT else _integer(bound)

    def _grids(self) -> list[int]:
        """For each stage, a number that divides all that can be spent before it."""
        high, grids = self.high, [0]
        for table in self.stages:
            grids.append(math.gcd(grids[-1], _divisor(table)))
        for i in range(len(grids) - 1, -1, -1):
            finer = grids[i + 1] if i + 1 < len(grids) else 1
            grids[i] = grids[i] or finer * (high // max(1, finer) + 1)
        return [max(1, grid) for grid in grids]

    def _window(self, at: int) -> tuple[IntArray, IntArray]:
        """From and to which x, by state and in steps of the grid, S can be asked for and not 0."""
        reach, unit = self.reach, self.grid[at]
        begin = np.maximum(reach.behind_least[at], self.low - reach.most[at])
        end = np.minimum(reach.behind_most[at], self.high - reach.least[at])
        begin = np.maximum(begin, 0) // unit
        return begin, np.maximum(np.maximum(end, -1) // unit + 1, begin)

    def _cells(self, at: int) -> int:
        begin, end = self.windows[at]
        return int((end - begin).sum()) * len(self.stages[at].follows)

    def effort(self) -> tuple[int, int]:
        """About how many bytes are held at once, and how many additions are made."""
        at, points, held, work = 0, 1.0, 0, 0
        while at + 2 < len(self.stages) and self._few(at, points):
            points, at = points * self._tries(at), at + 1
        stored = 0
        for i in range(len(self.stages) - 2, at - 1, -1):
            table, groups = self.stages[i], cost_groups(self.stages[i])
            begin, end = self.windows[i]
            some = end > begin
            span = int(np.ptp(np.append(begin[some], end[some]))) if some.any() else 0
            span *= self.grid[i] // self._fine(i, groups)
            kind = self._kind(i)
            later, slow = stored, OBJECT_WORK if kind is object else 1
            stored = np.dtype(kind).itemsize * self._cells(i) if i > at else 0
            held = max(held, stored + later + span * (8 * len(table.follows) + 24))
            work += slow * span * len(table.times) * len(table.d)
            share = table.allowed.mean() if i > at and table.allowed.size else 0.0
            work += slow * int(self._cells(i) * len(groups) * share)
        groups = cost_groups(self.stages[at])
        work += int(points * POINT_WORK * (groups.extra >= 0).sum() / max(1, len(groups.extra)))
        return held, work

    def _tries(self, at: int) -> float:
        """Choices of a stage after one beginning, on average."""
        table = self.stages[at]
        share = table.allowed.mean() * table.follows.mean() if table.allowed.size else 0.0
        return float(len(table.times) * len(table.d) * share)

    def count(self) -> int:
        """All settings in the band."""
        if self.reach.least[0][0] > self.high or self.reach.most[0][0] < self.low:
            return 0
        at, points = 0, _first_point()
        while at + 2 < len(self.stages) and self._few(at, len(points)):
            points = self._extended(at, points)
            at += 1
        later: Later = Last(self.stages[-1], self.stages[-2], self.low, self.high)
        for i in range(len(self.stages) - 2, at, -1):
            later = self._backward(i, later)
        return self._sum(at, points, later)

    def _few(self, at: int, points: float) -> bool:
        """Whether it is less work to try every choice of this stage after each beginning."""
        raw = points * self._tries(at)
        return raw <= MOST_POINTS and raw * POINT_WORK <= max(FEW, self._cells(at + 1))

    def _extended(self, at: int, points: _Points) -> _Points:
        table, parts = self.stages[at], []
        room = self.high - self.reach.least[at + 1]
        need = self.low - self.reach.most[at + 1]
        for k, state in enumerate(table.state.tolist()):
            fits = points.spent + table.least[points.state, k] <= room[state]
            rows = np.flatnonzero(fits & table.allowed[points.state, k])
            row, which = np.nonzero(table.follows[points.leaves[rows]])
            row = rows[row]
            spent = points.spent[row] + table.first[points.state[row], k] + table.more[k, which]
            keep = (spent <= room[state]) & (spent >= need[state])
            leaves = table.leaves[points.leaves[row], which]
            whole = (np.full(len(row), state), leaves, spent, points.times[row] * table.times[k])
            parts.append([x[keep] for x in whole])
        columns = [np.concatenate(x) for x in zip(*parts, strict=True)]
        order = np.lexsort((columns[2], columns[0]))
        return _Points(*(x[order] for x in columns))

    def _backward(self, at: int, later: Later) -> Stored:
        """S of this stage, from that of the next."""
        table, groups, unit = self.stages[at], cost_groups(self.stages[at]), self.grid[at]
        kind = self._kind(at)
        begin, end = self.windows[at]
        classes = len(table.follows)
        stored = [np.zeros((classes, n), dtype=kind) for n in (end - begin).tolist()]
        fine = self._fine(at, groups)
        for k in range(len(groups)):
            states = np.flatnonzero((groups.extra[:, k] >= 0) & (end > begin))
            if not len(states):
                continue
            first = (begin[states] * unit + groups.extra[states, k]) // fine
            last = first + (end - begin - 1)[states] * (unit // fine)
            start = int(first.min())
            sums = self._group(at, groups, k, fine, range(start, int(last.max()) + 1), later, kind)
            for state, one, two in zip(*(x.tolist() for x in (states, first, last)), strict=True):
                stored[state] += sums[:, one - start : two - start + 1 : unit // fine]
        return Stored(stored, begin, unit)

    def _fine(self, at: int, groups: Groups) -> int:
        """The grid of what is spent before the stage and on its extra costs."""
        return math.gcd(self.grid[at], *np.unique(np.maximum(groups.extra, 0)).tolist())

    def _group(
        self, at: int, groups: Groups, k: int, fine: int, x: range, later: Later, kind: type
    ) -> Array:
        """(classes, x) count for a group's shapes; x, before `extra`, in steps of `fine`."""
        table, shapes = self.stages[at], np.flatnonzero(groups.of == k)
        spent = groups.base[shapes, None] + table.more[shapes] + x.start * fine
        sums: Array = np.zeros((len(table.follows), len(x)), dtype=kind)
        states, times = table.state[shapes].tolist(), table.times[shapes].tolist()

        def add(c: int, depths: IntArray, target: Array) -> None:
            leaves = table.leaves[c, depths].tolist()
            costs = spent[:, depths].tolist()
            asked = [
                Asked(state, leave, cost, time)
                for state, time, row in zip(states, times, costs, strict=True)
                for leave, cost in zip(leaves, row, strict=True)
            ]
            later.add_to(target, asked, fine)

        _each_class(table, sums, add)
        return sums

    def _sum(self, at: int, points: _Points, later: Later) -> int:
        """Every beginning times the ways to go on from there."""
        groups, kind = cost_groups(self.stages[at]), self._kind(at)
        fine = self._fine(at, groups)
        edges = np.searchsorted(points.state, np.arange(self.stages[at].states + 1))
        runs = [slice(a, b) for a, b in pairwise(edges.tolist())]
        begin, total = points.spent // fine, 0
        full = [state for state, run in enumerate(runs) if run.stop > run.start]
        for k in range(len(groups)):
            states = [s for s in full if groups.extra[s, k] >= 0]
            shifts = [int(groups.extra[s, k]) // fine for s in states]
            if not states:
                continue
            ends = [(begin[runs[s].start] + x, begin[runs[s].stop - 1] + x)
                    for s, x in zip(states, shifts, strict=True)]  # fmt: skip
            start, stop = int(min(a for a, _ in ends)), int(max(b for _, b in ends)) + 1
            sums = self._group(at, groups, k, fine, range(start, stop), later, kind)
            flat, length = sums.reshape(-1), stop - start
            for state, shift in zip(states, shifts, strict=True):
                run = runs[state]
                place = begin[run] + (shift - start)
                if len(sums) > 1:
                    place += points.leaves[run] * length
                total += dot(flat[place], points.times[run])
        return total


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
