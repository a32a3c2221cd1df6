"""Populations compared at equal complexity: weights of networks by bins of their cost (NDS)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from dsd.analysis.bootstrap import Interval
from dsd.analysis.checks import FloatArray, checked_confidence
from dsd.analysis.compare import Comparison
from dsd.analysis.edf import band, edf
from dsd.analysis.summary import Quantile, Share, Summary
from dsd.errors import DsdError, UsageError

SHUFFLES = 2000


@dataclass(frozen=True)
class Bins:
    """Equal-width bins of one complexity over the range that all populations share."""

    column: str
    edges: FloatArray

    def __len__(self) -> int:
        return len(self.edges) - 1

    def of(self, complexity: ArrayLike) -> Any:
        """The bin (n,) of each network, counted from 0; -1 outside the common range."""
        x = np.asarray(complexity, dtype=float)
        place = np.clip(np.searchsorted(self.edges, x, side="right") - 1, 0, len(self) - 1)
        return np.where((x >= self.edges[0]) & (x <= self.edges[-1]), place, -1)

    def weights(self, complexity: ArrayLike) -> FloatArray:
        """Weight (n,) of each network: 1 / (bins * count of its bin), 0 outside; they sum to 1."""
        place = self.of(complexity)
        counts = np.bincount(place[place >= 0], minlength=len(self))
        share = 1 / (len(self) * np.maximum(counts, 1))
        return np.where(place >= 0, share[place], 0.0)

    def __str__(self) -> str:
        return f"{len(self)} bins of {self.column} from {self.edges[0]:.4g} to {self.edges[-1]:.4g}"


def common_bins(complexities: Mapping[str, ArrayLike], column: str, bins: int) -> Bins:
    """Bins over the common range of the populations' complexities (n,) (NDS, section 4.2).

    Raises DsdError where they share no range, or a population leaves a bin empty: weights cannot
    make up for networks that are not there.
    """
    if bins < 1:
        raise UsageError(f"{bins} bins; at least 1 is needed.")
    held = {name: np.asarray(x, dtype=float) for name, x in complexities.items()}
    missing = [name for name, x in held.items() if not x.size or not np.isfinite(x).all()]
    if missing:
        raise DsdError(f"{missing[0]}: {column} is not known of every network.")
    low, high = max(x.min() for x in held.values()), min(x.max() for x in held.values())
    if not low < high:
        if len(held) == 1:
            raise DsdError(f"{next(iter(held))}: {column} is the same for all networks: no bins.")
        raise DsdError(f"{' and '.join(held)} share no range of {column}: nothing can be compared.")
    found = Bins(column, np.linspace(low, high, bins + 1))
    for name, x in held.items():
        place = found.of(x)
        empty = np.flatnonzero(np.bincount(place[place >= 0], minlength=bins) == 0)
        if empty.size:
            start, end = found.edges[empty[0] : empty[0] + 2]
            raise DsdError(
                f"{name} has no network with {column} from {start:.4g} to {end:.4g} (bin "
                f"{empty[0] + 1} of {bins}): fewer bins (--bins {max(1, bins // 2)}) may do."
            )
    return found


def weighted_mean_interval(
    errors: ArrayLike, place: ArrayLike, confidence: float = 0.95
) -> Interval:
    """Interval of the mean over bins of each bin's mean error, in percent.

    A stratified mean: the variances of the bins' means add up, and Student's quantiles take
    Satterthwaite's degrees of freedom. A bin of one network borrows the spread of the others.
    """
    from scipy.special import stdtrit

    checked_confidence(confidence)
    values, bins = np.asarray(errors, dtype=float), np.asarray(place)
    groups = [values[bins == k] for k in np.unique(bins[bins >= 0])]
    mean = float(np.mean([group.mean() for group in groups]))
    known = [group.var(ddof=1) for group in groups if group.size > 1]
    pooled = float(np.mean(known)) if known else 0.0
    parts = np.array([(g.var(ddof=1) if g.size > 1 else pooled) / g.size for g in groups])
    freedom = np.array([max(1, group.size - 1) for group in groups])
    if not parts.any():
        return Interval(mean, mean, confidence)
    degrees = float(parts.sum() ** 2 / (parts**2 / freedom).sum())
    reach = float(stdtrit(degrees, (1 + confidence) / 2) * np.sqrt(parts.sum()) / len(groups))
    return Interval(mean - reach, mean + reach, confidence)


@dataclass(frozen=True)
class Normalized:
    """One population's errors (n,) in percent inside the common range, with bin and weight."""

    name: str
    errors: FloatArray
    place: Any
    weights: FloatArray

    @classmethod
    def of(cls, name: str, errors: ArrayLike, complexity: ArrayLike, bins: Bins) -> Normalized:
        """Of errors (n,) and complexities (n,), those in the bins."""
        place = bins.of(complexity)
        inside = place >= 0
        values, weights = np.asarray(errors, dtype=float), bins.weights(complexity)
        return cls(name, values[inside], place[inside], weights[inside])

    def quantile(self, share: ArrayLike) -> FloatArray:
        """Weighted quantiles in percent of error: the smallest e with F(e) at least the share."""
        levels = np.clip(np.asarray(share) - 1e-12, 0, 1)  # sums of weights are rounded
        found = np.quantile(self.errors, levels, weights=self.weights, method="inverted_cdf")
        return np.asarray(found, dtype=float)


def summarize_normalized(
    one: Normalized, confidence: float = 0.95,
    quantiles: Sequence[float] = (), below: Sequence[float] = (),
) -> Summary:  # fmt: skip
    """As `summarize`, of weighted networks.

    The mean's interval is a stratified one; those of the median and other quantiles invert the
    weighted EDF's band at their level (Woodruff 1952), shares read it. A minimum knows no weight.
    """
    curve = edf(one.errors, one.weights)

    def quantile(level: float) -> Quantile:
        at = edf([0.0, 1.0], [level, 1 - level])  # F is `level` between the two
        limits = band(replace(at, effective=curve.effective), confidence)
        low, high = one.quantile([limits.lower[1], limits.upper[1]]).tolist()
        value = float(one.quantile(level))
        return Quantile(level, value, Interval(min(low, value), high, confidence))

    median = quantile(0.5)
    limits = band(curve, confidence)
    places = np.searchsorted(curve.errors, below, side="left")
    shares = [
        Share(e, *(float(x[k]) for x in (curve.share, limits.lower, limits.upper)))
        for e, k in zip(below, places, strict=True)
    ]
    return Summary(
        name=one.name, n=len(one.errors), min=float(one.errors.min()),
        mean=float(one.errors @ one.weights), median=median.value, confidence=confidence,
        min_interval=None, median_interval=median.interval,
        mean_interval=weighted_mean_interval(one.errors, one.place, confidence),
        quantiles=tuple(quantile(level) for level in quantiles), below=tuple(shares),
    )  # fmt: skip


def compare_normalized(a: Normalized, b: Normalized, seed: int = 0) -> Comparison:
    """Kolmogorov-Smirnov distance of two weighted EDFs, with a permutation test inside the bins.

    Networks change populations only within their bin of complexity, so that the p value is exact
    under the question asked: do errors differ at equal complexity? 2,000 shuffles; it cannot
    fall below 1 / 2001.
    """
    errors, place = np.concatenate([a.errors, b.errors]), np.concatenate([a.place, b.place])
    signed = np.concatenate([a.weights, -b.weights])
    order = np.argsort(errors, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(errors[order])), errors.size - 1)

    def gaps(weights: FloatArray) -> FloatArray:
        return np.abs(np.cumsum(weights[order])[ends])

    seen = gaps(signed)
    at = int(np.argmax(seen))
    rng, reached = np.random.default_rng(seed), 0
    groups = [np.flatnonzero(place == k) for k in np.unique(place)]
    shuffled = signed.copy()
    for _ in range(SHUFFLES):
        for group in groups:
            shuffled[group] = signed[rng.permutation(group)]
        reached += bool(gaps(shuffled).max() >= seen[at] - 1e-12)
    error = float(errors[order][ends[at]])
    shares = [float(one.weights[one.errors <= error].sum()) for one in (a, b)]
    p = (1 + reached) / (1 + SHUFFLES)
    sizes = a.errors.size, b.errors.size
    return Comparison(a.name, b.name, *sizes, float(seen[at]), p, error, *shares)
