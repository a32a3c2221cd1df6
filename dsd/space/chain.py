"""Exact draws of one parameter's vector under rules between neighbouring stages.

The stages of a parameter are independent draws. A rule on one stage, or between a stage and the
next, conditions them to a Markov chain, whose exact law follows from one backward pass. So a
restriction costs no redraw, and no draw is favoured (sorting, say, would favour ties).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsd.space.draws import Draw

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class Chain:
    """Stage draws, allowed values of each (masks) and of each neighbouring pair (None: any).

    `shared`: one value, drawn once, serves every stage.
    """

    draws: tuple[Draw, ...]
    masks: tuple[BoolArray, ...]
    pairs: tuple[BoolArray | None, ...]
    shared: bool = False

    @property
    def possible(self) -> bool:
        """Whether any vector satisfies the rules."""
        return bool(self._first.any())

    @cached_property
    def allowed(self) -> tuple[FloatArray, ...]:
        """The values that each stage can take in some vector; one array if they share one."""
        if self.shared:
            return (self.draws[0].values[self._first > 0],)
        ahead = [weights > 0 for weights in self._messages]
        behind = self.masks[0]
        reachable = [ahead[0]]
        for i, pair in enumerate(self.pairs):
            behind = self.masks[i + 1] & (True if pair is None else (behind @ pair))
            reachable.append(ahead[i + 1] & behind)
        return tuple(d.values[r] for d, r in zip(self.draws, reachable, strict=True))

    @property
    def size(self) -> int:
        """How many vectors satisfy the rules, exactly."""
        if self.shared:
            return int(np.count_nonzero(self._first))
        ways = self.masks[-1].astype(object)
        for mask, pair in zip(self.masks[-2::-1], self.pairs[::-1], strict=True):
            ways = mask.astype(object) * (
                ways.sum() if pair is None else pair.astype(object) @ ways
            )
        return int(ways.sum())

    @property
    def uniforms(self) -> int:
        """Uniform variates that one vector takes."""
        return 1 if self.shared else len(self.draws)

    def sample(self, u: FloatArray, dtype: type = np.float64) -> NDArray[Any]:
        """(n, stages) values from uniforms (uniforms, n) in [0, 1); each column is contiguous."""
        columns: NDArray[Any] = np.empty((len(self.draws), u.shape[1]), dtype=dtype)
        index = self._start(u[0])
        for i, draw in enumerate(self.draws):
            if i and not self.shared:
                step = self._steps[i - 1]
                index = step(u[i]) if self.pairs[i - 1] is None else step(u[i], index)
            np.take(draw.values.astype(dtype), index, out=columns[i], mode="clip")
        return columns.T

    @cached_property
    def _messages(self) -> list[FloatArray]:
        """Per stage, weight of each value: its probability times that of any legal rest.

        Scaled by powers of two, which rounds nothing, as hundreds of stages would leave no number.
        """
        weight = _scaled(self.draws[-1].probabilities * self.masks[-1])
        weights = [weight]
        for i in range(len(self.draws) - 2, -1, -1):
            pair = self.pairs[i]
            rest = np.full(len(self.draws[i]), weight.sum()) if pair is None else pair @ weight
            weight = _scaled(self.draws[i].probabilities * self.masks[i] * rest)
            weights.insert(0, weight)
        return weights

    @cached_property
    def _first(self) -> FloatArray:
        if not self.shared:
            return self._messages[0]
        allowed = np.logical_and.reduce(self.masks)
        diagonals = [np.diagonal(pair) for pair in self.pairs if pair is not None]
        weights: FloatArray = self.draws[0].probabilities * allowed
        return weights * np.logical_and.reduce([np.ones(len(weights), bool), *diagonals])

    @cached_property
    def _start(self) -> _Law:
        return _Law(self._first)

    @cached_property
    def _steps(self) -> list[_Law]:
        """The law of each later stage's value, given the value before it where a rule ties them."""
        return [
            _Law(weight if pair is None else pair * weight)
            for pair, weight in zip(self.pairs, self._messages[1:], strict=True)
        ]


class _Law:
    """Laws on indices (one a row of weights), turned over: uniforms to indices.

    Cells of equal width point at the first index that a uniform inside can mean; few comparisons
    then find the right one, as a binary search would, in a fraction of its time.
    """

    def __init__(self, weights: FloatArray) -> None:
        rows = np.atleast_2d(weights)
        self.width = rows.shape[1]
        self.cells = 4096 if len(rows) == 1 else 512
        totals = np.maximum(rows.sum(axis=1, keepdims=True), np.finfo(float).tiny)
        edges = np.cumsum(rows, axis=1) / totals
        last = self.width - 1 - np.argmax(rows[:, ::-1] > 0, axis=1)
        edges[np.arange(self.width) >= last[:, None]] = np.inf
        cells = np.arange(self.cells + 1) / self.cells
        first = np.stack([np.searchsorted(row, cells, side="right") for row in edges])
        self.most = int(np.diff(first, axis=1).max())
        self.first = first[:, :-1].astype(np.int32).ravel()
        self.edges = edges.ravel()

    def __call__(self, u: FloatArray, row: IntArray | int = 0) -> IntArray:
        """(n,) indices from (n,) uniforms: how many edges of its row lie at or below each."""
        index: NDArray[Any] = self.first.take((u * self.cells).astype(np.int32) + row * self.cells)
        start = row * self.width
        for _ in range(self.most):
            index += u >= self.edges.take(index + start)
        return index


def _scaled(weights: FloatArray) -> FloatArray:
    """The same with the largest from 1/2 to 1."""
    exponent = int(np.frexp(weights.max())[1])
    return np.ldexp(weights, -exponent)


def free_chain(draws: Sequence[Draw]) -> Chain:
    """Independent draws without any rule."""
    masks = tuple(np.ones(len(draw), dtype=bool) for draw in draws)
    return Chain(tuple(draws), masks, (None,) * (len(draws) - 1))
