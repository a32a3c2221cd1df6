"""One population as one line of numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from dsd.analysis.bootstrap import (
    Interval,
    mean_interval,
    median_interval,
    minimum_interval,
    minimum_note,
)
from dsd.analysis.checks import sorted_errors


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
        }


def summarize(
    errors: ArrayLike, name: str = "", confidence: float = 0.95, seed: int = 0
) -> Summary:
    """Minimum, mean and median of errors (n,) in percent with their intervals.

    Raises DsdError for errors that are not finite, UsageError for a confidence outside (0, 1).
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
    )


def legend(errors: ArrayLike) -> str:
    """The papers' label of errors (n,), minimum and mean in percent: n=497 [39.0 | 49.0]."""
    values = sorted_errors(errors)
    if not values.size:
        return "n=0"
    return f"n={values.size} [{values[0]:.1f} | {values.mean():.1f}]"


def _as_list(interval: Interval | None) -> list[float] | None:
    return interval.as_list() if interval else None
