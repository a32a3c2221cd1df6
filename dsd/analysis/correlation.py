"""How well one property of networks predicts another (RegNet, fig. 12: complexity and run time)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from dsd.analysis.checks import checked_confidence
from dsd.errors import DsdError

FEWEST = 4  # pairs: Fisher's interval divides by n - 3


@dataclass(frozen=True)
class Correlation:
    """Pearson's r and Spearman's rank correlation of n pairs, r with its interval."""

    pearson: float
    low: float
    high: float
    spearman: float
    n: int

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class RankCorrelation:
    """Spearman's rank correlation of n pairs with its interval."""

    rho: float
    low: float
    high: float
    n: int

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def rank_correlation(x: ArrayLike, y: ArrayLike, confidence: float = 0.95) -> RankCorrelation:
    """Spearman's rank correlation of x (n,) and y (n,), pairs without a number left out.

    The interval is normal on atanh rho with the variance (1 + rho^2 / 2) / (n - 3) of Bonett and
    Wright (2000). Raises DsdError as `correlation` does.
    """
    from scipy.special import ndtri

    found = correlation(x, y, confidence)
    if np.isclose(abs(found.spearman), 1, rtol=0, atol=1e-12):
        rho = float(np.sign(found.spearman))
        return RankCorrelation(rho, rho, rho, found.n)
    spread = np.sqrt((1 + found.spearman**2 / 2) / (found.n - 3))
    reach = ndtri((1 + confidence) / 2) * spread
    centre = np.arctanh(found.spearman)
    low, high = np.tanh([centre - reach, centre + reach]).tolist()
    return RankCorrelation(found.spearman, low, high, found.n)


def correlation(x: ArrayLike, y: ArrayLike, confidence: float = 0.95) -> Correlation:
    """Correlation of x (n,) and y (n,), pairs without a number left out.

    The interval of r is Fisher's (the normal law on atanh r): it supposes no far outliers; where
    the rank correlation says something else, believe that. Raises DsdError for fewer than 4 pairs
    and for a constant.
    """
    from scipy import stats

    a, b = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    there = np.isfinite(a) & np.isfinite(b)
    a, b = a[there], b[there]
    if len(a) < FEWEST:
        raise DsdError(f"{len(a)} networks have both values; {FEWEST} are needed.")
    if a.min() == a.max() or b.min() == b.max():
        raise DsdError("One of the two values is the same for all networks: nothing correlates.")
    found = stats.pearsonr(a, b)
    interval = found.confidence_interval(checked_confidence(confidence))
    ranks = float(stats.spearmanr(a, b).statistic)
    return Correlation(
        float(found.statistic), float(interval.low), float(interval.high), ranks, len(a)
    )
