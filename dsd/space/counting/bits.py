"""Pairs of points within half planes, 64 at a time: how `dsd.space.counting.meet` meets under rules
on several costs.

Of a run of kept points, those below a limit are a subset that is the same for all limits between
two neighbouring points; a table by rank holds each one as bits. A point that comes to be met costs
a look-up a limit and a few operations on words, however many pairs it makes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from dsd.space.counting.planes import FloatArray, Plane
from dsd.space.counting.tables import BoolArray, IntArray

Words = NDArray[np.uint64]
Ranks = tuple[
    IntArray | None, IntArray
]  # of the first point inside (None: all are), the first above
RUN = 1024  # kept points in a table
AT_ONCE = 1 << 14  # points met at once, so that what belongs to them stays in the cache
WORD = 64


@dataclass(frozen=True)
class Met:
    """Some of the points that came: `rows` (m,), the ways `found` (m,) by which each surely goes
    on, and pairs of a row and a place in the kept list that have still to be tried."""

    rows: IntArray
    found: IntArray
    pairs: tuple[IntArray, IntArray]


class Subsets:
    """Kept points, sorted by node and first cost, whose subsets below any limit are at hand.

    node (n,), cost (columns, n), times (n,); limits: of the first cost, both inside.
    """

    def __init__(
        self, node: IntArray, cost: IntArray, times: IntArray, limits: tuple[int, int],
        planes: Sequence[Plane],
    ) -> None:  # fmt: skip
        self.cost, self.times, self.limits, self.planes = cost, times, limits, planes
        nodes, starts = np.unique(node, return_index=True)
        stops = [*starts[1:].tolist(), len(node)]
        self.places = dict(
            zip(nodes.tolist(), zip(starts.tolist(), stops, strict=True), strict=True)
        )
        self.known: tuple[int, list[_Run]] = (-1, [])

    def words(self) -> float:
        """Words of bits of a node, on average."""
        return len(self.times) / max(1, len(self.places)) / WORD

    def met(self, node: IntArray, cost: IntArray) -> Iterator[Met]:
        """Meet points (n,) of cost (columns, n); those of a node lie together."""
        edges = [*np.flatnonzero(np.diff(node, prepend=-1)).tolist(), len(node)]
        for start, stop in pairwise(edges):
            for run in self._runs(int(node[start])):
                for at in range(start, stop, AT_ONCE):
                    part = cost[:, at : min(stop, at + AT_ONCE)]
                    met = run.met(part, self.limits)
                    if met is not None:
                        yield Met(met.rows + at, met.found, (met.pairs[0] + at, met.pairs[1]))

    def _runs(self, node: int) -> list[_Run]:
        """The tables of a node; points of one node come one after the other."""
        if self.known[0] != node:
            start, stop = self.places.get(node, (0, 0))
            runs = [
                _Run.of(at, self.cost[:, at : min(stop, at + RUN)],
                        self.times[at : min(stop, at + RUN)], self.planes)
                for at in range(start, stop, RUN)
            ]  # fmt: skip
            self.known = node, runs
        return self.known[1]


@dataclass(frozen=True)
class _Run:
    """Up to RUN kept points of one node by rising first cost; `start` is the place of the first.

    sums: per plane, the points' (m,) in order; below: per plane (words, m + 1), the bits of the
    points with the r least sums; digits: per binary digit, the bits of the points whose times have
    it, None where all do.
    """

    start: int
    first: IntArray
    planes: Sequence[Plane]
    sums: list[FloatArray]
    below: list[Words]
    digits: list[Words | None]

    @classmethod
    def of(cls, start: int, cost: IntArray, times: IntArray, planes: Sequence[Plane]) -> _Run:
        """The run of points of this cost (columns, m)."""
        sums = [plane.weights @ cost for plane in planes]
        orders = [np.argsort(one, kind="stable") for one in sums]
        digits = [times >> k & 1 == 1 for k in range(int(times.max()).bit_length())]
        return cls(
            start, cost[0], planes,
            [one[order] for one, order in zip(sums, orders, strict=True)],
            [_subsets(order) for order in orders],
            [None if one.all() else _packed(one) for one in digits],
        )  # fmt: skip

    def met(self, cost: IntArray, limits: tuple[int, int]) -> Met | None:
        """Points of this cost (columns, n) with the run, None where none can be met."""
        begin = np.searchsorted(self.first, limits[0] - cost[0])
        end = np.searchsorted(self.first, limits[1] - cost[0], "right")
        rows = np.flatnonzero(end > begin)
        if not len(rows):
            return None
        begin, end, cost = begin[rows], end[rows], cost[:, rows]
        added = [plane.weights @ cost for plane in self.planes]
        sure, maybe = (
            [_ranks(sums, more, getattr(plane, kind))
             for sums, more, plane in zip(self.sums, added, self.planes, strict=True)]
            for kind in ("sure", "maybe")
        )  # fmt: skip
        open_ = np.flatnonzero(_differ(sure, maybe))
        found = np.zeros(len(rows), dtype=np.int64)
        pairs = [(np.zeros(0, dtype=np.int64),) * 2]
        for word in range(int(begin.min()) // WORD, (int(end.max()) - 1) // WORD + 1):
            bits = self._inside(word, (begin, end), sure)
            for k, digit in enumerate(self.digits):
                ways = np.bitwise_count(bits if digit is None else bits & digit[word])
                found += ways.astype(np.int64) << k
            if len(open_):
                some = [(None if a is None else a[open_], b[open_]) for a, b in maybe]
                doubt = self._inside(word, (begin[open_], end[open_]), some) & ~bits[open_]
                at, bit = _each_bit(doubt)
                pairs.append((rows[open_[at]], bit + self.start + word * WORD))
        one, two = (np.concatenate(part) for part in zip(*pairs, strict=True))
        return Met(rows, found, (one, two))

    def _inside(self, word: int, window: Ranks, limits: Sequence[Ranks]) -> Words:
        """Bits (n,) of one word: the points within the window and all limits."""
        begin, end = window
        bits = _FIRST[word][end] & ~_FIRST[word][begin]
        for below, (low, high) in zip(self.below, limits, strict=True):
            bits &= below[word][high]
            if low is not None:
                bits &= ~below[word][low]
        return bits


def _ranks(sums: FloatArray, added: FloatArray, limits: tuple[float, float]) -> Ranks:
    low, high = limits
    first = None if low == -np.inf else np.searchsorted(sums, low - added)
    return first, np.searchsorted(sums, high - added, "right")


def _differ(one: Sequence[Ranks], two: Sequence[Ranks]) -> BoolArray:
    found = [a != b for x, y in zip(one, two, strict=True) for a, b in zip(x, y, strict=True)
             if a is not None]  # fmt: skip
    return np.asarray(np.logical_or.reduce(found))


def _subsets(order: IntArray) -> Words:
    """(words, m + 1): bits of the first r points in this order, for r from 0 to m."""
    bits = np.zeros((len(order) + 1, -(-len(order) // WORD)), dtype=np.uint64)
    ones = np.left_shift(np.uint64(1), (order % WORD).astype(np.uint64))
    bits[np.arange(len(order)) + 1, order // WORD] = ones
    return np.ascontiguousarray(np.bitwise_or.accumulate(bits, axis=0).T)


def _packed(flags: BoolArray) -> Words:
    """Words of bits, the first flag the least one."""
    padded = np.zeros(-(-len(flags) // WORD) * WORD, dtype=bool)
    padded[: len(flags)] = flags
    return np.packbits(padded, bitorder="little").view("<u8").astype(np.uint64)


def _each_bit(words: Words) -> tuple[IntArray, IntArray]:
    """Row and place of every bit that is set."""
    rows = np.flatnonzero(words)
    flags = np.unpackbits(words[rows].astype("<u8").view(np.uint8).reshape(-1, 8), axis=1,
                          bitorder="little")  # fmt: skip
    at, bit = np.nonzero(flags)
    return rows[at], bit


_FIRST = _subsets(np.arange(RUN))
