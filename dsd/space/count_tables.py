"""The stages of a per-stage space as tables: choices, what each costs, and what may follow what.

A choice is a depth d and a shape (w, b, g). Of all that was drawn before, a stage needs to know
the previous stage's state alone: its buildable width, and what the rules between them read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsd.net.arch import Stage
from dsd.net.cost import network_cost
from dsd.net.groups import Stages, buildable
from dsd.regime import Regime
from dsd.space.chain import Chain
from dsd.space.expression import Expression
from dsd.space.rules import Rules
from dsd.space.spec import Space

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
Shapes = dict[str, NDArray[Any]]  # drawn w, b, g, and what is built of them: built_w, built_b, ..
SHAPE = ("w", "b", "g")
_STAGE_COLUMN = re.compile(r"([dwbg])\d*$")


@dataclass(frozen=True)
class Table:
    """One stage: m shapes after any of s previous states, nd depths after any of c classes.

    times (m,): draws that make the shape; first (s, m): cost of a stage of one block; other (m,):
    of each further block; allowed (s, m); state (m,): state that the shape leaves; d (nd,);
    follows (c, nd): depths allowed after earlier depths of a class; leaves (c, nd): class then.
    """

    times: IntArray
    first: IntArray
    other: IntArray
    allowed: BoolArray
    state: IntArray
    d: IntArray
    follows: BoolArray
    leaves: IntArray

    @cached_property
    def least(self) -> IntArray:
        """(s, m) cost with the fewest blocks."""
        return self.first + (self.d.min(initial=1) - 1) * self.other

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
            other=self.other[shapes],
            allowed=self.allowed[:, shapes],
            state=self.state[shapes],
        )


@dataclass(frozen=True)
class _Test:
    """A condition on the columns of one stage (`reach` 0), or of a stage and the next (1)."""

    at: int
    reach: int
    reads: tuple[str, ...]
    holds: Callable[[Sequence[Shapes]], BoolArray]


@dataclass(frozen=True)
class Conditions:
    """The rules sorted by what they couple; `left_out` are those that couple more than that."""

    tests: tuple[_Test, ...]
    total_depth: tuple[Expression, ...]
    left_out: tuple[str, ...]


def conditions(space: Space, rules: Rules) -> Conditions:
    """Chains and tested rules, as tests of a stage, of two neighbours, or of the total depth."""
    tests = [t for name, c in rules.chains.items() if not c.shared for t in _of_chain(name, c)]
    total: list[Expression] = []
    left: dict[str, None] = {}
    for rule, prefix in [*((r, "") for r in rules.drawn), *((r, "built_") for r in rules.built)]:
        if not rule.neighbors and rule.names == {"d"}:
            total.append(rule)
            continue
        found = _of_rule(rule, prefix, space.stages)
        tests += found or []
        if found is None:
            left[rule.text] = None
    return Conditions(tuple(tests), tuple(total), tuple(left))


def _of_chain(name: str, chain: Chain) -> Iterator[_Test]:
    def holds(allowed: BoolArray, at: int) -> Callable[[Sequence[Shapes]], BoolArray]:
        def test(shapes: Sequence[Shapes]) -> BoolArray:
            places = (
                np.searchsorted(chain.draws[at + k].values, s[name]) for k, s in enumerate(shapes)
            )
            return np.asarray(allowed[tuple(places)])

        return test

    for at, mask in enumerate(chain.masks):
        if not mask.all():
            yield _Test(at, 0, (name,), holds(mask, at))
    for at, pair in enumerate(chain.pairs):
        if pair is not None:
            yield _Test(at, 1, (name,), holds(pair, at))


def _of_rule(rule: Expression, prefix: str, stages: int) -> list[_Test] | None:
    """The rule as tests; None where it couples more than one parameter table can tell."""
    matches = [_STAGE_COLUMN.match(name) for name in rule.names | rule.neighbors]
    letters = {m[1] for m in matches if m}
    places = _places(rule, stages)
    if not all(matches) or places is None or ("d" in letters and len(letters) > 1):
        return None
    reads = tuple(sorted(x if x == "d" else prefix + x for x in letters))
    starts, reach, numbers = places

    def holds(shapes: Sequence[Shapes]) -> BoolArray:
        columns = {
            f"{read[-1]}{number}": shape[read]
            for number, shape in zip(numbers, shapes, strict=True)
            for read in reads
        }
        size = max(len(column) for column in columns.values())
        return rule(columns, reach + 1) & np.ones(size, dtype=bool)

    return [_Test(at, reach, reads, holds) for at in starts]


def _places(rule: Expression, stages: int) -> tuple[range, int, list[int]] | None:
    """First stages at which the rule applies, its reach, and the numbers its columns bear there."""
    if rule.neighbors:
        fits = not rule.names and rule.reach <= 1
        numbers = list(range(1, rule.reach + 2))
        return (range(stages - rule.reach), rule.reach, numbers) if fits else None
    if rule.names <= set(SHAPE):
        return range(stages), 0, [1]
    numbers = sorted({int(name[1:]) for name in rule.names if name[1:].isdigit()})
    if not all(name[1:].isdigit() for name in rule.names) or not 1 <= len(numbers) <= 2:
        return None
    reach = numbers[-1] - numbers[0]
    return (range(numbers[0] - 1, numbers[0]), reach, numbers) if reach < 2 else None


def tables(
    space: Space, regime: Regime, rules: Rules, known: Conditions, column: str
) -> Iterator[list[Table]]:
    """One list of stage tables, costs in `column`, for each value of what the stages share."""
    shared = [name for name, chain in rules.chains.items() if chain.shared]
    for values in product(*(rules.chains[name].allowed[0] for name in shared)):
        given = dict(zip(shared, values, strict=True))
        yield list(_stage_tables(space, regime, known, column, given))


def _stage_tables(
    space: Space, regime: Regime, known: Conditions, column: str, given: Mapping[str, float]
) -> Iterator[Table]:
    """Stage by stage. The stem is a previous stage of one state."""
    shapes = [_shapes(space, known, given, i) for i in range(space.stages)]
    depths = [_depths(space, known, given, i) for i in range(space.stages)]
    widths: IntArray = np.array([regime.stem.width])
    before: tuple[BoolArray, IntArray] | None = None
    classes = _classes(depths, known)
    for i in range(space.stages):
        pairs = [t for t in known.tests if t.at == i and t.reach == 1]
        of_shape = [t for t in pairs if t.reads != ("d",)]
        leaving = _keys(shapes[i], of_shape, ["built_w"] if i + 1 < space.stages else [])
        allowed, arrival = before or (
            np.ones((1, 1), dtype=bool),
            np.zeros(len(shapes[i]["w"]), int),
        )
        built = np.stack([shapes[i][f"built_{p}"] for p in SHAPE])
        rows, one, times = np.unique(
            np.vstack([built, leaving.place, arrival]),
            axis=1,
            return_index=True,
            return_counts=True,
        )
        first, other = _costs(space, regime, column, i, widths, rows)
        yield Table(
            times,
            first,
            other,
            allowed[:, arrival[one]],
            leaving.place[one],
            depths[i],
            *classes[i],
        )
        if i + 1 < space.stages:
            widths = shapes[i]["built_w"][leaving.one]
            before = _transitions(shapes[i], shapes[i + 1], leaving, of_shape)


@dataclass(frozen=True)
class _Keys:
    """What shapes are told apart by: index of one shape of each kind, and the kind of each."""

    one: IntArray
    place: IntArray


def _keys(shapes: Shapes, tests: Sequence[_Test], also: Sequence[str]) -> _Keys:
    names = sorted({name for test in tests for name in test.reads} | set(also))
    columns = [shapes[name] for name in names] or [np.zeros(len(shapes["w"]))]
    _, one, place = np.unique(np.vstack(columns), axis=1, return_index=True, return_inverse=True)
    return _Keys(one, place.ravel())


def _transitions(
    here: Shapes, there: Shapes, leaving: _Keys, tests: Sequence[_Test]
) -> tuple[BoolArray, IntArray]:
    """Which kind of shape may follow each state (states, kinds), and the kind of each shape."""
    arriving = _keys(there, tests, [])
    a, b = (x.ravel() for x in np.meshgrid(leaving.one, arriving.one, indexing="ij"))
    both = [{k: x[a] for k, x in here.items()}, {k: x[b] for k, x in there.items()}]
    holds = np.ones(len(a), dtype=bool)
    for test in tests:
        holds &= test.holds(both)
    return holds.reshape(len(leaving.one), -1), arriving.place


def _shapes(space: Space, known: Conditions, given: Mapping[str, float], at: int) -> Shapes:
    """Every (w, b, g) that a stage may draw, with what is built of it."""
    values = [_values(space, given, p, at) for p in SHAPE]
    w, b, g = (x.ravel() for x in np.meshgrid(*values, indexing="ij"))
    whole = [np.rint(x).astype(np.int64)[:, None] for x in (w, g)]
    built = buildable(Stages(np.ones_like(whole[0]), whole[0], b[:, None], whole[1]), space.block)
    shapes = {"w": w, "b": b, "g": g, "built_w": built.w[:, 0], "built_b": built.b[:, 0]}
    shapes["built_g"] = built.g[:, 0]
    holds = np.ones(len(w), dtype=bool)
    for test in known.tests:
        if (test.at, test.reach) == (at, 0) and test.reads != ("d",):
            holds &= test.holds([shapes])
    return {name: x[holds] for name, x in shapes.items()}


def _depths(space: Space, known: Conditions, given: Mapping[str, float], at: int) -> IntArray:
    d = _values(space, given, "d", at)
    for test in known.tests:
        if (test.at, test.reach, test.reads) == (at, 0, ("d",)):
            d = d[test.holds([{"d": d}])]
    return np.rint(d).astype(np.int64)


def _values(space: Space, given: Mapping[str, float], name: str, at: int) -> NDArray[np.float64]:
    return np.array([given[name]]) if name in given else space.draws[name][at].values


def _classes(depths: Sequence[IntArray], known: Conditions) -> list[tuple[BoolArray, IntArray]]:
    """Per stage `follows` and `leaves` of a Table: earlier depths are one class if no rule on
    depths can tell them apart any more."""
    pairs = [_depth_pairs(depths, at, known) for at in range(len(depths) - 1)]
    reached = _reached(depths, pairs, known)
    number = dict.fromkeys(reached[-1], 0)
    found: list[tuple[BoolArray, IntArray]] = []
    for nodes, d in zip(reached[-2::-1], depths[::-1], strict=True):
        rows = {node: [number.get(after, -1) for after in nodes[node]] for node in nodes}
        alive = {tuple(row) for row in rows.values() if max(row, default=-1) >= 0}
        kinds = sorted(alive, key=lambda row: (sum(x >= 0 for x in row), row))
        number = {n: kinds.index(tuple(row)) for n, row in rows.items() if tuple(row) in alive}
        leaves = np.array(kinds, dtype=np.int64).reshape(-1, len(d))
        found.insert(0, (leaves >= 0, np.maximum(leaves, 0)))
    return found


_Node = tuple[int, int]  # place of the last depth where it matters, total depth where that does
_NOWHERE = (-1, -1)


def _reached(
    depths: Sequence[IntArray], pairs: Sequence[BoolArray | None], known: Conditions
) -> list[dict[_Node, list[_Node]]]:
    """Per stage, what earlier depths may have left, and what each depth of the stage makes of it;
    after the last stage only what the rules on the total accept."""
    levels: list[dict[_Node, list[_Node]]] = []
    nodes = [(0, 0)]
    for at, d in enumerate(depths):
        before = pairs[at - 1] if at else None
        keeps = at < len(pairs) and pairs[at] is not None
        level = {}
        for last, total in nodes:
            ok = np.ones(len(d), dtype=bool) if before is None else before[last]
            sums = total + d if known.total_depth else np.zeros_like(d)
            ok = ok & _total_holds(known, sums) if at + 1 == len(depths) else ok
            steps = zip(range(len(d)), sums.tolist(), ok.tolist(), strict=True)
            level[last, total] = [(k * keeps, t) if good else _NOWHERE for k, t, good in steps]
        nodes = sorted({after for row in level.values() for after in row} - {_NOWHERE})
        levels.append(level)
    return [*levels, {node: [] for node in nodes}]


def _total_holds(known: Conditions, total: IntArray) -> BoolArray:
    holds = np.ones(len(total), dtype=bool)
    for rule in known.total_depth:
        holds &= rule({"d": total}, 1)
    return holds


def _depth_pairs(depths: Sequence[IntArray], at: int, known: Conditions) -> BoolArray | None:
    """Which depths of the next stage may follow which of this; None where all may."""
    tests = [t for t in known.tests if (t.at, t.reach, t.reads) == (at, 1, ("d",))]
    if not tests:
        return None
    a, b = (x.ravel() for x in np.meshgrid(depths[at], depths[at + 1], indexing="ij"))
    holds = np.logical_and.reduce([test.holds([{"d": a}, {"d": b}]) for test in tests])
    return np.asarray(holds).reshape(len(depths[at]), -1)


def _costs(
    space: Space, regime: Regime, column: str, at: int, w_in: IntArray, rows: NDArray[Any]
) -> tuple[IntArray, IntArray]:
    """Cost of a stage of one block (s, m), and of each further block (m,), in `column`.

    They are differences between whole networks, whose previous stages all have width `w_in`; the
    last stage pays for the head.
    """
    strides = regime.strides or (2,) * space.stages
    before = [Stage(1, w_in[:, None], 1, 1, stride) for stride in strides[:at]]  # type: ignore[arg-type]
    w, b, g = rows[0].astype(np.int64), rows[1], rows[2].astype(np.int64)
    classes = regime.classes if at + 1 == space.stages else 0

    def network(stages: Sequence[Stage], classes: int) -> IntArray:
        cost = network_cost(regime.stem, stages, space.block, classes, regime.resolution)
        return np.atleast_2d(cost.as_dict()[column])

    one, two = (network([*before, Stage(d, w, b, g, strides[at])], classes) for d in (1, 2))
    return one - network(before, 0), (two - one)[0]
