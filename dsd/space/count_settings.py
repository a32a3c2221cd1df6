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
from dsd.space.count_cases import COST, TOTAL, BoolArray, Case, IntArray, cases
from dsd.space.count_dense import bounds, coarse_unit, count_all, count_band, effort
from dsd.space.count_meet import Budget, Region, TooManyError, count_lists
from dsd.space.count_tables import tables
from dsd.space.rules import Rules
from dsd.space.spec import Space

EASY_WORK, MOST_WORK = 60_000_000_000, 600_000_000_000  # additions, about 0.3 ns each
MOST_BYTES = 2_200_000_000
MOST_STEPS = 4_000_000_000  # points of lists, about 40 ns each
STEP_WORK = 100
ARRAYS, LISTS = "dynamic programming", "meeting in the middle"
ROUNDED = "dynamic programming on rounded costs"
_NEVER = 1 << 60


@dataclass(frozen=True)
class Found:
    """Settings that keep the rules on the draw, and bounds of those inside, by what methods."""

    total: int
    at_least: int
    at_most: int
    methods: tuple[str, ...]
    left_out: tuple[str, ...]


def count_settings(space: Space, regime: Regime, rules: Rules) -> Found:
    """Exact where `at_least` is `at_most`; rules that couple too much are left out and named."""
    each, left_out = cases(space, rules)
    known = list(each)
    total = at_least = at_most = 0
    methods: dict[str, None] = {}
    for case in known:
        one = _Count(space, regime, case, len(known))
        total += one.total
        least, most = one.inside()
        at_least, at_most = at_least + least, at_most + most
        methods |= dict.fromkeys(one.methods)
    found = tuple(methods) or (ARRAYS,)
    return Found(total, 0 if left_out else at_least, at_most, found, left_out)


class _Count:
    """One case: its tables by column, the region of costs, and the methods that were of use."""

    def __init__(self, space: Space, regime: Regime, case: Case, share: int) -> None:
        self.share, self.methods = share, set[str]()
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

    def _within(self, band: tuple[float, float] | None, stem: int, column: str) -> tuple[int, int]:
        """The bounds of a column for the stages alone, as whole numbers."""
        most = sum(table.most for table in self.tables[column])
        low, high = band or (0.0, math.inf)
        return math.ceil(max(low - stem, 0)), math.floor(min(high - stem, most))

    def _holds_all(self, column: str) -> bool:
        low, high = self.bounds[column]
        least = sum(int(t.least.min(initial=_NEVER)) for t in self.tables[column])
        return low <= least and high >= sum(t.most for t in self.tables[column])

    def inside(self) -> tuple[int, int]:
        """Settings in the region: at least and at most."""
        if not self.total or any(high < low for low, high in self.bounds.values()):
            return 0, 0
        if len(self.tables) == 1 and self.test is None:
            return self._one_column(next(iter(self.tables)))
        first = self._one_column(next(iter(self.tables)))
        few = first[0] <= MOST_STEPS // self.share  # each of these would be looked at
        found = self._by_lists(list(self.tables), self.test) if few else None
        if found is not None:
            return found, found
        each = [first, *(self._one_column(column) for column in list(self.tables)[1:])]
        least = sum(low for low, _ in each) - (len(each) - 1) * self.total
        return max(0, least) if self.test is None else 0, min(high for _, high in each)

    def _one_column(self, column: str) -> tuple[int, int]:
        stages, (low, high) = self.tables[column], self.bounds[column]
        if self._holds_all(column):
            return self.total, self.total
        mixed = any(table.fits is not None for table in stages)
        size, work = effort(stages, low, high)
        fits = size <= MOST_BYTES and not mixed
        if fits and work * self.share <= EASY_WORK:
            return self._said(ARRAYS, count_band(stages, low, high))
        found = self._by_lists([column], None, work // STEP_WORK if fits else MOST_STEPS)
        if found is not None:
            return found, found
        if fits and work * self.share <= MOST_WORK:
            return self._said(ARRAYS, count_band(stages, low, high))
        self.methods.add(ROUNDED)
        plain = [replace(table, fits=None) for table in stages]
        unit = coarse_unit(plain, low, high, MOST_BYTES, EASY_WORK // self.share)
        least, most = bounds(plain, low, high, unit)
        return (0, min(most, self.total)) if mixed else (least, most)

    def _said(self, method: str, number: int) -> tuple[int, int]:
        self.methods.add(method)
        return number, number

    def _by_lists(
        self,
        columns: Sequence[str],
        test: Callable[[IntArray], BoolArray] | None,
        steps: int = MOST_STEPS,
    ) -> int | None:
        """Settings in the region, or None where that takes more steps than are allowed."""
        stages = list(zip(*(self.tables[c] for c in columns), strict=True))
        region = Region(tuple(self.bounds[c] for c in columns), test)
        try:
            found = count_lists(stages, region, Budget(min(steps, MOST_STEPS // self.share)))
        except TooManyError:
            return None
        self.methods.add(LISTS)
        return found


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
