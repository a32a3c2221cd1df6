"""Best values against compute over several regimes: what `dsd trends` says, ready to print."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dsd.analysis.trend import Trend, trend
from dsd.errors import UsageError
from dsd.scored import METRICS
from dsd.study import Question, Study, scored_table
from dsd.where import values

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dsd.lab import Lab

DEFAULT = ("d", "b", "g", "wm", "wa", "w0")  # the columns of RegNet's figure 11


@dataclass(frozen=True)
class Trends:
    """Populations of k regimes in the order of their median flops, and each column's trend.

    `columns` also lists what was left out, with why.
    """

    names: tuple[str, ...]
    studies: tuple[Study, ...]
    flops: tuple[float, ...]
    columns: dict[str, Trend]
    left_out: dict[str, str]
    notes: tuple[str, ...]

    @property
    def note(self) -> str:
        """What holds for every figure."""
        first = self.studies[0]
        kept = "".join(f", {limit}" for limit in first.limits)
        return f"ranked within each regime by the {METRICS[first.metric]}{kept}"

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        populations = [
            {"population": name, "regime": study.regime, "flops": flops}
            for name, study, flops in zip(self.names, self.studies, self.flops, strict=True)
        ]
        columns = []
        for name, found in self.columns.items():
            ranges = [one.as_dict() for one in found.ranges]
            columns.append({"column": name, **found.as_dict(), "ranges": ranges})
        return {
            "metric": self.studies[0].metric,
            "populations": populations,
            "columns": columns,
            "left_out": self.left_out,
        }

    def rows(self) -> Iterator[dict[str, Any]]:
        """A row for each column and regime: its best value's range, and the column's slope."""
        for column, found in self.columns.items():
            slope = {"slope": found.slope, "slope_low": found.low, "slope_high": found.high}
            for name, study, flops, one in zip(
                self.names, self.studies, self.flops, found.ranges, strict=True
            ):
                own = {"column": column, "population": name, "regime": study.regime}
                yield {**own, "flops": flops, **one.as_dict(), **slope}

    def warnings(self) -> Iterator[str]:
        """What a reader must know before believing the numbers."""
        yield from self.notes
        for study in self.studies:
            yield from study.warnings()


def trends_of(
    lab: Lab, references: Sequence[str], columns: Sequence[str] = (),
    question: Question | None = None,
) -> Trends:  # fmt: skip
    """The trend of each column over populations of different regimes.

    Without columns, those of `DEFAULT` that every population has. Raises UsageError for fewer than
    two populations, two of one regime, and a column that one lacks.
    """
    references = list(dict.fromkeys(references))
    if len(references) < 2:
        raise UsageError(f"{', '.join(references)}: a trend needs populations of two regimes at "
                         "least; name more, or --regimes R1,R2,... for one space.")  # fmt: skip
    found = [scored_table(lab, one, question) for one in references]
    _check_regimes(references, [study for _, _, study in found])
    medians = [
        float(np.median(_finite(values(table, "flops", f"{name}, compute"), name)))
        for name, (table, _, _) in zip(references, found, strict=True)
    ]
    order = sorted(range(len(references)), key=medians.__getitem__)
    names, flops = [references[i] for i in order], [medians[i] for i in order]
    found = [found[i] for i in order]
    asked = columns or [name for name in DEFAULT if all(name in table for table, _, _ in found)]
    if not asked:
        raise UsageError(f"{', '.join(names)} share none of {', '.join(DEFAULT)}: name --columns.")
    series = {
        column: [
            (values(table, column, f"{name}, --columns"), errors)
            for name, (table, errors, _) in zip(names, found, strict=True)
        ]
        for column in dict.fromkeys(asked)
    }
    left_out = {} if columns else _without_spread(series)
    kept = {
        column: trend(flops, parts, found[0][2].confidence)
        for column, parts in series.items()
        if column not in left_out
    }
    studies = [study for _, _, study in found]
    notes = tuple(_notes(lab, names))
    return Trends(tuple(names), tuple(studies), tuple(flops), kept, left_out, notes)


def _finite(flops: NDArray[np.float64], name: str) -> NDArray[np.float64]:
    there = flops[np.isfinite(flops)]
    if not len(there):
        raise UsageError(f"{name}: no network has flops, which place it on the axis of compute.")
    return there


def _check_regimes(references: Sequence[str], studies: Sequence[Study]) -> None:
    owner: dict[str, str] = {}
    for reference, study in zip(references, studies, strict=True):
        if study.regime in owner:
            raise UsageError(f"{owner[study.regime]} and {reference} are both of the regime "
                             f"'{study.regime}'; give one population for each regime.")  # fmt: skip
        owner[study.regime] = reference


def _without_spread(series: dict[str, Any]) -> dict[str, str]:
    """Default columns that cannot move: one value in all populations."""
    same = {}
    for column, parts in series.items():
        seen = np.unique(np.concatenate([x[np.isfinite(x)] for x, _ in parts]))
        if len(seen) < 2:
            same[column] = f"is {seen[0]:g} in all" if len(seen) else "has no value"
    return same


def _notes(lab: Lab, names: Sequence[str]) -> Iterator[str]:
    """What may move beside compute: the space, and the rest of the regimes."""
    from dsd.store.declared import regime_differences

    populations = [lab.population(name) for name in names]
    rows = [population.rows[0] for population in populations if population.rows]
    if len(rows) < len(populations):
        yield ("Note: nothing is known here of the regimes of imports; a trend supposes that they "
               "differ in compute alone.")  # fmt: skip
    spaces = dict.fromkeys(row.space for row in rows)
    if len(spaces) > 1:
        yield f"Warning: the populations are of several spaces, {', '.join(spaces)}."
    for row in rows[1:]:
        differ = regime_differences(lab.reader, rows[0].regime, row.regime, beside="band.")
        if differ:
            yield (f"Warning: regimes {rows[0].regime} and {row.regime} differ beside compute: "
                   f"{differ}.")  # fmt: skip
