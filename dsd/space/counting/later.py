"""What the stages from one on still offer: S of `dsd.space.counting.dense`, stored or computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsd.space.counting.tables import IntArray, Table

Array = NDArray[Any]
JUMP_WORK = 16  # a look-up at one point costs about as much as 16 additions in a row
_NOTHING: Array = np.zeros((0, 0))


@dataclass(frozen=True)
class Asked:
    """What the next stage is asked for: `times` S after this state and class, and this spent."""

    state: int
    leaves: int
    spent: int
    times: int


class Stored:
    """S as arrays on a grid, each from its `begin` on; 0 elsewhere. Who reads every r-th value has
    them lie together: the phases of a state take the place of its array when it is first read."""

    def __init__(self, values: list[Array], begin: IntArray, unit: int) -> None:
        self.values, self.begin, self.unit = values, begin.tolist(), unit
        self.phases: dict[int, list[Array]] = {}

    def add_to(self, target: Array, asked: Sequence[Asked], grid: int) -> None:
        """Add the counts for x * grid spent before, at each x of `target`; always of one grid."""
        ratio = grid // self.unit
        for ask in asked:
            whole, phase = divmod(ask.spent // self.unit - self.begin[ask.state], ratio)
            if ask.state not in self.phases:
                values, self.values[ask.state] = self.values[ask.state], _NOTHING
                parts = (values[:, first::ratio] for first in range(ratio))
                self.phases[ask.state] = [np.ascontiguousarray(part) for part in parts]
            _add(target, self.phases[ask.state][phase][ask.leaves], whole, ask.times)


class Last:
    """S of the last stage, computed where it is asked for: its choices sorted into the grid."""

    def __init__(self, table: Table, before: Table, low: int, high: int) -> None:
        self.table, self.low, self.high = table, low, high
        self.known: dict[tuple[int, int, int], Array] = {}
        self.choices: dict[tuple[int, int], tuple[IntArray, IntArray]] = {}
        share = table.allowed.mean() * table.follows.mean() if table.allowed.size else 0.0
        self.jumps = len(table.times) * len(table.d) * share
        asked = max(1, len(before.times) * len(before.d))
        self.uses = asked / (table.states * len(table.follows))

    def add_to(self, target: Array, asked: Sequence[Asked], grid: int) -> None:
        """Add the counts for x * grid spent before, at each x of `target`.

        Where choices are few, all at once: each opens and closes a run of x; runs are summed last.
        """
        if asked and self.jumps * JUMP_WORK < len(target) * (1 + 8 / self.uses):
            found = [(*self._choices(ask.state, ask.leaves), ask) for ask in asked]
            cost = np.concatenate([cost + ask.spent for cost, _, ask in found])
            runs = self._runs(cost, np.concatenate([t * ask.times for _, t, ask in found]), grid)
            _add(target, runs.astype(target.dtype), 0, 1)
            return
        for ask in asked:
            whole, phase = divmod(ask.spent, grid)
            key = ask.state, ask.leaves, phase
            if key not in self.known:
                cost, times = self._choices(ask.state, ask.leaves)
                self.known[key] = self._runs(cost + phase, times, grid).astype(target.dtype)
            _add(target, self.known[key], whole, ask.times)

    def _choices(self, state: int, leaves: int) -> tuple[IntArray, IntArray]:
        """Cost and times of each choice."""
        if (state, leaves) not in self.choices:
            table, shapes = self.table, np.flatnonzero(self.table.allowed[state])
            more = table.more[np.ix_(shapes, np.flatnonzero(table.follows[leaves]))]
            cost = table.first[state, shapes][:, None] + more
            times = np.broadcast_to(table.times[shapes][:, None], cost.shape)[cost <= self.high]
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


Later = Stored | Last


def _add(target: Array, values: Array, start: int, times: int) -> None:
    """Add to `target` what lies from `start` on in `values`: before their beginning they are 0."""
    target, values = target[max(0, -start) :], values[max(0, start) :]
    size = min(len(target), len(values))
    target[:size] += values[:size] if times == 1 else values[:size] * times
