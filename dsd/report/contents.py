"""What a report says: every number of it, gathered from a study before anything is drawn."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dsd.analysis.best import BestRange, best_range
from dsd.analysis.checks import FloatArray
from dsd.analysis.difference import Difference, differences
from dsd.analysis.search import ExpectedBest, search_curve
from dsd.analysis.verdict import sentence
from dsd.errors import DsdError
from dsd.lineage import Step, lineage
from dsd.scored import ended
from dsd.study import Question, Study, study_of
from dsd.trends import Trends, trends_of

if TYPE_CHECKING:
    import pandas as pd

    from dsd.lab import Lab, Population

FEWEST = 4  # networks that a best range needs
MANY = 3  # populations; of more, the steps alone are told in the summary
SHOWN = 5  # best and worst networks
HIDDEN = ("population", "space", "regime", "seed", "message", "attempts", "stages")


@dataclass(frozen=True)
class Part:
    """One population of a report: its networks with an error, and what is known of them."""

    name: str
    table: pd.DataFrame
    errors: FloatArray
    ranges: dict[str, BestRange]
    search: ExpectedBest
    curves: FloatArray
    origin: dict[str, Any]

    @property
    def columns(self) -> list[str]:
        """What the page tells of each network."""
        there = self.table.columns[self.table.notna().any()]
        return [str(name) for name in there if name not in HIDDEN]

    def extremes(self, metric: str, n: int = SHOWN) -> dict[str, pd.DataFrame]:
        """The n best and the n worst networks."""
        ranked = self.table.sort_values(f"error_{metric}", kind="stable")
        return {"best": ranked.head(n), "worst": ranked.tail(n).iloc[::-1]}


@dataclass(frozen=True)
class Contents:
    """A study, ready to be shown."""

    study: Study
    parts: tuple[Part, ...]
    steps: tuple[Step, ...]
    pairs: tuple[Difference, ...]
    regime: dict[str, Any]
    trends: dict[str, Trends]

    def summary(self) -> Iterator[str]:
        """The answer in sentences, the most important first."""
        level = self.study.confidence
        best = min(self.study.populations, key=lambda one: one.summary.mean or 0.0)
        interval = best.summary.mean_interval
        limits = f" [{interval.low:.1f}, {interval.high:.1f}]" if interval else ""
        if len(self.parts) > 1:
            yield f"{best.name} has the lowest mean error: {best.summary.mean:.1f}%{limits}."
        else:
            yield f"{best.name} has a mean error of {best.summary.mean:.1f}%{limits}."
        if len(self.parts) > MANY:
            chain = differences(self.study.errors, level, chain=True)
            yield from (sentence(pair, level) for pair in chain)
        else:
            yield from (sentence(pair, level) for pair in self.pairs)


def contents(
    lab: Lab, references: Sequence[str], question: Question, columns: Sequence[str] = ()
) -> Contents:
    """Everything a report on the populations says; best ranges of `columns`, or of usual ones.

    Raises as `study_of` does, and DsdError for a population with a single network.
    """
    study = study_of(lab, references, question)
    short = [one.name for one in study.populations if one.errors.size < 2]
    if short:
        raise DsdError(f"{short[0]} has one network with an error: a report needs 2 at least.")
    parts = tuple(_part(lab, one.name, question, columns) for one in study.populations)
    pairs = differences(study.errors, study.confidence) if len(parts) > 1 else ()
    steps, trends = tuple(lineage(lab, study)), dict(_trends(lab, parts, question))
    return Contents(study, parts, steps, pairs, _regime(lab, parts), trends)


def _part(lab: Lab, name: str, question: Question, columns: Sequence[str]) -> Part:
    from dsd.where import values

    table, errors = ended(lab, name, question)
    table = table.reset_index(drop=True)
    population = lab.population(name)
    ranges = {}
    for column in columns or usual_columns(table):
        if len(table) >= FEWEST:
            ranges[column] = best_range(values(table, column), errors, question.confidence)
    curve = search_curve(errors, confidence=question.confidence)
    return Part(name, table, errors, ranges, curve, _curves(population, table), _origin(population))


def usual_columns(table: pd.DataFrame) -> list[str]:
    """Depth, first and last width, b, g, and a quantised line's parameters, where they vary."""
    named = [str(name) for name in table.columns]
    widths = [name for name in named if name[0] == "w" and name[1:].isdigit() and name != "w0"]
    last = [max(widths, key=lambda name: int(name[1:]))] if widths else []
    asked = ["d", "depth", "w1", *last, "b1", "g1", "w0", "wa", "wm"]
    return [
        name for name in dict.fromkeys(asked)
        if name in table and table[name].nunique() > 1 and table[name].notna().sum() >= FEWEST
    ]  # fmt: skip


def _curves(population: Population, table: pd.DataFrame) -> FloatArray:
    """Test errors (n, epochs) of the table's networks, NaN where there is none."""
    long = population.curves
    if long.empty:
        return np.empty((len(table), 0))
    keys = ["population", "ordinal"]
    wide = long.pivot_table(index=keys, columns="epoch", values="test_error", aggfunc="last")
    rows = list(zip(*(table[key] for key in keys), strict=True))
    return np.asarray(wide.reindex(rows).to_numpy(dtype=float))


def _origin(population: Population) -> dict[str, Any]:
    """Where a population comes from: declaration, draw, machines."""
    if population.external:
        return {"source": population.external.source, "kind": population.external.kind}
    said: dict[str, Any] = {"populations": ", ".join(population.parts)}
    table = population.provenance
    for name in ("from_dsd", "from_commit", "from_torch", "from_device", "from_dataset"):
        if name in table:
            counts = table[name].value_counts()
            said[name.removeprefix("from_")] = ", ".join(f"{k} ({n})" for k, n in counts.items())
    if "started" in table and table["started"].notna().any():
        said |= {"first started": table["started"].min(), "last finished": table["finished"].max()}
    said["space"] = json.dumps(population.declared)
    return said


def _trends(lab: Lab, parts: Sequence[Part], question: Question) -> Iterator[tuple[str, Trends]]:
    """Of each sampled space that the database also holds, trained, under other regimes."""
    from dsd.store.populations import populations

    spaces = dict.fromkeys(row.space for part in parts for row in lab.population(part.name).rows)
    every = populations(lab.reader) if spaces else []
    for space in spaces:
        names = dict.fromkeys(f"{row.space}@{row.regime}" for row in every if row.space == space)
        trained = [name for name in names if len(lab.population(name).scored) >= FEWEST]
        if len(trained) > 1:
            yield space, trends_of(lab, trained, question=question)


def _regime(lab: Lab, parts: Sequence[Part]) -> dict[str, Any]:
    """The regime as it was stored; {} for imports."""
    from dsd.store.declared import stored_regime

    rows = [row for part in parts for row in lab.population(part.name).rows]
    return stored_regime(lab.reader, rows[0].regime) if rows else {}
