"""Exact draws of one parameter's vector under rules between neighbouring stages.

The stages of a parameter are independent draws. A rule on one stage, or between a stage and the
next, conditions them to a Markov chain, whose exact law follows from one backward pass. So a
restriction costs no redraw, and no draw is favoured (sorting, say, would favour ties).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

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
            ways = mask * (ways.sum() if pair is None else pair.astype(object) @ ways)
        return int(ways.sum())

    @property
    def uniforms(self) -> int:
        """Uniform variates that one vector takes."""
        return 1 if self.shared else len(self.draws)

    def sample(self, u: FloatArray) -> FloatArray:
        """(n, stages) values from uniforms (uniforms, n) in [0, 1)."""
        index = _pick(self._first, u[0])
        picks = [index]
        for i in range(1, len(self.draws)):
            index = index if self.shared else self._steps[i - 1].pick(index, u[i])
            picks.append(index)
        return np.stack([d.values[p] for d, p in zip(self.draws, picks, strict=True)], axis=1)

    @cached_property
    def _messages(self) -> list[FloatArray]:
        """Per stage, weight of each value: its probability times that of any legal rest."""
        weight = self.draws[-1].probabilities * self.masks[-1]
        weights = [weight]
        for i in range(len(self.draws) - 2, -1, -1):
            pair = self.pairs[i]
            rest = np.full(len(self.draws[i]), weight.sum()) if pair is None else pair @ weight
            weight = self.draws[i].probabilities * self.masks[i] * rest
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
    def _steps(self) -> list[_Step]:
        return [
            _Step(pair, weight) for pair, weight in zip(self.pairs, self._messages[1:], strict=True)
        ]


class _Step:
    """The next stage's value, given this stage's."""

    def __init__(self, pair: BoolArray | None, weight: FloatArray) -> None:
        self.weight, self.width, self.free = weight, len(weight), pair is None
        if pair is not None:
            rows = pair * weight
            self.last = self.width - 1 - np.argmax(rows[:, ::-1] > 0, axis=1)
            totals = np.maximum(rows.sum(axis=1, keepdims=True), np.finfo(float).tiny)
            cumulative = np.minimum(np.cumsum(rows, axis=1) / totals, 1.0)
            self.flat = (cumulative + np.arange(len(rows))[:, None]).ravel()

    def pick(self, given: IntArray, u: FloatArray) -> IntArray:
        """(n,) indices. All rows' cumulative laws lie end to end: one search serves every row."""
        if self.free:
            return _pick(self.weight, u)
        found = np.searchsorted(self.flat, given + u, side="right") - given * self.width
        return np.minimum(found, self.last[given])


def _pick(weights: FloatArray, u: FloatArray) -> IntArray:
    cumulative = np.cumsum(weights)
    last = len(weights) - 1 - int(np.argmax(weights[::-1] > 0))
    found = np.searchsorted(cumulative, u * cumulative[-1], side="right")
    return np.minimum(found, last)


def free_chain(draws: Sequence[Draw]) -> Chain:
    """Independent draws without any rule."""
    masks = tuple(np.ones(len(draw), dtype=bool) for draw in draws)
    return Chain(tuple(draws), masks, (None,) * (len(draws) - 1))
