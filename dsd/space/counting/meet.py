"""Counts of a per-stage space by meeting in the middle: a list of beginnings, a list of ends.

The stages are layers of a graph. A node is what a stage may find (a state and a depth class, see
`Table`), an edge a choice with its cost in every column that band and rules read. Beginnings and
ends of networks grow from both sides, the shorter list first, until one choice lies between them;
then each beginning (or end) with that choice is looked up among all the ends (beginnings).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsd.space.counting.bits import Met, Subsets
from dsd.space.counting.planes import Plane
from dsd.space.counting.tables import BoolArray, IntArray, Table

CHUNK = 1 << 20
MOST_STORED = 20_000_000
EDGE_STEPS, ROUNDED_EDGE_STEPS = 6, 12  # what it takes to make an edge ready
MERGE_STEPS = 12  # what it takes to find the points that are equal, for each
POINT_STEPS, WORD_STEPS = 6.0, 0.3  # what it takes to meet a point in planes, and a word of bits
_NEVER = 1 << 60


class TooManyError(Exception):
    """The lists would be longer than was allowed."""


@dataclass(frozen=True)
class Region:
    """Where networks are counted: bounds (low, high) of each column, both inside, the first finite;
    `holds` tests (columns, n) costs for all else. planes: all of it but for the first column's
    bounds, where that can be said in planes."""

    bounds: tuple[tuple[int, int], ...]
    holds: Callable[[IntArray], BoolArray] | None = None
    planes: tuple[Plane, ...] | None = None


@dataclass
class Budget:
    """How many more points and pairs may be looked at."""

    left: int

    def spend(self, steps: int) -> None:
        """Raises TooManyError where they are more than are left."""
        if steps > self.left:
            raise TooManyError(steps)
        self.left -= steps


@dataclass(frozen=True)
class _List:
    """Beginnings, ends, or edges: node (n,) that they reach, cost (columns, n), times (n,)."""

    node: IntArray
    cost: IntArray
    times: IntArray

    def __len__(self) -> int:
        return len(self.node)

    def take(self, rows: IntArray | BoolArray) -> _List:
        return _List(self.node[rows], self.cost[:, rows], self.times[rows])


@dataclass(frozen=True)
class _Edges:
    """The choices of a stage: nodes that they lead from and to."""

    source: IntArray
    target: IntArray
    cost: IntArray
    times: IntArray

    def take(self, rows: BoolArray) -> _Edges:
        return _Edges(self.source[rows], self.target[rows], self.cost[:, rows], self.times[rows])


def count_lists(
    stages: Sequence[Sequence[Table]], region: Region, budget: Budget, units: IntArray | None = None
) -> int:
    """Settings of the stages whose cost lies in the region; for each stage one table a column.

    units (columns,): costs are rounded down to, and the region is in them.
    Raises TooManyError where lists or look-ups outgrow the budget.
    """
    edges = [int(t[0].allowed.sum()) * int(t[0].follows.sum()) for t in stages]
    if max(edges) > MOST_STORED:
        raise TooManyError(max(edges))
    budget.spend(sum(edges) * (EDGE_STEPS if units is None else ROUNDED_EDGE_STEPS))
    graph = _Graph(stages, region, units)
    start, end = graph.nothing(), graph.nothing()
    first, last = 0, len(stages)
    while True:
        onward, back = graph.onward(first), graph.backward(last - 1)
        steps = onward.reach(start), back.reach(end)
        if not min(steps):
            return 0
        forward = steps[0] <= steps[1]
        if last - first == 1:
            grown, kept = ((onward, start), end) if forward else ((back, end), start)
            met = _Met(kept, region, budget, graph.scale)
            budget.spend(int(min(steps) * met.effort))
            return sum(met.count(part) for part in grown[0].grown(grown[1]))
        if min(steps) > MOST_STORED:
            raise TooManyError(min(steps))
        budget.spend(min(steps) * (1 if units is None else MERGE_STEPS))
        if forward:
            start, first = _joined(onward.grown(start), graph), first + 1
        else:
            end, last = _joined(back.grown(end), graph), last - 1


class _Graph:
    """All layers, without the edges that no network of the region takes."""

    def __init__(
        self, stages: Sequence[Sequence[Table]], region: Region, units: IntArray | None
    ) -> None:
        self.region, self.merges = region, units is not None or len(region.bounds) == 1
        self.scale = region.bounds[0][1] + 2  # node * scale + cost: sorts by both
        edges = [_edges(tables) for tables in stages]
        edges = edges if units is None else [_rounded(layer, units) for layer in edges]
        self.sizes = [tables[0].states * len(tables[0].follows) for tables in stages] + [1]
        ahead = _reach(edges, self.sizes, backward=True)
        behind = _reach(edges, self.sizes, backward=False)
        self.edges = []
        for layer, before, after in zip(edges, behind[:-1], ahead[1:], strict=True):
            least = before[0][:, layer.source] + layer.cost + after[0][:, layer.target]
            most = before[1][:, layer.source] + layer.cost + after[1][:, layer.target]
            self.edges.append(layer.take(_meets(region, least, most)))
        self.ahead, self.behind = ahead, behind

    def nothing(self) -> _List:
        """The beginning, or end, of no stage."""
        zero = np.zeros(1, dtype=np.int64)
        return _List(zero, np.zeros((len(self.region.bounds), 1), dtype=np.int64), zero + 1)

    def onward(self, at: int) -> _Fan:
        """How beginnings grow by a stage."""
        e = self.edges[at]
        return _Fan(e.source, _List(e.target, e.cost, e.times), self.ahead[at + 1], self)

    def backward(self, at: int) -> _Fan:
        """How ends grow by the stage before them."""
        e = self.edges[at]
        return _Fan(e.target, _List(e.source, e.cost, e.times), self.behind[at], self)


def _edges(tables: Sequence[Table]) -> _Edges:
    table = tables[0]
    classes = len(table.follows)
    state, shape = np.nonzero(table.allowed)
    before, depth = np.nonzero(table.follows)
    after = table.leaves[before, depth]
    stays = int(table.leaves.max(initial=0)) + 1
    a, b = (x.ravel() for x in np.indices((len(state), len(before))))
    if table.fits is not None:
        fits = table.fits[shape[a], depth[b]]
        a, b = a[fits], b[fits]
    s, m, n = state[a], shape[a], depth[b]
    cost = np.stack([t.first[s, m] + t.more[m, n] for t in tables])
    return _Edges(s * classes + before[b], table.state[m] * stays + after[b], cost, table.times[m])


def _rounded(layer: _Edges, units: IntArray) -> _Edges:
    """Edges with costs in whole units, equal ones as one."""
    cost = layer.cost // units[:, None]
    order = np.lexsort((*cost, layer.target, layer.source))
    rows = np.vstack([layer.source, layer.target, cost])[:, order]
    first = np.flatnonzero(np.diff(rows, axis=1, prepend=-1).any(axis=0))
    times = np.add.reduceat(layer.times[order], first)
    return _Edges(rows[0, first], rows[1, first], rows[2:, first], times)


def _reach(
    edges: Sequence[_Edges], sizes: Sequence[int], backward: bool
) -> list[tuple[IntArray, IntArray]]:
    """Least and most cost (columns, nodes) from each layer's nodes to the end (or beginning)."""
    columns = len(edges[0].cost)
    at = len(edges) if backward else 0
    zero = np.zeros((columns, sizes[at]), dtype=np.int64)
    found = [(zero, zero)]
    for layer in edges[::-1] if backward else edges:
        at += -1 if backward else 1
        source, target = (layer.target, layer.source) if backward else (layer.source, layer.target)
        least = np.full((columns, sizes[at]), _NEVER)
        most = -least
        known = found[0] if backward else found[-1]
        for k in range(columns):
            np.minimum.at(least[k], target, layer.cost[k] + known[0][k, source])
            np.maximum.at(most[k], target, layer.cost[k] + known[1][k, source])
        least, most = np.minimum(least, _NEVER), np.maximum(most, -_NEVER)
        found.insert(0 if backward else len(found), (least, most))
    return found


def _meets(region: Region, least: IntArray, most: IntArray) -> BoolArray:
    """Whether costs from `least` to `most` can be within the bounds."""
    low, high = (np.array(x)[:, None] for x in zip(*region.bounds, strict=True))
    return np.asarray(((least <= high) & (most >= low)).all(axis=0))


class _Fan:
    """The edges by which lists grow, those together that lead to one node."""

    def __init__(
        self, origin: IntArray, edges: _List, rest: tuple[IntArray, IntArray], graph: _Graph
    ) -> None:
        order = np.argsort(edges.node, kind="stable")
        self.origin, self.edges = origin[order], edges.take(order)
        self.rest, self.region, self.scale = rest, graph.region, graph.scale

    def reach(self, points: _List) -> int:
        """How many points `grown` will try."""
        start, stop = self._runs(points)
        return int((stop - start).sum())

    def _runs(self, points: _List) -> tuple[IntArray, IntArray]:
        """For each edge the points that it leads on: by their first cost, they lie together."""
        key = points.node * self.scale + points.cost[0]
        low, high = self.region.bounds[0]
        cost, base = self.edges.cost[0], self.origin * self.scale
        least = np.maximum(low - cost - self.rest[1][0, self.edges.node], 0)
        most = high - cost - self.rest[0][0, self.edges.node]
        start = np.searchsorted(key, base + np.minimum(least, most + 1))
        return start, np.searchsorted(key, base + most, "right")

    def grown(self, points: _List) -> Iterator[_List]:
        """The points one stage further, in parts; those of one edge by falling cost."""
        edges = self.edges
        _need_room(float(points.times.max(initial=0)) * float(edges.times.max(initial=0)))
        for edge, at in _pairs(*self._runs(points)):
            cost = points.cost[:, at] + edges.cost[:, edge]
            found = _List(edges.node[edge], cost, points.times[at] * edges.times[edge])
            if len(cost) == 1:
                yield found
                continue
            least, most = (cost + rest[:, found.node] for rest in self.rest)
            yield found.take(_meets(self.region, least, most))


def _pairs(start: IntArray, stop: IntArray) -> Iterator[tuple[IntArray, IntArray]]:
    """Each row with each place of its run, the last first, in parts of about CHUNK."""
    rows = np.flatnonzero(stop > start)
    ends = np.cumsum((stop - start)[rows])
    total = int(ends[-1]) if len(ends) else 0
    cuts = np.searchsorted(ends, np.arange(CHUNK, total + CHUNK if total else 0, CHUNK)) + 1
    for a, b in pairwise([0, *np.minimum(np.unique(cuts), len(rows)).tolist()]):
        part = rows[a:b]
        size = (stop - start)[part]
        last = np.repeat(stop[part] - 1 + np.cumsum(size) - size, size)
        yield np.repeat(part, size), last - np.arange(len(last))


def _need_room(settings: float) -> None:
    """Raises TooManyError where so many settings do not fit 64 bits."""
    if settings >= 1 << 62:
        raise TooManyError(int(settings))


def _joined(parts: Iterator[_List], graph: _Graph) -> _List:
    """The parts as one list, by node and first cost; equal points are one where that is likely."""
    whole = list(parts)
    node, times = (np.concatenate([getattr(p, x) for p in whole]) for x in ("node", "times"))
    cost = np.concatenate([p.cost for p in whole], axis=1)
    del whole
    _need_room(times.sum(dtype=float))
    key = node * graph.scale + cost[0]
    order = np.lexsort((*cost[1:], key)) if graph.merges else np.argsort(key)
    found = _List(node[order], cost[:, order], times[order])
    if not graph.merges or not len(found):
        return found
    changes = np.diff(np.vstack([key[order], found.cost[1:]]), axis=1, prepend=-1).any(axis=0)
    first = np.flatnonzero(changes)
    return _List(found.node[first], found.cost[:, first], np.add.reduceat(found.times, first))


class _Met:
    """A list to be met: for points of the other side, how many of its own complete a network."""

    def __init__(self, kept: _List, region: Region, budget: Budget, scale: int) -> None:
        self.kept, self.region, self.budget, self.scale = kept, region, budget, scale
        self.key = kept.node * scale + kept.cost[0]
        self.times = np.concatenate([[0], np.cumsum(kept.times)])
        self.subsets, self.effort = None, 1.0
        if region.planes:
            sides = kept.node, kept.cost, kept.times, region.bounds[0], region.planes
            self.subsets = Subsets(*sides)
            self.effort = POINT_STEPS + WORD_STEPS * self.subsets.words()

    def count(self, points: _List) -> int:
        """Settings that the points make with this list."""
        if self.subsets:
            return sum(
                self._with(met, points) for met in self.subsets.met(points.node, points.cost)
            )
        (low, high), *others = self.region.bounds
        base = points.node * self.scale
        stop = np.searchsorted(self.key, base + (high - points.cost[0]), "right")
        start = np.searchsorted(self.key, base + np.maximum(low - points.cost[0], 0))
        if not others and self.region.holds is None:
            return dot(self.times[stop] - self.times[start], points.times)
        pairs = int((stop - start).sum())
        self.budget.spend(pairs)
        return sum(self._tested(points, rows, at) for rows, at in _pairs(start, stop))

    def _with(self, met: Met, points: _List) -> int:
        sure, (rows, places) = dot(met.found, points.times[met.rows]), met.pairs
        self.budget.spend(len(rows))
        return sure + (self._tested(points, rows, places) if len(rows) else 0)

    def _tested(self, points: _List, rows: IntArray, at: IntArray) -> int:
        cost = points.cost[:, rows] + self.kept.cost[:, at]
        inside = np.flatnonzero(_meets(self.region, cost, cost))
        if self.region.holds is not None:
            inside = inside[self.region.holds(cost[:, inside])]
        return dot(self.kept.times[at[inside]], points.times[rows[inside]])


def dot(ways: NDArray[Any], times: IntArray) -> int:
    """Sum of products, exactly but for `ways` in floats."""
    if ways.dtype.kind == "f":
        return int(np.dot(ways, times))
    if ways.dtype != object and float(ways.max(initial=0)) * float(times.sum()) < 1 << 62:
        return int(np.dot(ways.astype(np.int64, copy=False), times))
    if ways.dtype != object and times.sum() < 1 << 31:
        low = (1 << 31) - 1
        return (int(np.dot(ways >> 31, times)) << 31) + int(np.dot(ways & low, times))
    return sum(a * b for a, b in zip(ways.tolist(), times.tolist(), strict=True))
