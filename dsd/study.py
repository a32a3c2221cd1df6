"""A comparison of populations: what `dsd edf` says, ready to print, to plot or to write as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

from dsd.analysis.compare import Comparison, pairwise
from dsd.analysis.summary import Summary, summarize
from dsd.errors import DsdError
from dsd.lab import SCORED, UNFINISHED

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from dsd.lab import Lab, Population

FAILED = ("failed", "out-of-memory", "cancelled")
METRICS = {"last": "error of the last epoch", "lowest": "lowest error over the epochs"}


@dataclass(frozen=True)
class Scored:
    """One population's errors (n,) in percent, in sampling order, and what is missing."""

    name: str
    regime: str
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
        more = {"diverged": self.diverged, "regime": self.regime}
        return {**self.summary.as_dict(), **counts, **more}


@dataclass(frozen=True)
class Study:
    """Populations of one regime side by side."""

    regime: str
    metric: str
    confidence: float
    populations: tuple[Scored, ...]
    comparisons: tuple[Comparison, ...]
    limits: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()
    chosen: tuple[str, ...] = ()

    @property
    def errors(self) -> dict[str, NDArray[np.float64]]:
        """Errors by population."""
        return {self.label(one): one.errors for one in self.populations}

    def label(self, one: Scored) -> str:
        """Its name, with its regime where there are several."""
        several = len({other.regime for other in self.populations}) > 1
        return f"{one.name} ({one.regime})" if several else one.name

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
        for pair in self.shared:
            yield f"Note: {pair}; tests and intervals of their difference suppose none."
        for selection in self.chosen:
            yield (f"Warning: {selection}. Its networks were chosen: their errors say nothing "
                   "about a space.")  # fmt: skip
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


def study_of(
    lab: Lab, references: Sequence[str], metric: str = "last", confidence: float = 0.95,
    where: str = "", prefix: bool = False, across: bool = False,
) -> Study:  # fmt: skip
    """Read, summarise and compare the populations.

    `where` keeps the networks that meet a condition, `prefix` those before the first unfinished
    one; `across` sets populations of several regimes side by side, without comparing them.
    Raises DsdError for an unknown population, for several regimes unless `across`, and where
    nothing is trained yet.
    """
    populations = [lab.population(reference) for reference in dict.fromkeys(references)]
    regimes = sorted(set().union(*(population.regimes for population in populations)))
    if len(regimes) > 1 and not across:
        raise DsdError(several_regimes(lab, populations, regimes))
    chosen = [population for population in populations if population.selected]
    mixed = 0 < len(chosen) < len(populations)
    if mixed and not across:
        raise DsdError(_mixed(chosen[0], populations))
    kept = [_kept(population, where, prefix) for population in populations]
    scored = [_scored(p, t, metric, confidence) for p, t in zip(populations, kept, strict=True)]
    empty = [one for one in scored if not one.errors.size]
    if empty:
        raise DsdError(_nothing_trained(empty, lab, where))
    pairs = pairwise({s.name: s.errors for s in scored}) if len(regimes) == 1 and not mixed else ()
    limits = tuple(text for text in (where, "finished prefix" * prefix) if text)
    shared = tuple(_shared(dict(zip((p.name for p in populations), kept, strict=True))))
    said = tuple(f"{one.name} is a selection ({one.origin}), no sample" for one in chosen)
    regime = ", ".join(regimes)
    return Study(regime, metric, confidence, tuple(scored), pairs, limits, shared, said)


def _mixed(chosen: Population, populations: Sequence[Population]) -> str:
    sample = next(one.name for one in populations if not one.selected)
    return (
        f"{chosen.name} is a selection ({chosen.origin}), no sample of a space: its networks were "
        f"chosen, so their errors do not compare with those of {sample}. `dsd summary "
        f"{chosen.name}` sums it up; --across-regimes draws both all the same, without a test."
    )


def _shared(tables: dict[str, pd.DataFrame]) -> Iterator[str]:
    """Which pairs of populations have networks in common, trained once for both."""
    for (a, one), (b, other) in combinations(tables.items(), 2):
        if "run" in one and "run" in other:
            common = len(set(one["run"]) & set(other["run"]))
            if common:
                yield f"{a} and {b} share {common} networks"


def scored_table(
    lab: Lab, reference: str, metric: str = "last", where: str = ""
) -> tuple[pd.DataFrame, NDArray[np.float64], Study]:
    """One population's networks with an error (every column), their errors (n,), and its study."""
    from dsd.where import matching

    study = study_of(lab, [reference], metric, where=where)
    table = lab.population(reference).frame
    table = table[matching(table, where)] if where else table
    ended = table[table["state"].isin(SCORED)]
    return ended, ended[f"error_{metric}"].to_numpy(dtype=float), study


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


def _kept(population: Population, where: str, prefix: bool) -> pd.DataFrame:
    """The networks asked for, with their states and errors."""
    table = population.frame if where else population.scores
    if prefix:
        waits = table["state"].isin(UNFINISHED)
        part = (table["ordinal"] == 0).cumsum()  # pooled seeds each have a prefix of their own
        table = table[waits.groupby(part).cummax() == 0]
    if where:
        from dsd.where import matching

        table = table[matching(table, where)]
    return table


def _scored(population: Population, table: pd.DataFrame, metric: str, confidence: float) -> Scored:
    ended = table[table["state"].isin(SCORED)]
    errors = ended[f"error_{metric}"].to_numpy(dtype=float)
    if errors.size and (errors != errors).all():
        other = "lowest" if metric == "last" else "last"
        raise DsdError(f"{population.name} has no {METRICS[metric]}: try --metric {other}.")
    states = table["state"]
    return Scored(
        name=population.name,
        regime=", ".join(sorted(population.regimes)),
        errors=errors,
        summary=summarize(errors, population.name, confidence),
        size=len(table),
        unfinished=int(states.isin(UNFINISHED).sum()),
        failed=int(states.isin(FAILED).sum()),
        diverged=int((states == "diverged").sum()),
        parts=population.parts,
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
