"""One population as one line of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from dsd.analysis.binomial import proportion_interval
from dsd.analysis.bootstrap import (
    Interval,
    mean_interval,
    median_interval,
    minimum_interval,
    minimum_note,
    quantile_interval,
)
from dsd.analysis.checks import FloatArray, sorted_errors


@dataclass(frozen=True)
class Quantile:
    """The error in percent that a share `level` of the networks stays below."""

    level: float
    value: float
    interval: Interval | None

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        attained = self.interval.confidence if self.interval else None
        return {"level": self.level, "value": self.value, "interval": _as_list(self.interval),
                "confidence": attained}  # fmt: skip


@dataclass(frozen=True)
class Share:
    """The share of networks with an error below a threshold in percent, with its limits."""

    threshold: float
    value: float
    low: float
    high: float

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"threshold": self.threshold, "share": self.value, "interval": [self.low, self.high]}


@dataclass(frozen=True)
class Summary:
    """n networks' errors in percent; None where n = 0, for the mean's interval where n < 2."""

    name: str
    n: int
    min: float | None
    mean: float | None
    median: float | None
    confidence: float
    min_interval: Interval | None
    mean_interval: Interval | None
    median_interval: Interval | None
    quantiles: tuple[Quantile, ...] = ()
    below: tuple[Share, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON: intervals as [low, high], null where there is none."""
        median = self.median_interval
        return {
            "name": self.name,
            "n": self.n,
            "min": self.min,
            "mean": self.mean,
            "median": self.median,
            "confidence": self.confidence,
            "min_interval": _as_list(self.min_interval),
            "min_note": minimum_note(self.n, self.confidence),
            "mean_interval": _as_list(self.mean_interval),
            "median_interval": _as_list(median),
            "median_confidence": median.confidence if median else None,
            "quantiles": [one.as_dict() for one in self.quantiles],
            "below": [one.as_dict() for one in self.below],
        }


def summarize(
    errors: ArrayLike, name: str = "", confidence: float = 0.95, seed: int = 0,
    quantiles: Sequence[float] = (), below: Sequence[float] = (),
) -> Summary:  # fmt: skip
    """Minimum, mean and median of errors (n,) in percent with their intervals.

    On request also other `quantiles` (levels between 0 and 1) and the shares of networks `below`
    thresholds in percent (Clopper-Pearson limits, which cover at least what they say). Raises
    DsdError for errors that are not finite, UsageError for a confidence outside (0, 1).
    """
    values = sorted_errors(errors, name)
    some = values.size > 0
    return Summary(
        name=name,
        n=values.size,
        min=float(values[0]) if some else None,
        mean=float(np.clip(values.mean(), values[0], values[-1])) if some else None,
        median=float(np.median(values)) if some else None,
        confidence=confidence,
        min_interval=minimum_interval(values, confidence),
        mean_interval=mean_interval(values, confidence, seed),
        median_interval=median_interval(values, confidence),
        quantiles=tuple(_quantile(values, level, confidence) for level in quantiles if some),
        below=tuple(_share(values, error, confidence) for error in below if some),
    )


def _quantile(values: FloatArray, level: float, confidence: float) -> Quantile:
    interval = quantile_interval(values, level, confidence)
    return Quantile(level, float(np.quantile(values, level)), interval)


def _share(values: FloatArray, error: float, confidence: float) -> Share:
    k, n = int(np.searchsorted(values, error, side="left")), values.size
    return Share(error, k / n, *proportion_interval(k, n, confidence))


def legend(errors: ArrayLike, weights: ArrayLike | None = None) -> str:
    """The papers' label of errors (n,), minimum and mean in percent: n=497 [39.0 | 49.0]."""
    values = sorted_errors(errors)
    if not values.size:
        return "n=0"
    mean = np.average(
        np.asarray(errors, float), weights=None if weights is None else np.asarray(weights)
    )
    return f"n={values.size} [{values[0]:.1f} | {mean:.1f}]"


def _as_list(interval: Interval | None) -> list[float] | None:
    return interval.as_list() if interval else None
