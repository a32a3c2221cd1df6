"""Populations as the steps of a study: what each adds, and whether it is better for it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from dsd.analysis.difference import differences
from dsd.analysis.verdict import of_the_second

if TYPE_CHECKING:
    from dsd.lab import Lab
    from dsd.study import Scored, Study


@dataclass(frozen=True)
class Step:
    """One population: the rules it adds, its errors in percent, and what the step changed.

    `mean_change` is its mean minus that of the one before, with its interval; `p_holm` is the KS
    test's, corrected for the number of steps. None and "" for the first.
    """

    population: str
    adds: str
    n: int
    min: float
    mean: float
    mean_interval: list[float] | None
    mean_change: float | None = None
    change_interval: list[float] | None = None
    p_holm: float | None = None
    verdict: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def lineage(lab: Lab, study: Study) -> list[Step]:
    """The study's populations in their order, each against the one before it."""
    declared = [lab.population(one.name).declared for one in study.populations]
    pairs = differences(study.errors, study.confidence, chain=True) if len(declared) > 1 else ()
    first, *later = study.populations
    steps = [Step(**_numbers(first), adds=added(declared[0], None))]
    for i, (one, pair) in enumerate(zip(later, pairs, strict=True), 1):
        limits = [-pair.mean_interval.high, -pair.mean_interval.low]
        steps.append(
            Step(
                **_numbers(one),
                adds=added(declared[i], declared[i - 1]),
                mean_change=-pair.mean,
                change_interval=limits,
                p_holm=pair.p_holm,
                verdict=of_the_second(pair),
            )
        )
    return steps


def _numbers(one: Scored) -> dict[str, Any]:
    s = one.summary
    interval = s.mean_interval.as_list() if s.mean_interval else None
    return {"population": one.name, "n": s.n, "min": s.min, "mean": s.mean,
            "mean_interval": interval}  # fmt: skip


def added(now: dict[str, Any], before: dict[str, Any] | None) -> str:
    """The rules that are new, or what else sets a declared space apart from the one before."""
    if not now:
        return "no space of its own"
    if before and before["form"] != now["form"]:
        return f"{now['form']} form"
    known = before["restrict"] if before else []
    new = [rule for rule in now["restrict"] if rule not in known]
    gone = [f"without {rule}" for rule in known if rule not in now["restrict"]]
    return ", ".join([*new, *gone]) or ("no new rule" if before else "no rule")
