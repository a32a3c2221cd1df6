"""Error distribution functions: the strict EDF of a population and its bands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from dsd.analysis.binomial import binomial_quantile
from dsd.analysis.checks import FloatArray, checked_confidence, sorted_errors
from dsd.errors import DsdError, UsageError

BandKind = Literal["exact", "bootstrap", "dkw"]


@dataclass(frozen=True)
class Edf:
    """F(e), the share of n networks with an error below e: constant between distinct errors.

    errors: the k distinct errors, ascending, in percent. share: (k + 1,), F up to and including
    errors[0] (always 0), then F between neighbours, last F beyond errors[-1] (always 1). Where
    networks have weights, `effective` is how many equally weighted ones say as much; n elsewhere.
    """

    n: int
    errors: FloatArray
    share: FloatArray
    effective: float


@dataclass(frozen=True)
class Band:
    """Lower and upper limits (k + 1,) of F, aligned with `Edf.share`."""

    lower: FloatArray
    upper: FloatArray


def edf(errors: ArrayLike, weights: ArrayLike | None = None) -> Edf:
    """The strict EDF F(e) = (1/n) sum 1[e_i < e] of errors (n,) in percent (RegNet eq. 1).

    With `weights` (n,), which sum to 1, F(e) = sum w_i 1[e_i < e] (NDS, section 4.2). Raises
    DsdError without a single error, or with one that is not finite.
    """
    values = sorted_errors(errors)
    if not values.size:
        raise DsdError("No finished network: an EDF needs at least one error.")
    if weights is None:
        distinct, counts = np.unique(values, return_counts=True)
        share = np.concatenate([[0.0], np.cumsum(counts) / values.size])
        return Edf(values.size, distinct, share, values.size)
    distinct, place = np.unique(np.asarray(errors, dtype=float), return_inverse=True)
    share = np.concatenate([[0.0], np.cumsum(np.bincount(place, weights))])
    share[-1] = 1.0
    return Edf(values.size, distinct, share, effective_size(weights))


def effective_size(weights: ArrayLike) -> float:
    """How many equally weighted networks say as much: (sum w)^2 / sum w^2 (Kish 1965)."""
    w = np.asarray(weights, dtype=float)
    return float(w.sum() ** 2 / (w**2).sum())


def evaluate(curve: Edf, points: ArrayLike) -> FloatArray:
    """F at each point (in percent), same shape; strict: an error equal to a point is not below."""
    return curve.share[np.searchsorted(curve.errors, np.asarray(points, float), side="left")]


def band(curve: Edf, confidence: float = 0.95, kind: BandKind = "exact") -> Band:
    """Limits of F that hold with the given confidence.

    exact      pointwise, Clopper-Pearson: covers at least `confidence` at every single error,
               the ends included, where no (or every) network has been seen. For weighted
               networks with their effective number (Korn and Graubard 1998).
    bootstrap  pointwise, percentiles of the bootstrap in closed form: resampling n networks makes
               n F(e) ~ Binomial(n, F(e)). Without width where F is 0 or 1, and too narrow near.
    dkw        simultaneous (Dvoretzky-Kiefer-Wolfowitz, Massart): the whole curve at once.

    Raises UsageError for another kind, or a confidence outside (0, 1).
    """
    tail = (1 - checked_confidence(confidence)) / 2
    if kind == "exact":
        return _clopper_pearson(curve, tail)
    if kind == "bootstrap":
        n = max(1, round(curve.effective))
        lower, upper = (binomial_quantile(q, n, curve.share) for q in (tail, 1 - tail))
        return Band(lower / n, upper / n)
    if kind == "dkw":
        reach = np.sqrt(-np.log(tail) / (2 * curve.effective))
        return Band(np.maximum(curve.share - reach, 0), np.minimum(curve.share + reach, 1))
    raise UsageError(f"band '{kind}'; needs one of {', '.join(get_args(BandKind))}.")


def _clopper_pearson(curve: Edf, tail: float) -> Band:
    from scipy.special import betaincinv

    n = curve.effective
    k = curve.share * n
    k = np.rint(k) if n == curve.n else k  # counts are whole numbers, whatever division left
    lower, upper = np.zeros_like(k), np.ones_like(k)
    lower[1:] = betaincinv(k[1:], n - k[1:] + 1, tail)
    upper[:-1] = betaincinv(k[:-1] + 1, n - k[:-1], 1 - tail)
    return Band(lower, upper)


def steps(
    curve: Edf, low: float, high: float, values: FloatArray | None = None
) -> tuple[FloatArray, FloatArray]:
    """Points (k + 2,) that draw F, or `values` aligned with its share, from `low` to `high`.

    Each y holds from its x to the next one ("steps-post"). Errors outside [low, high] stay in
    the arrays, so that a drawing cuts the curve and never moves it.
    """
    y = curve.share if values is None else values
    first, last = min(low, curve.errors[0]), max(high, curve.errors[-1])
    return np.concatenate([[first], curve.errors, [last]]), np.append(y, y[-1])
