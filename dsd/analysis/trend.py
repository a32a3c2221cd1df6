"""How the best value of a property moves with compute, over populations (RegNet, fig. 11)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from dsd.analysis.best import BestRange, best_range, drawn_bests
from dsd.analysis.checks import FloatArray, checked_confidence
from dsd.errors import DsdError

DRAWS = 20_000


@dataclass(frozen=True)
class Trend:
    """Change of the best value for each doubling of compute, with its interval.

    `ranges` are the best values of each population, in the order of `flops`.
    """

    slope: float
    low: float
    high: float
    confidence: float
    flops: tuple[float, ...]
    ranges: tuple[BestRange, ...]

    @property
    def shown(self) -> bool:
        """Whether the interval leaves 0 out."""
        return not self.low <= 0 <= self.high

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON: the slope and what it is shown by."""
        plain = {
            key: value for key, value in asdict(self).items() if key not in ("flops", "ranges")
        }
        return {**plain, "shown": self.shown}


def trend(
    flops: ArrayLike,
    populations: Sequence[tuple[ArrayLike, ArrayLike]],
    confidence: float = 0.95,
    seed: int = 0,
) -> Trend:
    """Least-squares slope of the best value against log2 flops, one point a population.

    `flops` (k,) is each population's compute, `populations` its values x (n,) and errors (n,).
    Each population's errors rank its own networks only. The interval holds the middle of the
    slopes of joint draws: in each, every population gives the x of the best network of an
    empirical bootstrap (`best_range`), so it carries the uncertainty of all ranges. Raises
    DsdError for fewer than two different flops and as `best_range`.
    """
    tail = (1 - checked_confidence(confidence)) / 2
    compute = np.asarray(flops, dtype=float)
    if not (np.isfinite(compute) & (compute > 0)).all() or len(np.unique(compute)) < 2:
        raise DsdError("A trend needs populations of two different flops at least.")
    ranges = tuple(best_range(x, errors, confidence) for x, errors in populations)
    weights = _slope_weights(np.log2(compute))
    rng = np.random.default_rng(seed)
    bests = np.stack([drawn_bests(x, errors, DRAWS, rng) for x, errors in populations])
    slopes = weights @ (bests - bests[0])  # weights sum to 0; equal bests then give just 0
    low, high = np.quantile(slopes, [tail, 1 - tail]).tolist()
    likely = np.array([one.best for one in ranges])
    slope = float(weights @ (likely - likely[0]))
    return Trend(slope, low, high, confidence, tuple(compute.tolist()), ranges)


def _slope_weights(x: FloatArray) -> FloatArray:
    """Weights (k,) whose product with y (k,) is its least-squares slope on x (k,)."""
    centred = x - x.mean()
    return np.asarray(centred / (centred @ centred), dtype=float)
