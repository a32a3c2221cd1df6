"""Two populations side by side: the two-sample Kolmogorov-Smirnov test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dsd.analysis.checks import sorted_errors
from dsd.errors import DsdError

EXACT = 10_000  # largest population whose p value is counted exactly: a second or less


@dataclass(frozen=True)
class Comparison:
    """How far apart two error distributions are.

    ks: the largest gap between the two EDFs, found just above the error `at` (percent), where
    the shares `below_a` and `below_b` of the networks are better. p_value: probability of a gap
    this large or larger if both populations came from one distribution.
    """

    a: str
    b: str
    n_a: int
    n_b: int
    ks: float
    p_value: float
    at: float
    below_a: float
    below_b: float

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def compare(a: ArrayLike, b: ArrayLike, name_a: str = "a", name_b: str = "b") -> Comparison:
    """Two-sample two-sided KS test of errors a (n,) and b (m,) in percent (as in NDS, 1905.13214).

    Raises DsdError where one has no errors, or errors that are not finite.
    """
    first, second = sorted_errors(a, name_a), sorted_errors(b, name_b)
    for values, name in ((first, name_a), (second, name_b)):
        if not values.size:
            raise DsdError(f"{name}: no finished network to compare.")
    n, m = first.size, second.size
    errors = np.unique(np.concatenate([first, second]))
    count_a, count_b = (np.searchsorted(x, errors, side="right") for x in (first, second))
    gaps = np.abs(count_a * m - count_b * n)  # n m times the gap: whole numbers, no rounding
    place = int(np.argmax(gaps))
    gap = int(gaps[place])
    p_value = _exact_p(gap, n, m, count_a + count_b) if max(n, m) <= EXACT else _limit_p(gap, n, m)
    shares = float(count_a[place] / n), float(count_b[place] / m)
    return Comparison(name_a, name_b, n, m, gap / (n * m), p_value, float(errors[place]), *shares)


def pairwise(populations: Mapping[str, ArrayLike]) -> tuple[Comparison, ...]:
    """Every pair in the order given; populations without a finished network have no pair.

    The p values stand each for its own pair: not yet corrected for the number of pairs.
    """
    held = {name: sorted_errors(errors, name) for name, errors in populations.items()}
    pairs = combinations([name for name, values in held.items() if values.size], 2)
    return tuple(compare(held[a], held[b], a, b) for a, b in pairs)


def _exact_p(gap: int, n: int, m: int, ends: NDArray[np.int64]) -> float:
    """P(n m KS >= gap) over all orders in which n and m networks can be merged.

    Networks come one at a time, of either population at random; `p[i]` is the probability that
    i of the first have come and no gap has been reached. What reaches it is summed as it leaves, so
    that small p values keep their digits. Gaps count at `ends` only, the sizes at which a run
    of equal errors is complete: exact with ties too, where tables made for distinct errors are
    too cautious.
    """
    if gap == 0:
        return 1.0
    total = n + m
    complete = np.zeros(total + 1, dtype=bool)
    complete[ends] = True
    p, low, reached = np.ones(1), 0, 0.0  # p[j] is of i = low + j
    for k in range(total):
        i = np.arange(low, low + p.size)
        forward = p * ((n - i) / (total - k))  # the ratio first: exactly 1 once b is used up
        grown = np.zeros(p.size + 1)
        grown[1:] = forward
        grown[:-1] += p - forward
        p = grown
        if complete[k + 1]:
            first = max((((k + 1) * n - gap) // total) + 1 - low, 0)
            last = min(-(-((k + 1) * n + gap) // total) - low, p.size)
            reached += float(p[:first].sum() + p[last:].sum())
            p, low = p[first:last], low + first
    return min(reached, 1.0)


def _limit_p(gap: int, n: int, m: int) -> float:
    """Kolmogorov's limit, for populations too large to count."""
    from scipy.special import kolmogorov

    return float(kolmogorov(gap / (n * m) * np.sqrt(n * m / (n + m))))
