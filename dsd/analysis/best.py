"""Where the best networks of a population lie along one property (RegNet, figs. 2, 5, 11)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from dsd.analysis.checks import FloatArray, checked_confidence
from dsd.errors import DsdError

SHARE = 0.25  # of the networks in one draw (RegNet, footnote 4)


@dataclass(frozen=True)
class BestRange:
    """[low, high] holds the best network's value with `confidence`; `best` is the likeliest.

    n networks, m of them in one draw of the empirical bootstrap.
    """

    low: float
    high: float
    best: float
    confidence: float
    n: int
    m: int

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def best_range(x: ArrayLike, errors: ArrayLike, confidence: float = 0.95) -> BestRange:
    """The empirical bootstrap of RegNet's footnote 4 in closed form, for x (n,) and errors (n,).

    The paper draws a quarter of the pairs with replacement, keeps x of the smallest error, and
    repeats; the percentiles of what was kept are the range, their median the likeliest best. With
    the networks ranked by error (ties stay in the order given), rank i is the best of m draws with
    probability ((n-i+1)/n)^m - ((n-i)/n)^m: weighted percentiles need no resampling. Networks
    without an x are left out. Raises DsdError for fewer than four networks.
    """
    values, ranked = _ranked(x, errors)
    tail = (1 - checked_confidence(confidence)) / 2
    weights = rank_weights(len(ranked))
    levels = [tail, 0.5, 1 - tail]
    low, best, high = np.quantile(
        values[ranked], levels, weights=weights, method="inverted_cdf"
    ).tolist()
    n = len(values)
    return BestRange(low, high, best, confidence, n, max(1, int(n * SHARE)))


def rank_weights(n: int, share: float = SHARE) -> FloatArray:
    """Probability (n,) of each rank, smallest error first, to be the best of share * n draws."""
    m = max(1, int(n * share))
    above = (np.arange(n, -1, -1) / n) ** m
    return np.asarray(above[:-1] - above[1:], dtype=float)


def resampled_range(
    x: ArrayLike, errors: ArrayLike, rng: np.random.Generator,
    confidence: float = 0.95, repeats: int = 10_000,
) -> BestRange:  # fmt: skip
    """The same by resampling, as the paper does it: for checking `best_range`."""
    values, ranked = _ranked(x, errors)
    tail = (1 - checked_confidence(confidence)) / 2
    n = len(values)
    m = max(1, int(n * SHARE))
    firsts = rng.integers(0, n, size=(repeats, m)).min(axis=1)
    kept = values[ranked][firsts]
    levels = [tail, 0.5, 1 - tail]
    low, best, high = np.quantile(kept, levels, method="inverted_cdf").tolist()
    return BestRange(low, high, best, confidence, n, m)


def drawn_bests(
    x: ArrayLike, errors: ArrayLike, count: int, rng: np.random.Generator
) -> FloatArray:
    """x (count,) of the best network of so many draws of `best_range`'s empirical bootstrap."""
    values, ranked = _ranked(x, errors)
    return values[rng.choice(ranked, count, p=rank_weights(len(ranked)))]


def _ranked(x: ArrayLike, errors: ArrayLike) -> tuple[FloatArray, Any]:
    """x of the networks that have one, and their order by error."""
    values, wrong = np.asarray(x, dtype=float), np.asarray(errors, dtype=float)
    there = np.isfinite(values) & np.isfinite(wrong)
    values, wrong = values[there], wrong[there]
    if len(values) < 4:
        raise DsdError(f"{len(values)} networks have this value and an error; 4 are needed.")
    return values, np.argsort(wrong, kind="stable")
