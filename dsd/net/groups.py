"""Group compatibility: the nearest buildable widths of a draw (RegNet, appendix D)."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsd.net.blocks import IGNORES

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Stages:
    """The stages of n networks, each (n, stages): d blocks, w channels, b, g channels per group."""

    d: IntArray
    w: IntArray
    b: FloatArray
    g: IntArray

    def __len__(self) -> int:
        return len(self.d)

    def take(self, rows: IntArray) -> Stages:
        """The networks of these rows; each column stays contiguous."""

        def of(x: NDArray[Any]) -> NDArray[Any]:
            return np.take(x.T, rows, axis=1).T

        return Stages(of(self.d), of(self.w), of(self.b), of(self.g))

    def columns(self) -> dict[str, NDArray[np.float64] | IntArray]:
        """d1, w1, b1, g1, d2, ... and the total depth d, each (n,)."""
        named = {"d": self.d, "w": self.w, "b": self.b, "g": self.g}
        count = self.d.shape[1]
        stage = {f"{p}{i + 1}": x[:, i] for p, x in named.items() for i in range(count)}
        return {**stage, "d": self.d.sum(axis=1)}

    def keys(self) -> NDArray[np.void]:
        """(n,) opaque values, equal where two rows are the same network of one block."""
        rows = np.ascontiguousarray(np.hstack([self.d, self.w, self.b, self.g]).astype(np.float64))
        return rows.view(np.dtype((np.void, rows.itemsize * rows.shape[1]))).ravel()


def buildable(drawn: Stages, block: str) -> Stages:
    """What `block` can build nearest to a draw.

    If g > w_b then g = w_b, else w_b is rounded to the nearest multiple of g (at least g; half to
    even); w = b * w_b. Where b is a fraction p/q, multiples of lcm(g, q) keep w whole. Blocks that
    read no b or g get 1 there, so that equal networks have equal rows.
    """
    ones = np.ones_like(drawn.g)
    ignored = IGNORES.get(block, ())
    b = np.ones_like(drawn.b) if "b" in ignored else drawn.b
    g = ones if "g" in ignored else drawn.g
    w_b = np.maximum(1, np.rint(drawn.w / b)).astype(np.int64)
    g = np.minimum(g, w_b)
    unit = g if (b == np.rint(b)).all() else np.lcm(g, _denominators(b))
    w_b = np.maximum(1, np.rint(w_b / unit)).astype(np.int64) * unit
    return Stages(drawn.d, np.rint(b * w_b).astype(np.int64), b, g)


def _denominators(b: FloatArray) -> IntArray:
    values, where = np.unique(b, return_inverse=True)
    parts = [Fraction(value).limit_denominator(1000).denominator for value in values]
    return np.array(parts, dtype=np.int64)[where].reshape(b.shape)
