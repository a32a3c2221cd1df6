"""Binomial quantiles: the closed form of every bootstrap that only counts networks."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

# scipy.special, not scipy.stats: the same numbers for a quarter of the import time.


def binomial_cdf(k: ArrayLike, n: int, p: ArrayLike) -> Any:
    """P(B <= k) for B ~ Binomial(n, p), elementwise; 0 below k = 0."""
    from scipy.special import bdtr

    k = np.asarray(k, dtype=float)
    return np.where(k < 0, 0.0, bdtr(np.clip(k, 0, n), n, np.asarray(p, dtype=float)))


def binomial_quantile(level: float, n: int, p: ArrayLike) -> NDArray[np.int64]:
    """The smallest k with P(B <= k) >= level, B ~ Binomial(n, p), elementwise over p.

    Starts at the Cornish-Fisher approximation, rarely off by more than one, and walks to the
    exact answer.
    """
    from scipy.special import ndtri

    p = np.asarray(p, dtype=float)
    z = ndtri(level)
    near = n * p + z * np.sqrt(n * p * (1 - p)) + (1 - 2 * p) * (z * z - 1) / 6
    k = np.clip(np.rint(near), 0, n).astype(np.int64)
    while np.any(low := (binomial_cdf(k, n, p) < level) & (k < n)):
        k = k + low
    while np.any(high := (binomial_cdf(k - 1, n, p) >= level) & (k > 0)):
        k = k - high
    return k


def proportion_interval(k: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Clopper-Pearson limits of a share of which k of n were seen."""
    from scipy.special import betaincinv

    tail = (1 - confidence) / 2
    low = float(betaincinv(k, n - k + 1, tail)) if k else 0.0
    return low, float(betaincinv(k + 1, n - k, 1 - tail)) if k < n else 1.0
