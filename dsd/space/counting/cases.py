"""The rules of a per-stage space, sorted by what they couple, and the cases that uncouple them.

A part is the depth or the shape (w, b, g) of one stage. Within a case (a value of what the stages
share, and of the parts that far rules read) every rule couples one stage, two neighbouring depths,
two neighbouring shapes, the total depth, or the cost alone: what counting can follow.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsd.net.groups import Stages, buildable
from dsd.space.expression import Expression, by_stage
from dsd.space.rules import COSTS, Rules, reads_network, stage_column
from dsd.space.spec import Space

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
Shapes = dict[str, NDArray[Any]]  # drawn w, b, g, and what is built of them: built_w, built_b, ..
Part = tuple[int, str]
Env = Mapping[Part, Shapes]  # values of parts, (n,) each
DEPTH, SHAPE = "depth", "shape"
TOTAL, COST = (-1, DEPTH), (-1, "cost")
MOST_CASES = 256
MOST_OUTCOMES = 20_000_000


@dataclass(frozen=True)
class Condition:
    """A rule at one place, read on the draw or on what is built of it; `text` is the whole rule."""

    rule: Expression
    built: bool
    text: str

    @property
    def parts(self) -> frozenset[Part]:
        """What it couples."""
        return frozenset(map(_part, self.rule.names))

    def columns(self) -> dict[str, tuple[Part, str]]:
        """For each name that the rule reads, a part and its column."""
        return {name: (_part(name), self._column(name)) for name in self.rule.names}

    def reads(self, part: Part) -> set[str]:
        """The columns it reads of a part."""
        return {column for one, column in self.columns().values() if one == part}

    def holds(self, env: Env) -> BoolArray:
        """Whether it holds for each of n values of the parts it couples."""
        columns = {name: env[part][column] for name, (part, column) in self.columns().items()}
        size = max(len(column) for column in columns.values())
        return self.rule(columns, 1) & np.ones(size, dtype=bool)

    def _column(self, name: str) -> str:
        letter, stage = stage_column(name)
        return f"built_{letter}" if self.built and stage >= 0 and letter != "d" else letter


def _part(name: str) -> Part:
    letter, stage = stage_column(name)
    if stage >= 0:
        return (stage, DEPTH if letter == "d" else SHAPE)
    return COST if name in COSTS else TOTAL


def conditions(space: Space, rules: Rules) -> list[Condition]:
    """Every rule wherever it applies, once on the draw and once on what is built."""
    return [
        Condition(part, built, rule.text)
        for rule in rules.all
        for built in (False, True)
        if (reads_network(rule) if built else not rule.names & set(COSTS))
        for part in by_stage(rule, space.stages)
    ]


@dataclass(frozen=True)
class Case:
    """Shapes and depths of each stage, and the conditions between them.

    near: conditions that can be followed as they are; far: those that can be once `fixed` is known,
    one value of each part whose values in this case are all alike to the far conditions.
    """

    shapes: tuple[Shapes, ...]
    depths: tuple[IntArray, ...]
    near: tuple[Condition, ...]
    far: tuple[Condition, ...] = ()
    fixed: Env = field(default_factory=dict)

    def free(self, condition: Condition) -> frozenset[Part]:
        """What a condition couples here."""
        return condition.parts - (set(self.fixed) if condition in self.far else set())

    def on(self, *parts: Part) -> list[Condition]:
        """The conditions that couple just these parts."""
        return [c for c in (*self.near, *self.far) if self.free(c) == set(parts)]

    def holds(self, condition: Condition, env: Env) -> BoolArray:
        """Whether a condition holds for each of n values of its free parts."""
        return condition.holds({**self.fixed, **env})

    def values(self, part: Part) -> Shapes:
        """The columns of a part."""
        at, kind = part
        return {"d": self.depths[at]} if kind == DEPTH else self.shapes[at]

    def take(self, part: Part, rows: BoolArray | IntArray) -> Case:
        """With these values of a part alone."""
        at, kind = part
        if kind == DEPTH:
            depths = [*self.depths[:at], self.depths[at][rows], *self.depths[at + 1 :]]
            return replace(self, depths=tuple(depths))
        shape = {name: x[rows] for name, x in self.shapes[at].items()}
        return replace(self, shapes=(*self.shapes[:at], shape, *self.shapes[at + 1 :]))

    def known(self, condition: Condition) -> dict[str, float]:
        """What is fixed of the names that a condition reads."""
        return {
            name: float(self.fixed[part][column][0])
            for name, (part, column) in condition.columns().items()
            if part in self.fixed
        }

    @property
    def possible(self) -> bool:
        """Whether every stage has a depth and a shape."""
        return all(map(len, self.depths)) and all(len(shape["w"]) for shape in self.shapes)

    @property
    def total_depth(self) -> list[Condition]:
        """Conditions on the total depth."""
        return self.on(TOTAL)

    @property
    def on_cost(self) -> list[Condition]:
        """Conditions on the cost, and on the total depth with it."""
        return [*self.on(COST), *self.on(COST, TOTAL)]

    def total_holds(self, total: IntArray) -> BoolArray:
        """Which total depths the rules accept."""
        env = {TOTAL: {"d": total}}
        holds = [self.holds(condition, env) for condition in self.total_depth]
        return np.logical_and.reduce([np.ones(len(total), dtype=bool), *holds])

    def grid(self, one: Part, two: Part) -> BoolArray | None:
        """Which values of part `two` go with which of `one`, (ones, twos); None where all do."""
        tests = self.on(one, two)
        if not tests:
            return None
        rows, columns = self.values(one), self.values(two)
        shape = (_size(rows), _size(columns))
        a, b = (x.ravel() for x in np.indices(shape))
        env = {one: _at(rows, a), two: _at(columns, b)}
        return np.logical_and.reduce([self.holds(t, env) for t in tests]).reshape(shape)


def cases(space: Space, rules: Rules) -> tuple[Iterator[Case], tuple[str, ...]]:
    """The cases that together make the space, and the rules that would need too many of them."""
    known = conditions(space, rules)
    shared = [name for name, chain in rules.chains.items() if chain.shared]
    values = [rules.chains[name].allowed[0] for name in shared]
    parts, far, left_out = _to_fix(space, known)
    kept = [c for c in known if c.text not in left_out]

    def each() -> Iterator[Case]:
        for chosen in product(*values):
            case = _whole(space, kept, far, dict(zip(shared, chosen, strict=True)))
            yield from (found for found in _split(case, parts) if found.possible)

    return each(), left_out


def _to_fix(
    space: Space, known: Sequence[Condition]
) -> tuple[list[Part], list[Condition], tuple[str, ...]]:
    """The parts whose values make the cases, the conditions that need them, and rules left out.

    Rules are left out, last first, until few cases do. A rule on depth and shape of one stage needs
    none, but counts faster with them.
    """
    texts = list(dict.fromkeys(c.text for c in known if not _followed(c.parts, mixed=False)))
    for kept, mixed in product(range(len(texts), -1, -1), (False, True)):
        far = [c for c in known if c.text in texts[:kept] and not _followed(c.parts, mixed)]
        candidates = sorted({p for c in far for p in c.parts if p[0] >= 0})
        choices = [x for size in range(5) for x in combinations(candidates, size)]
        enough = [x for x in choices if all(_followed(c.parts - set(x), mixed) for c in far)]
        sizes = [math.prod(_kinds(space, far, part) for part in parts) for parts in enough]
        if sizes and min(sizes) <= MOST_CASES:
            return list(enough[sizes.index(min(sizes))]), far, tuple(texts[kept:])
    raise AssertionError(texts)


def _kinds(space: Space, far: Sequence[Condition], part: Part) -> int:
    """At most how many values of a part its conditions tell apart."""
    at, kind = part
    letters = {name[-1] for c in far for name in c.reads(part)} - {"d"}
    if any(c.built and c.reads(part) for c in far) and kind == SHAPE:
        letters |= {"w"}
    return math.prod(len(space.draws[p][at]) for p in (letters if kind == SHAPE else {"d"}))


def _followed(parts: frozenset[Part], mixed: bool) -> bool:
    """Whether counting can follow a condition on these parts, be it `mixed`: depth and shape."""
    whole, rest = {p for p in parts if p[0] < 0}, {p for p in parts if p[0] >= 0}
    stages = sorted({at for at, _ in rest})
    if whole or not rest:
        return not rest
    if len(stages) == 1:
        return mixed or len(rest) == 1
    return len(rest) == 2 and len({kind for _, kind in rest}) == 1 and stages[1] == stages[0] + 1


def _whole(
    space: Space, known: Sequence[Condition], far: Sequence[Condition], given: Mapping[str, float]
) -> Case:
    """All shapes and depths, given what the stages share; conditions on one part are done."""
    stages = range(space.stages)
    single = [c for c in known if len(c.parts) == 1 and min(c.parts)[0] >= 0]
    case = Case(
        tuple(_shapes(space, given, i) for i in stages),
        tuple(np.rint(_values(space, given, "d", i)).astype(np.int64) for i in stages),
        tuple(c for c in known if c not in single and c not in far),
        tuple(far),
    )
    for condition in single:
        (part,) = condition.parts
        case = case.take(part, condition.holds({part: case.values(part)}))
    return case


def _split(case: Case, parts: Sequence[Part]) -> Iterator[Case]:
    """The cases of each kind of values of these parts: alike to all conditions that need them."""
    if not parts:
        yield case
        return
    part, values = parts[0], case.values(parts[0])
    kind = _alike(case, [c for c in case.far if part in c.parts], part)
    for one in np.unique(kind, return_index=True)[1]:
        inside = case.take(part, kind == kind[one])
        fixed = {**case.fixed, part: _at(values, np.array([one]))}
        yield from _split(_settled(replace(inside, fixed=fixed)), parts[1:])


def _settled(case: Case) -> Case:
    """Without the values that far conditions forbid, now that they read one part, or none."""
    for condition in case.far:
        free = case.free(condition)
        if not free and not condition.holds(case.fixed).all():
            return case.take(min(condition.parts), np.zeros(0, dtype=np.int64))
        if len(free) == 1 and min(free)[0] >= 0:
            (part,) = free
            holds = condition.holds({**case.fixed, part: case.values(part)})
            case = case.take(part, holds)
    return case


def _alike(case: Case, far: Sequence[Condition], part: Part) -> IntArray:
    """(values,) equal numbers for values of a part that no condition tells apart."""
    signature = [np.zeros(_size(case.values(part)), dtype=np.int64)]
    for condition in far:
        own = _distinct(case.values(part), condition.reads(part))
        others = sorted(condition.parts - {part} - set(case.fixed))
        known = [other for other in others if other != COST]
        rest = [_distinct(_of(case, other), condition.reads(other)) for other in known]
        shape = (len(own[0]), *(len(one) for one, _ in rest))
        if COST in others or math.prod(shape) > MOST_OUTCOMES:
            signature.append(own[1])
            continue
        grids = [x.ravel() for x in np.indices(shape)]
        env = {part: _at(case.values(part), own[0][grids[0]])}
        for other, (one, _), grid in zip(others, rest, grids[1:], strict=True):
            env[other] = _at(_of(case, other), one[grid])
        outcome = case.holds(condition, env).reshape(len(own[0]), math.prod(shape[1:]))
        signature.append(np.unique(outcome, axis=0, return_inverse=True)[1].ravel()[own[1]])
    return np.unique(np.vstack(signature), axis=1, return_inverse=True)[1].ravel()


def _of(case: Case, part: Part) -> Shapes:
    if part != TOTAL:
        return case.values(part)
    ends = [(int(d.min(initial=0)), int(d.max(initial=0))) for d in case.depths]
    return {"d": np.arange(sum(low for low, _ in ends), sum(high for _, high in ends) + 1)}


def _distinct(values: Shapes, names: set[str]) -> tuple[IntArray, IntArray]:
    """Index of one value of each kind, and the kind of each value, by the columns `names`."""
    rows = np.vstack([values[name] for name in sorted(names)])
    _, one, kind = np.unique(rows, axis=1, return_index=True, return_inverse=True)
    return one, kind.ravel()


def _size(values: Shapes) -> int:
    return len(next(iter(values.values())))


def _at(values: Shapes, rows: IntArray) -> Shapes:
    return {name: x[rows] for name, x in values.items()}


def _shapes(space: Space, given: Mapping[str, float], at: int) -> Shapes:
    """Every (w, b, g) that a stage may draw, with what is built of it."""
    values = [_values(space, given, p, at) for p in ("w", "b", "g")]
    w, b, g = (x.ravel() for x in np.meshgrid(*values, indexing="ij"))
    whole = [np.rint(x).astype(np.int64)[:, None] for x in (w, g)]
    built = buildable(Stages(np.ones_like(whole[0]), whole[0], b[:, None], whole[1]), space.block)
    columns = {"built_w": built.w[:, 0], "built_b": built.b[:, 0], "built_g": built.g[:, 0]}
    return {"w": w, "b": b, "g": g, **columns}


def _values(space: Space, given: Mapping[str, float], name: str, at: int) -> NDArray[np.float64]:
    return np.array([given[name]]) if name in given else space.draws[name][at].values
