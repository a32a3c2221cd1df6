"""What is asked of populations, and each one's errors with what is missing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from dsd.analysis.search import ExpectedBest, doublings, search_curve
from dsd.analysis.summary import Summary, summarize
from dsd.errors import DsdError
from dsd.lab import SCORED, UNFINISHED
from dsd.parts import limited, split

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from dsd.analysis.normalize import Normalized
    from dsd.lab import Lab, Population

FAILED = ("failed", "out-of-memory", "cancelled")
METRICS = {"last": "error of the last epoch", "lowest": "lowest error over the epochs"}
COMPLEXITIES = ("flops", "params", "acts")
BINS = 10


@dataclass(frozen=True)
class Question:
    """Which networks, which of their errors, and which numbers about them.

    where: a condition; prefix: only networks before the first unfinished one; across: populations
    of several regimes side by side, without a test; split: parts of each population (see
    `dsd.parts.split`); normalize: a complexity whose `bins` weigh alike in every population;
    quantiles (levels) and below (thresholds in percent): more numbers of each population.
    """

    metric: str = "last"
    confidence: float = 0.95
    where: str = ""
    prefix: bool = False
    across: bool = False
    split: str = ""
    normalize: str = ""
    bins: int = BINS
    quantiles: tuple[float, ...] = ()
    below: tuple[float, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether columns beside the errors are needed."""
        return bool(self.where or self.split or self.normalize)


@dataclass(frozen=True)
class Scored:
    """One population's errors (n,) in percent, in sampling order, and what is missing.

    complexity (n,) where they are compared at an equal one, then with `normalized` weights.
    """

    name: str
    regime: str
    errors: NDArray[np.float64]
    summary: Summary
    size: int
    unfinished: int
    failed: int
    diverged: int
    parts: tuple[str, ...]
    best: ExpectedBest | None = None
    complexity: NDArray[np.float64] | None = None
    normalized: Normalized | None = None

    @property
    def weights(self) -> NDArray[np.float64] | None:
        """Weight (n,) of each network, where they have some."""
        return self.normalized.weights if self.normalized else None

    def as_dict(self) -> dict[str, Any]:
        """The summary with the counts of what it lacks."""
        counts = {"size": self.size, "unfinished": self.unfinished, "failed": self.failed}
        more = {"diverged": self.diverged, "regime": self.regime}
        best = {"expected_best": self.best.as_dict()} if self.best else {}
        return {**self.summary.as_dict(), **counts, **more, **best}


def parts_of(population: Population, table: pd.DataFrame, asked: Question) -> Iterator[Scored]:
    """The population, or its parts."""
    if not asked.split:
        yield _scored(population, population.name, table, asked)
        return
    for what, part in split(table, asked.split):
        yield _scored(population, f"{population.name} [{what}]", part, asked)


def _scored(population: Population, name: str, table: pd.DataFrame, asked: Question) -> Scored:
    ended = table[table["state"].isin(SCORED)]
    errors = ended[f"error_{asked.metric}"].to_numpy(dtype=float)
    unknown = int((errors != errors).sum())
    if unknown:
        other = "lowest" if asked.metric == "last" else "last"
        raise DsdError(f"{population.name}: {unknown} of {errors.size} networks have no "
                       f"{METRICS[asked.metric]}: try --metric {other}.")  # fmt: skip
    states = table["state"]
    cost = ended[_column(ended, asked.normalize)] if asked.normalize else None
    return Scored(
        name=name,
        regime=", ".join(sorted(population.regimes)),
        errors=errors,
        summary=summarize(
            errors, name, asked.confidence, quantiles=asked.quantiles, below=asked.below
        ),
        size=len(table),
        unfinished=int(states.isin(UNFINISHED).sum()),
        failed=int(states.isin(FAILED).sum()),
        diverged=int((states == "diverged").sum()),
        parts=population.parts,
        complexity=None if cost is None else cost.to_numpy(dtype=float),
    )


def _column(table: pd.DataFrame, name: str) -> str:
    if name not in table:
        raise DsdError(f"{name} is not known of these networks: nothing to normalise by.")
    return name


def with_expected_best(scored: Sequence[Scored], confidence: float) -> list[Scored]:
    """Beside each minimum, which depends on n: the best of equally many networks of each."""
    m = doublings(min(one.errors.size for one in scored))[-1:]
    if m[0] == 1:  # which is the mean
        return list(scored)
    return [replace(one, best=search_curve(one.errors, m, confidence)) for one in scored]


def at_equal_complexity(scored: Sequence[Scored], asked: Question) -> list[Scored]:
    """The networks in the common range of complexity, each bin with the same weight."""
    from dsd.analysis.normalize import Normalized, common_bins, summarize_normalized

    costs = {one.name: one.complexity for one in scored if one.complexity is not None}
    bins = common_bins(costs, asked.normalize, asked.bins)
    found = []
    for one in scored:
        inside = Normalized.of(one.name, one.errors, costs[one.name], bins)
        summary = summarize_normalized(inside, asked.confidence, asked.quantiles, asked.below)
        found.append(replace(one, errors=inside.errors, summary=summary, normalized=inside))
    return found


def outside(scored: Sequence[Scored], sizes: Sequence[int], column: str) -> Iterator[str]:
    """How many networks the common range leaves out."""
    for one, size in zip(scored, sizes, strict=True):
        if one.errors.size < size:
            yield (
                f"Note: {size - one.errors.size} of {size} networks of {one.name} lie outside the "
                f"range of {column} that all populations share."
            )


def ended(lab: Lab, reference: str, asked: Question) -> tuple[pd.DataFrame, NDArray[np.float64]]:
    """A population's networks with an error (every column), and their errors (n,)."""
    table = limited(lab.population(reference), asked.where, asked.prefix, whole=True)
    table = table[table["state"].isin(SCORED)]
    return table, table[f"error_{asked.metric}"].to_numpy(dtype=float)
