"""How much better one population is than another, and whether that is shown."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from dsd.analysis.bootstrap import Interval
from dsd.analysis.checks import FloatArray, checked_confidence, sorted_errors
from dsd.analysis.compare import Comparison, compare
from dsd.analysis.summary import Quantile
from dsd.errors import DsdError

POWER = 0.8
RESAMPLES = 4000


@dataclass(frozen=True)
class Difference:
    """Populations a and b: differences are a minus b, in percent of error; below 0, a is better.

    `wins` is the probability that a network of a has a smaller error than one of b, ties half.
    `p_holm` is the KS test's p value after Holm's correction for all pairs asked together.
    `verdict` is "better", "worse", "different" (neither has the lower mean for sure) or "none".
    `more` says how many more networks of each would show the observed difference of the means with
    a power of 80%, if it is real; None where it is shown.
    """

    a: str
    b: str
    test: Comparison
    p_holm: float
    mean: float
    mean_interval: Interval
    median: float
    median_interval: Interval
    wins: float
    wins_interval: Interval
    verdict: str
    more: int | None
    quantiles: tuple[Quantile, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        intervals = ("mean", "median", "wins")
        numbers = {
            key: value
            for name in intervals
            for key, value in (
                (f"{name}_difference" if name != "wins" else name, getattr(self, name)),
                (f"{name}_interval", getattr(self, f"{name}_interval").as_list()),
            )
        }
        more = {"p_holm": self.p_holm, "verdict": self.verdict, "more_networks": self.more,
                "quantile_differences": [one.as_dict() for one in self.quantiles]}  # fmt: skip
        return {**self.test.as_dict(), **numbers, **more}


def differences(
    populations: Mapping[str, ArrayLike], confidence: float = 0.95, seed: int = 0,
    quantiles: Sequence[float] = (), chain: bool = False,
) -> tuple[Difference, ...]:  # fmt: skip
    """Every pair of populations of errors (n,) in percent, p values corrected for their number.

    As a `chain`, each with the one after it alone. Differences of `quantiles` (levels between 0
    and 1) come on request. Raises DsdError where one has fewer than two errors.
    """
    checked_confidence(confidence)
    held = {name: sorted_errors(errors, name) for name, errors in populations.items()}
    short = [name for name, errors in held.items() if errors.size < 2]
    if short:
        raise DsdError(f"{short[0]}: at least 2 networks with an error are needed.")
    pairs = list(pairwise(held) if chain else combinations(held, 2))
    tests = [compare(held[a], held[b], a, b) for a, b in pairs]
    corrected = holm([test.p_value for test in tests])
    return tuple(
        _difference(test, p, held[a], held[b], confidence, seed, quantiles)
        for (a, b), test, p in zip(pairs, tests, corrected, strict=True)
    )


def _difference(
    test: Comparison, p: float, a: FloatArray, b: FloatArray, confidence: float, seed: int,
    levels: Sequence[float],
) -> Difference:  # fmt: skip
    mean = mean_difference(a, b, confidence)
    gap = float(a.mean() - b.mean())
    shown = p < 1 - confidence
    sure = not mean.low <= 0 <= mean.high
    verdict = "none" if not shown else "different" if not sure else "better" if gap < 0 else "worse"
    return Difference(
        a=test.a, b=test.b, test=test, p_holm=p, mean=gap, mean_interval=mean,
        median=float(np.median(a) - np.median(b)),
        median_interval=quantile_difference(a, b, 0.5, confidence, seed),
        wins=win_probability(a, b), wins_interval=win_interval(a, b, confidence),
        verdict=verdict, more=None if shown and sure else networks_needed(a, b, confidence),
        quantiles=tuple(_quantile(a, b, level, confidence, seed) for level in levels),
    )  # fmt: skip


def _quantile(a: FloatArray, b: FloatArray, level: float, confidence: float, seed: int) -> Quantile:
    gap = float(np.quantile(a, level) - np.quantile(b, level))
    return Quantile(level, gap, quantile_difference(a, b, level, confidence, seed))


def mean_difference(a: ArrayLike, b: ArrayLike, confidence: float = 0.95) -> Interval:
    """Welch's interval of the difference of two means, a minus b.

    Skewness common to both cancels in the difference, so that Student's quantiles serve.
    """
    from scipy.special import stdtrit  # scipy.stats takes a second to import

    first, second = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    parts = [x.var(ddof=1) / x.size for x in (first, second)]
    gap, spread = float(first.mean() - second.mean()), math.sqrt(sum(parts))
    if spread == 0:
        return Interval(gap, gap, confidence)
    below = sum(v**2 / (x.size - 1) for v, x in zip(parts, (first, second), strict=True))
    reach = float(stdtrit(sum(parts) ** 2 / below, (1 + confidence) / 2)) * spread
    return Interval(gap - reach, gap + reach, confidence)


def quantile_difference(
    a: ArrayLike, b: ArrayLike, level: float = 0.5, confidence: float = 0.95, seed: int = 0
) -> Interval:
    """Percentile bootstrap of the difference of two quantiles, a minus b, in closed draws.

    A resample's quantile is an order statistic whose place has a beta law: no array is resampled.
    The n errors are joined by lines (a smoothed bootstrap: steps cover 1% more than they should).
    """
    rng = np.random.default_rng(seed)
    draws = [_quantiles(np.sort(np.asarray(x, dtype=float)), level, rng) for x in (a, b)]
    tail = (1 - confidence) / 2
    low, high = np.quantile(draws[0] - draws[1], [tail, 1 - tail]).tolist()
    return Interval(low, high, confidence)


def _quantiles(values: FloatArray, level: float, rng: np.random.Generator) -> FloatArray:
    """Quantiles (RESAMPLES,) of n draws from sorted values (n,), interpolated between them."""
    n = values.size
    rank = 1 + level * (n - 1)  # the one that numpy interpolates to
    place = rng.beta(rank, n + 1 - rank, size=RESAMPLES)
    return np.asarray(np.interp(place * n - 0.5, np.arange(n), values), dtype=float)


def win_probability(a: ArrayLike, b: ArrayLike) -> float:
    """P(error of a < error of b) + P(equal) / 2 over all pairs of networks (Mann and Whitney)."""
    return float(_placements(np.sort(np.asarray(b)), np.asarray(a)).mean())


def win_interval(a: ArrayLike, b: ArrayLike, confidence: float = 0.95) -> Interval:
    """Interval of `win_probability`: DeLong's variance on the logit scale, so within (0, 1)."""
    from scipy.special import expit, logit, ndtri

    first, second = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    of_a = _placements(np.sort(second), first)
    of_b = 1 - _placements(np.sort(first), second)
    chance = float(of_a.mean())
    variance = of_a.var(ddof=1) / of_a.size + of_b.var(ddof=1) / of_b.size
    edge = 1 / (2 * first.size * second.size)  # one win or defeat fewer than all
    inside = min(max(chance, edge), 1 - edge)
    # where every network wins nothing varies; half a pair stands for what was not seen
    spread = max(math.sqrt(variance), edge) / (inside * (1 - inside))
    reach = float(ndtri((1 + confidence) / 2)) * spread
    middle = float(logit(inside))
    return Interval(float(expit(middle - reach)), float(expit(middle + reach)), confidence)


def _placements(others: FloatArray, errors: FloatArray) -> FloatArray:
    """Share (n,) of the sorted `others` that each error beats, ties half."""
    low = np.searchsorted(others, errors, side="left")
    high = np.searchsorted(others, errors, side="right")
    return np.asarray(1 - (low + high) / (2 * others.size), dtype=float)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction of p values (k,), in their order."""
    order = np.argsort(p_values, kind="stable")
    k = len(order)
    corrected, worst = [0.0] * k, 0.0
    for step, index in enumerate(order):
        worst = max(worst, min(1.0, (k - step) * p_values[index]))
        corrected[index] = worst
    return corrected


def networks_needed(a: ArrayLike, b: ArrayLike, confidence: float = 0.95) -> int:
    """How many more networks of each population would show the observed difference of the means.

    Normal approximation at a power of 80%, with the spreads seen; 10**9 where no difference is.
    """
    from scipy.special import ndtri

    first, second = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    gap = abs(float(first.mean() - second.mean()))
    both = first.var(ddof=1) + second.var(ddof=1)
    if gap == 0 or both / gap**2 > 1e8:
        return 10**9
    reach = float(ndtri((1 + confidence) / 2) + ndtri(POWER))
    needed = math.ceil(reach**2 * both / gap**2)
    return max(1, needed - min(first.size, second.size))
