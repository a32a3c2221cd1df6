"""The stages of a per-stage space as tables: choices, what each costs, and what may follow what.

A choice is a depth d and a shape (w, b, g). Of all that was drawn before, a stage needs to know
the previous stage's state alone: its buildable width, and what the rules between them read. Rules
that couple more are met by cases (`dsd.space.counting.cases`), inside which they couple less.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsd.errors import UsageError
from dsd.net.arch import Stage
from dsd.net.cost import network_cost
from dsd.regime import Regime
from dsd.space.counting.cases import DEPTH, SHAPE, Case, Condition, IntArray, Shapes
from dsd.space.spec import Space

BoolArray = NDArray[np.bool_]
MOST_STEPS = 100_000_000  # from a state to a shape, in one table


@dataclass(frozen=True)
class Table:
    """One stage: m shapes after any of s previous states, nd depths after any of c classes.

    times (m,): draws that make the shape; first (s, m): cost of a stage of one block; more (m, nd):
    of its further blocks; allowed (s, m); state (m,): state that the shape leaves; d (nd,);
    follows (c, nd): depths allowed after earlier depths of a class; leaves (c, nd): class then;
    fits (m, nd): depths that a rule allows the shape, None where it allows all.
    """

    times: IntArray
    first: IntArray
    more: IntArray
    allowed: BoolArray
    state: IntArray
    d: IntArray
    follows: BoolArray
    leaves: IntArray
    fits: BoolArray | None = None

    @cached_property
    def least(self) -> IntArray:
        """(s, m) cost with the fewest blocks."""
        return self.first + (self.more.min(axis=1) if len(self.d) else 0)

    @property
    def most(self) -> int:
        """The highest cost."""
        return int((self.first + self.more.max(axis=1, initial=0)).max(initial=0))

    @property
    def choices(self) -> int:
        """Draws of the stage, whatever came before."""
        return int(self.times.sum()) * len(self.d)

    @property
    def states(self) -> int:
        """Previous states."""
        return len(self.first)

    def take(self, shapes: BoolArray) -> Table:
        """The stage with these shapes alone."""
        return replace(
            self,
            times=self.times[shapes],
            first=self.first[:, shapes],
            more=self.more[shapes],
            allowed=self.allowed[:, shapes],
            state=self.state[shapes],
        )


def tables(space: Space, regime: Regime, case: Case, column: str) -> list[Table]:
    """The stages of a case, costs in `column`. The stem is a previous stage of one state."""
    classes = _classes(case)
    found, before = [], _Before(np.array([regime.stem.width]), None)
    for i in range(space.stages):
        shapes = case.shapes[i]
        pairs = case.on((i, SHAPE), (i + 1, SHAPE))
        if len(before.widths) * len(shapes["w"]) > MOST_STEPS:
            raise UsageError(f"Stage {i + 1} of space '{space.name}' has {len(shapes['w']):,} "
                             f"choices after {len(before.widths):,} of the stage before: too many "
                             "to count. Larger steps would work.")  # fmt: skip
        one, leaving = _states(shapes, i, pairs, last=i + 1 == space.stages)
        allowed = before.allowed(case, i)
        fits = case.grid((i, SHAPE), (i, DEPTH))
        keys = [shapes["built_w"], shapes["built_b"], shapes["built_g"], leaving, _kinds(allowed)]
        keys += [] if fits is None else [_kinds(fits.T)]
        rows, at, times = np.unique(np.vstack(keys), axis=1, return_index=True, return_counts=True)
        first, other = _costs(space, regime, column, i, before.widths, rows)
        found.append(
            Table(
                times,
                first,
                other[:, None] * (case.depths[i] - 1),
                allowed[:, at],
                leaving[at],
                case.depths[i],
                *classes[i],
                None if fits is None else fits[at],
            )
        )
        before = _Before(shapes["built_w"][one], (i, {k: x[one] for k, x in shapes.items()}, pairs))
    return found


@dataclass(frozen=True)
class _Before:
    """The states that a stage may find: buildable widths, and a shape of each with its rules."""

    widths: IntArray
    shapes: tuple[int, Shapes, list[Condition]] | None

    def allowed(self, case: Case, at: int) -> BoolArray:
        """(s, m) which shapes of the stage may follow each state."""
        there = case.shapes[at]
        size = len(there["w"])
        holds = np.ones((len(self.widths), size), dtype=bool)
        if self.shapes is None or not self.shapes[2]:
            return holds
        before, here, pairs = self.shapes
        a, b = (x.ravel() for x in np.indices(holds.shape))
        one, other = (before, SHAPE), (at, SHAPE)
        for condition in pairs:
            env = {
                one: {k: here[k][a] for k in condition.reads(one)},
                other: {k: there[k][b] for k in condition.reads(other)},
            }
            holds &= case.holds(condition, env).reshape(holds.shape)
        return holds


def _states(
    shapes: Shapes, at: int, pairs: Sequence[Condition], last: bool
) -> tuple[IntArray, IntArray]:
    """Index of one shape of each state that can be left, and the state of each shape."""
    names = {name for pair in pairs for name in pair.reads((at, SHAPE))}
    columns = [shapes[name] for name in sorted(names | (set() if last else {"built_w"}))]
    columns = columns or [np.zeros(len(shapes["w"]))]
    _, one, place = np.unique(np.vstack(columns), axis=1, return_index=True, return_inverse=True)
    return one, place.ravel()


def _kinds(columns: BoolArray) -> IntArray:
    """(m,) equal numbers for equal columns of (n, m)."""
    packed = np.packbits(columns, axis=0)
    return np.unique(packed, axis=1, return_inverse=True)[1].ravel()


def _classes(case: Case) -> list[tuple[BoolArray, IntArray]]:
    """Per stage `follows` and `leaves` of a Table: earlier depths are one class if no rule on
    depths can tell them apart any more."""
    stages = [(at, DEPTH) for at in range(len(case.depths))]
    reached = _reached(case, [case.grid(*pair) for pair in pairwise(stages)])
    number = dict.fromkeys(reached[-1], 0)
    found: list[tuple[BoolArray, IntArray]] = []
    for nodes, d in zip(reached[-2::-1], case.depths[::-1], strict=True):
        rows = {node: [number.get(after, -1) for after in nodes[node]] for node in nodes}
        alive = {tuple(row) for row in rows.values() if max(row, default=-1) >= 0}
        kinds = sorted(alive, key=lambda row: (sum(x >= 0 for x in row), row))
        places = {row: k for k, row in enumerate(kinds)}
        number = {n: places[tuple(row)] for n, row in rows.items() if tuple(row) in alive}
        leaves = np.array(kinds, dtype=np.int64).reshape(-1, len(d))
        found.insert(0, (leaves >= 0, np.maximum(leaves, 0)))
    return found


_Node = tuple[int, int]  # place of the last depth where it matters, total depth where that does
_NOWHERE = (-1, -1)


def _reached(case: Case, pairs: Sequence[BoolArray | None]) -> list[dict[_Node, list[_Node]]]:
    """Per stage, what earlier depths may have left, and what each depth of the stage makes of it;
    after the last stage only what the rules on the total accept."""
    levels: list[dict[_Node, list[_Node]]] = []
    nodes = [(0, 0)]
    for at, d in enumerate(case.depths):
        before = pairs[at - 1] if at else None
        keeps = at < len(pairs) and pairs[at] is not None
        level = {}
        for last, total in nodes:
            ok = np.ones(len(d), dtype=bool) if before is None else before[last]
            sums = total + d if case.total_depth else np.zeros_like(d)
            ok = ok & case.total_holds(sums) if at + 1 == len(case.depths) else ok
            steps = zip(range(len(d)), sums.tolist(), ok.tolist(), strict=True)
            level[last, total] = [(k * keeps, t) if good else _NOWHERE for k, t, good in steps]
        nodes = sorted({after for row in level.values() for after in row} - {_NOWHERE})
        levels.append(level)
    return [*levels, {node: [] for node in nodes}]


def _costs(
    space: Space, regime: Regime, column: str, at: int, w_in: IntArray, rows: NDArray[Any]
) -> tuple[IntArray, IntArray]:
    """Cost of a stage of one block (s, m), and of each further block (m,), in `column`.

    They are differences between whole networks, whose previous stages all have width `w_in`; the
    last stage pays for the head. The total depth d is a cost, too: one a block.
    """
    if column == "d":
        return np.ones((len(w_in), rows.shape[1]), dtype=np.int64), np.ones_like(rows[0], int)
    strides = regime.strides or (2,) * space.stages
    before = [Stage(1, w_in[:, None], 1, 1, stride) for stride in strides[:at]]  # type: ignore[arg-type]
    w, b, g = rows[0].astype(np.int64), rows[1], rows[2].astype(np.int64)
    classes = regime.classes if at + 1 == space.stages else 0

    def network(stages: Sequence[Stage], classes: int) -> IntArray:
        cost = network_cost(regime.stem, stages, space.block, classes, regime.resolution)
        return np.atleast_2d(cost.as_dict()[column])

    one, two = (network([*before, Stage(d, w, b, g, strides[at])], classes) for d in (1, 2))
    return one - network(before, 0), (two - one)[0]
