"""A comparison of populations: what `dsd edf` says, ready to print, to plot or to write as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

from dsd.analysis.compare import Comparison, pairwise
from dsd.errors import DsdError, UsageError
from dsd.parts import limited
from dsd.scored import (
    COMPLEXITIES,
    METRICS,
    Question,
    Scored,
    at_equal_complexity,
    ended,
    outside,
    parts_of,
    with_expected_best,
)

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from dsd.lab import Lab, Population

__all__ = ["Question", "Scored", "Study", "scored_table", "study_of"]


FEW = 30  # networks that a mean's interval needs to hold as often as it says
FEW_DIVERGED = 5  # of such networks, where there are any: their share is part of the mean


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
        several = len({one.regime for one in self.populations}) > 1
        return f"regime{'s' * several} {self.regime}, {METRICS[self.metric]}{kept}"

    @property
    def doubt(self) -> str:
        """Whose mean's interval holds less often than it says (docs/statistics/README.md)."""
        weak = [
            self.label(one) for one in self.populations
            if 1 < one.summary.n < FEW or 0 < one.diverged < FEW_DIVERGED
        ]  # fmt: skip
        if not weak or self.question.normalize:
            return ""
        level, names = f"{100 * self.confidence:g}%", ", ".join(weak)
        return (
            f"the mean's interval of {names} holds less often than {level}: under {FEW} networks, "
            f"or under {FEW_DIVERGED} diverged ones"
        )

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
    scored = [one for p in populations for one in parts_of(p, tables[p.name], asked)]
    empty = [one for one in scored if not one.errors.size]
    if empty:
        raise DsdError(_nothing_trained(empty, lab, asked))
    remarks = [
        *_left_out(populations),
        *_shared(tables),
        *_chosen(chosen),
        *_without_part(tables, scored, asked.split),
    ]
    if asked.normalize:
        sizes = [one.errors.size for one in scored]
        scored = at_equal_complexity(scored, asked)
        remarks += outside(scored, sizes, asked.normalize)
    else:
        scored = with_expected_best(scored, asked.confidence)
    pairs = _pairs(scored) if len(regimes) == 1 and not mixed else ()
    return Study("; ".join(regimes), asked, tuple(scored), pairs, tuple(remarks))


def _mixed(chosen: Population, populations: Sequence[Population]) -> str:
    sample = next(one.name for one in populations if not one.selected)
    return (
        f"{chosen.name} is a selection ({chosen.origin}), no sample of a space: its networks were "
        f"chosen, so their errors do not compare with those of {sample}. `dsd summary "
        f"{chosen.name}` sums it up; --across-regimes draws both all the same, without a test."
    )


def _pairs(scored: Sequence[Scored]) -> tuple[Comparison, ...]:
    weighted = [one.normalized for one in scored if one.normalized]
    if weighted:
        from dsd.analysis.normalize import compare_normalized

        return tuple(compare_normalized(a, b) for a, b in combinations(weighted, 2))
    return pairwise({one.name: one.errors for one in scored})


def _left_out(populations: Sequence[Population]) -> Iterator[str]:
    """Rows of imported files that were of no use."""
    for one in populations:
        bad = one.external.tally.get("bad", 0) if one.external else 0
        if bad:
            yield (f"Warning: {bad} rows of the file of {one.name} were left out when it was "
                   "imported and are missing here.")  # fmt: skip


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
    return *ended(lab, reference, asked), study


def several_regimes(lab: Lab, populations: Sequence[Population], regimes: Sequence[str]) -> str:
    """Why populations of these regimes are not compared: how the first two regimes differ."""
    from dsd.store.declared import regime_differences

    sampled = [row for population in populations for row in population.rows]
    one, other = [*regimes, ""][:2]
    differ = regime_differences(lab.reader, one, other) if sampled else ""
    those = f" ({differ})" if differ else ""
    named = (
        f"Name one for each, such as {sampled[0].space}@{sampled[0].regime}; " if sampled else ""
    )
    return (
        f"Errors compare inside one regime only; these were scored under {'; '.join(regimes)}"
        f"{those}. {named}`dsd edf --across-regimes` draws them all the same, without a test."
    )


def _nothing_trained(empty: Sequence[Scored], lab: Lab, asked: Question) -> str:
    names = " or ".join(one.name for one in empty)
    if not any(one.size for one in empty):
        if asked.split:
            return f"No network is in {names}; split where both sides of '{asked.split}' have some."
        if asked.prefix:
            return f"No network of {names} comes before the first unfinished one (--prefix)."
        return f"No network of {names} meets --where '{asked.where}'."
    queued = sum(one.unfinished for one in empty)
    where = lab.settings.database
    if not queued:
        return (f"No network of {names} in {where} has an error: all failed or were cancelled "
                "(`dsd runs --state failed` tells why).")  # fmt: skip
    waiting = f"{queued} networks wait in {where}"
    return f"Nothing is trained yet in {names}; {waiting}. Run `dsd worker --gpu 0` (or --cpu)."
