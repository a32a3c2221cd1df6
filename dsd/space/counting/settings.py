"""How many settings of a per-stage space are inside a band: each case by the way that suits it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from dsd.errors import UsageError
from dsd.net.cost import network_cost
from dsd.regime import Regime
from dsd.space.candidates import SURE, cost_of
from dsd.space.counting.cases import COST, TOTAL, BoolArray, Case, IntArray, cases
from dsd.space.counting.coarse import bounds, coarse_bounds, coarse_unit
from dsd.space.counting.dense import count_all, count_band, effort
from dsd.space.counting.meet import Budget, Region, TooManyError, count_lists
from dsd.space.counting.planes import Plane, band_plane, rule_planes
from dsd.space.counting.tables import Table, tables
from dsd.space.rules import Rules
from dsd.space.spec import Space

ADDITION_S, STEP_S = 0.3e-9, 40e-9  # what one takes, about: in arrays, and of a point of a list
COARSE_S = 180.0  # for bounds under several limits
EASY_S = 18.0  # arrays that take no longer are not worth trying lists
MOST_BYTES = 2_200_000_000
ARRAYS, LISTS = "dynamic programming", "meeting in the middle"
ROUNDED = "dynamic programming on rounded costs"
ROUNDED_LISTS = "meeting in the middle on rounded costs"
_NEVER = 1 << 60


@dataclass(frozen=True)
class Found:
    """Settings that keep the rules on the draw, and bounds of those inside, by what methods."""

    total: int
    at_least: int
    at_most: int
    methods: tuple[str, ...]
    left_out: tuple[str, ...]


def count_settings(
    space: Space, regime: Regime, rules: Rules, seconds: float,
    told: Callable[[int, int], None] = lambda done, cases: None,
) -> Found:  # fmt: skip
    """Exact where `at_least` is `at_most`; rules that couple too much are left out and named.

    `seconds` are what exact counts may take by a fixed estimate of each kind of work, so that every
    machine finds the same. What some cases leave, others get. `told` hears of each case that ends.
    """
    each, left_out = cases(space, rules)
    waiting = list(each)
    number, total, inside = len(waiting), 0, 0
    methods: dict[str, None] = {}
    progress = True
    while waiting and progress:
        still: list[Case] = []
        for at, case in enumerate(waiting):
            one = _Count(space, regime, case, number, max(0.0, seconds) / (len(waiting) - at))
            found = one.exact()
            seconds -= one.spent
            if found is None:
                still.append(case)
                continue
            total, inside = total + one.total, inside + found
            methods |= dict.fromkeys(one.methods)
            told(number - len(waiting) + at + 1 - len(still), number)
        progress, waiting = len(still) < len(waiting), still
    least = most = inside
    for case in waiting:
        one = _Count(space, regime, case, number, max(0.0, seconds) / len(waiting))
        low, high = one.bounded()
        total, least, most = total + one.total, least + low, most + high
        methods |= dict.fromkeys(one.methods)
    return Found(total, 0 if left_out else least, most, tuple(methods) or (ARRAYS,), left_out)


class _Count:
    """One of `number` cases: its tables by column, the region of costs, the methods that were of
    use, the seconds that exact counts may take and have `spent`."""

    def __init__(
        self, space: Space, regime: Regime, case: Case, number: int, seconds: float
    ) -> None:
        self.number, self.seconds, self.spent, self.methods = number, seconds, 0.0, set[str]()
        read = {x for c in case.on_cost for x in c.reads(COST) | c.reads(TOTAL)}
        stem = network_cost(regime.stem, (), space.block, 0, regime.resolution).as_dict() | {"d": 0}
        columns = list(dict.fromkeys([*_narrow_first(regime.band), *sorted(read)])) or ["flops"]
        _check_size(space, regime, case)
        self.tables = {c: tables(space, regime, case, c) for c in columns}
        self.bounds = {c: self._within(regime.band.get(c), stem[c], c) for c in columns}
        self.stages = self.tables[columns[0]]
        self.total = count_all(self.stages)
        for column in columns[1:]:  # a band that holds all is none
            if column not in read and self._holds_all(column):
                del self.tables[column]
        self.test = _test(case, list(self.tables), stem) if case.on_cost else None
        self.planes = self._planes(case, stem)

    def _planes(self, case: Case, stem: dict[str, int]) -> tuple[Plane, ...] | None:
        """All limits but those of the first column as planes, None where a rule is none."""
        columns, most = (
            list(self.tables),
            {c: sum(t.most for t in x) for c, x in self.tables.items()},
        )
        ends = {c: (max(low, _least(self.tables[c])) + stem[c], high + stem[c])
                for c, (low, high) in self.bounds.items() if c in columns}  # fmt: skip
        planes = [
            band_plane(k, len(columns), *self.bounds[c], most[c])
            for k, c in enumerate(columns[1:], start=1)
            if not self._holds_all(c)
        ]
        for condition in case.on_cost:
            found = rule_planes(condition.rule.tree, ends, columns, case.known(condition))
            if found is None:
                return None
            planes += [plane.beyond(np.array([stem[c] for c in columns])) for plane in found]
        return tuple(planes)

    def _within(self, band: tuple[float, float] | None, stem: int, column: str) -> tuple[int, int]:
        """The bounds of a column for the stages alone, as whole numbers."""
        most = sum(table.most for table in self.tables[column])
        low, high = band or (0.0, math.inf)
        return math.ceil(max(low - stem, 0)), math.floor(min(high - stem, most))

    def _holds_all(self, column: str) -> bool:
        low, high = self.bounds[column]
        return low <= _least(self.tables[column]) and high >= sum(
            t.most for t in self.tables[column]
        )

    def exact(self) -> int | None:
        """Settings in the region, or None where that takes more time than is allowed."""
        if not self.total or any(high < low for low, high in self.bounds.values()):
            return 0
        columns = list(self.tables)
        plain = self.test is None and len(columns) == 1
        if plain or self.planes is None:
            first = self._one_column(columns[0])
            if plain or first is None:
                return first
            if first * STEP_S > self.seconds:  # each of these would be tried
                return None
        return self._by_lists(columns, self.test, self.seconds)

    def bounded(self) -> tuple[int, int]:
        """At least and at most so many settings in the region."""
        region, stages = self._region(list(self.tables), self.test)
        if region.planes:
            found = coarse_bounds(stages, region, int(COARSE_S / STEP_S / self.number))
            if found is not None:
                self.methods.add(ROUNDED_LISTS)
                return found[0], min(found[1], self._bounds_of(next(iter(self.tables)))[1])
        return self._by_columns()

    def _by_columns(self) -> tuple[int, int]:
        """From each column alone."""
        each = [self._bounds_of(column) for column in self.tables]
        least = sum(low for low, _ in each) - (len(each) - 1) * self.total
        return max(0, least) if self.test is None else 0, min(high for _, high in each)

    def _one_column(self, column: str) -> int | None:
        """Settings within the column's own bounds."""
        stages, (low, high) = self.tables[column], self.bounds[column]
        if self._holds_all(column):
            return self.total
        size, work = effort(stages, low, high)
        needs = work * ADDITION_S
        if size > MOST_BYTES or any(table.fits is not None for table in stages):
            needs = math.inf
        found = None
        if needs * self.number > EASY_S:
            found = self._by_lists([column], None, min(needs, self.seconds))
        if found is not None or needs > max(self.seconds, EASY_S / self.number):
            return found
        self.spent += needs
        self.methods.add(ARRAYS)
        return count_band(stages, low, high)

    def _bounds_of(self, column: str) -> tuple[int, int]:
        exact = self._one_column(column)
        if exact is not None:
            return exact, exact
        self.methods.add(ROUNDED)
        stages, (low, high) = self.tables[column], self.bounds[column]
        plain = [replace(table, fits=None) for table in stages]
        unit = coarse_unit(plain, low, high, MOST_BYTES, int(EASY_S / ADDITION_S / self.number))
        least, most = bounds(plain, low, high, unit)
        mixed = any(table.fits is not None for table in stages)
        return (0, min(most, self.total)) if mixed else (least, most)

    def _region(
        self, columns: Sequence[str], test: Callable[[IntArray], BoolArray] | None
    ) -> tuple[Region, list[tuple[Table, ...]]]:
        """Of these columns, with the stages' tables."""
        stages = list(zip(*(self.tables[c] for c in columns), strict=True))
        planes = self.planes if len(columns) > 1 or test is not None else None
        return Region(tuple(self.bounds[c] for c in columns), test, planes), stages

    def _by_lists(
        self, columns: Sequence[str], test: Callable[[IntArray], BoolArray] | None, seconds: float
    ) -> int | None:
        """Settings in the region, or None where that takes more time than is allowed."""
        region, stages = self._region(columns, test)
        steps = int(seconds / STEP_S)
        budget = Budget(steps)
        try:
            found = count_lists(stages, region, budget)
        except TooManyError:
            return None
        finally:
            self.spent += (steps - budget.left) * STEP_S
        self.methods.add(LISTS)
        return found


def _least(stages: Sequence[Table]) -> int:
    """The lowest cost of the stages."""
    return sum(int(table.least.min(initial=_NEVER)) for table in stages)


def _check_size(space: Space, regime: Regime, case: Case) -> None:
    """Raises UsageError where costs outgrow 64 bits."""
    d = [int(depths.max(initial=1)) for depths in case.depths]
    w, g = ([int(s[x].max(initial=1)) for s in case.shapes] for x in ("built_w", "built_g"))
    b = [float(s["built_b"].min(initial=1)) for s in case.shapes]
    most = cost_of(space, regime, (d, w, b, g), regime.resolution).as_dict()
    column = max(most, key=lambda name: most[name])
    if most[column] >= SURE:
        raise UsageError(f"Networks of space '{space.name}' have up to {most[column]:.1e} {column} "
                         f"at {regime.resolution} px, more than 64 bits can count; fewer or "
                         "narrower blocks would work.")  # fmt: skip


def _narrow_first(band: dict[str, tuple[float, float]]) -> list[str]:
    """The band's columns, the narrowest first: it shortens the lists most."""
    return sorted(band, key=lambda column: 1 - band[column][0] / max(1.0, band[column][1]))


def _test(case: Case, columns: Sequence[str], stem: dict[str, int]) -> Callable[..., BoolArray]:
    """The rules on cost, over the stages' cost (columns, n)."""

    def holds(cost: IntArray) -> BoolArray:
        whole = {c: x + stem[c] for c, x in zip(columns, cost, strict=True)}
        env = {COST: whole, TOTAL: whole}
        found = [case.holds(condition, env) for condition in case.on_cost]
        return np.asarray(np.logical_and.reduce(found))

    return holds
