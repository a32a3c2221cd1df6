"""A comparison of populations: what `dsd edf` says, ready to print, to plot or to write as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dsd.analysis.compare import Comparison, pairwise
from dsd.analysis.summary import Summary, summarize
from dsd.errors import DsdError
from dsd.lab import UNFINISHED

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from dsd.lab import Lab, Population

FAILED = ("failed", "out-of-memory", "cancelled")
METRICS = {"last": "error of the last epoch", "lowest": "lowest error over the epochs"}


@dataclass(frozen=True)
class Scored:
    """One population's errors (n,) in percent, in sampling order, and what is missing."""

    name: str
    errors: NDArray[np.float64]
    summary: Summary
    size: int
    unfinished: int
    failed: int
    diverged: int
    parts: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """The summary with the counts of what it lacks."""
        counts = {"size": self.size, "unfinished": self.unfinished, "failed": self.failed}
        return {**self.summary.as_dict(), **counts, "diverged": self.diverged}


@dataclass(frozen=True)
class Study:
    """Populations of one regime side by side."""

    regime: str
    metric: str
    confidence: float
    populations: tuple[Scored, ...]
    comparisons: tuple[Comparison, ...]

    @property
    def errors(self) -> dict[str, NDArray[np.float64]]:
        """Errors by population."""
        return {one.name: one.errors for one in self.populations}

    @property
    def note(self) -> str:
        """What holds for every figure of the study."""
        return f"regime {self.regime}, {METRICS[self.metric]}"

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON; errors in percent."""
        return {
            "regime": self.regime,
            "metric": self.metric,
            "confidence": self.confidence,
            "populations": [one.as_dict() for one in self.populations],
            "comparisons": [pair.as_dict() for pair in self.comparisons],
        }

    def warnings(self) -> Iterator[str]:
        """What a reader must know before believing the numbers."""
        for one in self.populations:
            if len(one.parts) > 1:
                yield f"Note: {one.name} pools {', '.join(one.parts)}."
            if one.unfinished:
                yield (
                    f"Warning: {one.unfinished} of {one.size} networks of {one.name} are "
                    "unfinished; fast ones finish first, so this is not yet the population."
                )
            if one.failed:
                yield (
                    f"Warning: {one.failed} of {one.size} networks of {one.name} failed or were "
                    "cancelled and are missing here."
                )


def study_of(
    lab: Lab, references: Sequence[str], metric: str = "last", confidence: float = 0.95
) -> Study:
    """Read, summarise and compare the populations.

    Raises DsdError for an unknown population, for populations of several regimes, and where
    nothing is trained yet.
    """
    populations = [lab.population(reference) for reference in dict.fromkeys(references)]
    regime = _one_regime(populations)
    scored = [_scored(population, metric, confidence) for population in populations]
    empty = [one for one in scored if not one.errors.size]
    if empty:
        raise DsdError(_nothing_trained(empty, lab))
    return Study(
        regime, metric, confidence, tuple(scored), pairwise({s.name: s.errors for s in scored})
    )


def _one_regime(populations: Sequence[Population]) -> str:
    regimes = sorted(set().union(*(population.regimes for population in populations)))
    if len(regimes) > 1:
        raise DsdError(
            f"Errors compare inside one regime only; these were scored under {', '.join(regimes)}. "
            f"Name one for each, such as {populations[0].rows[0].space}@{regimes[0]}."
        )
    return regimes[0]


def _scored(population: Population, metric: str, confidence: float) -> Scored:
    errors = population.scored[f"error_{metric}"].to_numpy(dtype=float)
    return Scored(
        name=population.name,
        errors=errors,
        summary=summarize(errors, population.name, confidence),
        size=len(population.frame),
        unfinished=population.count(*UNFINISHED),
        failed=population.count(*FAILED),
        diverged=population.count("diverged"),
        parts=tuple(row.name for row in population.rows),
    )


def _nothing_trained(empty: Sequence[Scored], lab: Lab) -> str:
    names = " or ".join(one.name for one in empty)
    queued = sum(one.unfinished for one in empty)
    where = lab.settings.database
    if not queued:
        return f"No network of {names} in {where} has an error: all failed or were cancelled."
    waiting = f"{queued} networks wait in {where}"
    return f"Nothing is trained yet in {names}; {waiting}. Run `dsd worker --gpu 0` (or --cpu)."
