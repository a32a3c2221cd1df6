"""How near the networks of a population are to a line: what `dsd fit` says, ready to print."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dsd.analysis.best import BestRange, best_range
from dsd.analysis.correlation import RankCorrelation, rank_correlation
from dsd.errors import DsdError, UsageError
from dsd.space.linear_fit import Fit, linear_fit, stages_of
from dsd.study import Question, Study, scored_table

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dsd.lab import Lab
    from dsd.net.groups import Stages

NAMING = ("population", "ordinal", "digest")


@dataclass(frozen=True)
class Fits:
    """The networks (n) of a population with an error: stages, fit (None: no line has as many
    stages), error in percent, and what names them.

    `best` is the range of e_fit that holds the best network, `rank` the rank correlation of e_fit
    with the error; None where there is none, as where every e_fit is 0.
    """

    study: Study
    named: tuple[dict[str, Any], ...]
    stages: tuple[Stages, ...]
    fits: tuple[Fit | None, ...]
    errors: NDArray[np.float64]
    best: BestRange | None
    rank: RankCorrelation | None

    @property
    def e_fit(self) -> NDArray[np.float64]:
        """e_fit (n,); NaN where nothing fits."""
        return np.array([fit.e_fit if fit else np.nan for fit in self.fits])

    @property
    def quartiles(self) -> list[float]:
        """Least, lower quartile, median, upper quartile and largest e_fit."""
        found = self.e_fit[np.isfinite(self.e_fit)]
        return [float(x) for x in np.quantile(found, [0, 0.25, 0.5, 0.75, 1])]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Plain data, a row a network: w0, wa, wm, e_fit, error."""
        rows = []
        for name, stages, fit, error in zip(
            self.named, self.stages, self.fits, self.errors.tolist(), strict=True
        ):
            line = fit.line if fit else None
            found = {key: getattr(line, key, None) for key in ("w0", "wa", "wm")}
            e_fit = fit.e_fit if fit else None
            rows.append({**name, "d": int(stages.d.sum()), **found, "e_fit": e_fit, "error": error})
        return rows

    def as_dict(self) -> dict[str, Any]:
        """The summary as plain data for JSON."""
        return {
            "regime": self.study.regime,
            "metric": self.study.metric,
            "confidence": self.study.confidence,
            "n": len(self.fits),
            "without_fit": self.fits.count(None),
            "on_a_line": int((self.e_fit == 0).sum()),
            "quartiles": self.quartiles,
            "best": self.best.as_dict() if self.best else None,
            "rank_correlation": self.rank.as_dict() if self.rank else None,
        }


def fits_of(
    lab: Lab, reference: str, wm: tuple[float, float], groups: bool = True,
    question: Question | None = None,
) -> Fits:  # fmt: skip
    """Fit every network of a population that has an error (see `dsd.space.linear_fit`).

    Raises UsageError where the population has no stages, DsdError where no network can be fitted.
    """
    table, errors, study = scored_table(lab, reference, question)
    if not {"d1", "w1"} <= set(table.columns):
        raise UsageError(f"{reference} has no depths and widths of stages (d1, w1, ...) to fit.")
    q = lab.population(reference).declared.get("quantum", 8)
    records: list[dict[str, Any]] = table.to_dict("records")  # type: ignore[assignment]
    stages = tuple(stages_of(record, reference) for record in records)
    fits = tuple(
        linear_fit(one, record.get("block") or "X", wm, q, groups)
        for one, record in zip(stages, records, strict=True)
    )
    if not any(fits):
        raise DsdError(f"No line with wm from {wm[0]:g} to {wm[1]:g} has the stages of any network "
                       f"of {reference}; widen --wm-range.")  # fmt: skip
    named = tuple({key: row[key] for key in NAMING if key in row} for row in records)
    e_fit = np.array([fit.e_fit if fit else np.nan for fit in fits])
    return Fits(study, named, stages, fits, errors, *_against(e_fit, errors, study.confidence))


def _against(
    e_fit: NDArray[np.float64], errors: NDArray[np.float64], confidence: float
) -> tuple[BestRange | None, RankCorrelation | None]:
    fitted = np.isfinite(e_fit) & np.isfinite(errors)
    if fitted.sum() < 4:
        return None, None
    vary = np.ptp(e_fit[fitted]) > 0 and np.ptp(errors[fitted]) > 0
    rank = rank_correlation(e_fit, errors, confidence) if vary else None
    return best_range(e_fit, errors, confidence), rank
