"""A comparison of populations: what `dsd edf` says, ready to print, to plot or to write as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING, Any

from dsd.analysis.compare import Comparison, pairwise
from dsd.analysis.search import ExpectedBest, doublings, search_curve
from dsd.analysis.summary import Summary, summarize
from dsd.errors import DsdError, UsageError
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


@dataclass(frozen=True)
class Study:
    """Populations of one regime side by side."""

    regime: str
    question: Question
    populations: tuple[Scored, ...]
    comparisons: tuple[Comparison, ...]
    remarks: tuple[str, ...] = ()

    @property
    def metric(self) -> str:
        """Which error of a network is meant."""
        return self.question.metric

    @property
    def confidence(self) -> float:
        """The level of intervals, bands and verdicts."""
        return self.question.confidence

    @property
    def errors(self) -> dict[str, NDArray[np.float64]]:
        """Errors by population."""
        return {self.label(one): one.errors for one in self.populations}

    @property
    def weights(self) -> dict[str, NDArray[np.float64]]:
        """Weights by population, where networks have some."""
        return {self.label(one): one.weights for one in self.populations if one.weights is not None}

    def label(self, one: Scored) -> str:
        """Its name, with its regime where there are several."""
        several = len({other.regime for other in self.populations}) > 1
        return f"{one.name} ({one.regime})" if several else one.name

    @property
    def limits(self) -> tuple[str, ...]:
        """What the networks were chosen and weighed by."""
        asked = self.question
        bins = f"equal weight of {asked.bins} bins of {asked.normalize}" * bool(asked.normalize)
        return tuple(x for x in (asked.where, "finished prefix" * asked.prefix, bins) if x)

    @property
    def note(self) -> str:
        """What holds for every figure of the study."""
        kept = "".join(f", {limit}" for limit in self.limits)
        return f"regime {self.regime}, {METRICS[self.metric]}{kept}"

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON; errors in percent."""
        return {
            "regime": self.regime,
            "metric": self.metric,
            "confidence": self.confidence,
            "limits": list(self.limits),
            "populations": [one.as_dict() for one in self.populations],
            "comparisons": [pair.as_dict() for pair in self.comparisons],
        }

    def warnings(self) -> Iterator[str]:
        """What a reader must know before believing the numbers."""
        yield from self.remarks
        for one in self.populations:
            if len(one.parts) > 1:
                yield f"Note: {one.name} pools {', '.join(one.parts)}."
            if one.unfinished:
                yield (
                    f"Warning: {one.unfinished} of {one.size} networks of {one.name} are "
                    "unfinished; fast ones finish first, so this is not yet the population "
                    "(--prefix keeps those before the first unfinished one)."
                )
            if one.failed:
                yield (
                    f"Warning: {one.failed} of {one.size} networks of {one.name} failed or were "
                    "cancelled and are missing here."
                )


def study_of(lab: Lab, references: Sequence[str], question: Question | None = None) -> Study:
    """Read, summarise and compare the populations, as the question asks.

    Raises DsdError for an unknown population, for several regimes unless they are asked for
    `across`, and where nothing is trained yet; UsageError for an expression that cannot be read.
    """
    asked = question or Question()
    if asked.normalize and asked.normalize not in COMPLEXITIES:
        raise UsageError(f"normalize '{asked.normalize}': {', '.join(COMPLEXITIES)} would work.")
    populations = [lab.population(reference) for reference in dict.fromkeys(references)]
    regimes = sorted(set().union(*(population.regimes for population in populations)))
    if len(regimes) > 1 and not asked.across:
        raise DsdError(several_regimes(lab, populations, regimes))
    chosen = [population for population in populations if population.selected]
    mixed = 0 < len(chosen) < len(populations)
    if mixed and not asked.across:
        raise DsdError(_mixed(chosen[0], populations))
    tables = {p.name: limited(p, asked.where, asked.prefix, asked.whole) for p in populations}
    scored = [one for p in populations for one in _parts(p, tables[p.name], asked)]
    empty = [one for one in scored if not one.errors.size]
    if empty:
        raise DsdError(_nothing_trained(empty, lab, asked.where))
    remarks = [*_shared(tables), *_chosen(chosen), *_without_part(tables, scored, asked.split)]
    if asked.normalize:
        sizes = [one.errors.size for one in scored]
        scored = _normalized(scored, asked)
        remarks += _outside(scored, sizes, asked.normalize)
    else:
        scored = _with_expected_best(scored, asked.confidence)
    pairs = _pairs(scored) if len(regimes) == 1 and not mixed else ()
    return Study(", ".join(regimes), asked, tuple(scored), pairs, tuple(remarks))


def _mixed(chosen: Population, populations: Sequence[Population]) -> str:
    sample = next(one.name for one in populations if not one.selected)
    return (
        f"{chosen.name} is a selection ({chosen.origin}), no sample of a space: its networks were "
        f"chosen, so their errors do not compare with those of {sample}. `dsd summary "
        f"{chosen.name}` sums it up; --across-regimes draws both all the same, without a test."
    )


def _parts(population: Population, table: pd.DataFrame, asked: Question) -> Iterator[Scored]:
    """The population, or its parts."""
    if not asked.split:
        yield _scored(population, population.name, table, asked)
        return
    for what, part in split(table, asked.split):
        yield _scored(population, f"{population.name} [{what}]", part, asked)


def _scored(population: Population, name: str, table: pd.DataFrame, asked: Question) -> Scored:
    ended = table[table["state"].isin(SCORED)]
    errors = ended[f"error_{asked.metric}"].to_numpy(dtype=float)
    if errors.size and (errors != errors).all():
        other = "lowest" if asked.metric == "last" else "last"
        raise DsdError(f"{population.name} has no {METRICS[asked.metric]}: try --metric {other}.")
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


def _with_expected_best(scored: Sequence[Scored], confidence: float) -> list[Scored]:
    """Beside each minimum, which depends on n: the best of equally many networks of each."""
    m = doublings(min(one.errors.size for one in scored))[-1:]
    if m[0] == 1:  # which is the mean
        return list(scored)
    return [replace(one, best=search_curve(one.errors, m, confidence)) for one in scored]


def _normalized(scored: Sequence[Scored], asked: Question) -> list[Scored]:
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


def _outside(scored: Sequence[Scored], sizes: Sequence[int], column: str) -> Iterator[str]:
    """How many networks the common range leaves out."""
    for one, size in zip(scored, sizes, strict=True):
        if one.errors.size < size:
            yield (
                f"Note: {size - one.errors.size} of {size} networks of {one.name} lie outside the "
                f"range of {column} that all populations share."
            )


def _pairs(scored: Sequence[Scored]) -> tuple[Comparison, ...]:
    weighted = [one.normalized for one in scored if one.normalized]
    if weighted:
        from dsd.analysis.normalize import compare_normalized

        return tuple(compare_normalized(a, b) for a, b in combinations(weighted, 2))
    return pairwise({one.name: one.errors for one in scored})


def _chosen(selections: Sequence[Population]) -> Iterator[str]:
    for one in selections:
        yield (f"Warning: {one.name} is a selection ({one.origin}), no sample. Its networks were "
               "chosen: their errors say nothing about a space.")  # fmt: skip


def _without_part(
    tables: Mapping[str, pd.DataFrame], scored: Sequence[Scored], text: str
) -> Iterator[str]:
    lost = sum(map(len, tables.values())) - sum(one.size for one in scored)
    if text and lost:
        yield f"Note: {lost} networks lack what --split '{text}' reads and are in no part."


def _shared(tables: Mapping[str, pd.DataFrame]) -> Iterator[str]:
    """Which pairs of populations have networks in common, trained once for both."""
    for (a, one), (b, other) in combinations(tables.items(), 2):
        if "run" in one and "run" in other:
            common = len(set(one["run"]) & set(other["run"]))
            if common:
                yield (f"Note: {a} and {b} share {common} networks; tests and intervals of their "
                       "difference suppose none.")  # fmt: skip


def scored_table(
    lab: Lab, reference: str, question: Question | None = None
) -> tuple[pd.DataFrame, NDArray[np.float64], Study]:
    """One population's networks with an error (every column), their errors (n,), and its study."""
    asked = question or Question()
    study = study_of(lab, [reference], asked)
    table = limited(lab.population(reference), asked.where, asked.prefix, whole=True)
    ended = table[table["state"].isin(SCORED)]
    return ended, ended[f"error_{asked.metric}"].to_numpy(dtype=float), study


def several_regimes(lab: Lab, populations: Sequence[Population], regimes: Sequence[str]) -> str:
    """Why populations of these regimes are not compared: how the first two regimes differ."""
    from dsd.store.declared import regime_differences

    sampled = [row for population in populations for row in population.rows]
    one, other = [*regimes, ""][:2]
    differ = regime_differences(lab.reader, one, other) if sampled else ""
    those = f" ({differ})" if differ else ""
    named = f"Name one for each, such as {sampled[0].space}@{regimes[0]}, or" if sampled else "To"
    return (
        f"Errors compare inside one regime only; these were scored under {', '.join(regimes)}"
        f"{those}. {named} draw them all the same, without a test: --across-regimes."
    )


def _nothing_trained(empty: Sequence[Scored], lab: Lab, where: str) -> str:
    names = " or ".join(one.name for one in empty)
    if where and not any(one.size for one in empty):
        return f"No network of {names} meets --where '{where}'."
    queued = sum(one.unfinished for one in empty)
    where = lab.settings.database
    if not queued:
        return f"No network of {names} in {where} has an error: all failed or were cancelled."
    waiting = f"{queued} networks wait in {where}"
    return f"Nothing is trained yet in {names}; {waiting}. Run `dsd worker --gpu 0` (or --cpu)."
