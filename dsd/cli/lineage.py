"""`dsd lineage`: the steps of a study as one table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from dsd.cli.answer import Form, answering

if TYPE_CHECKING:
    from dsd.lab import Lab
    from dsd.lineage import Step


@click.command()
@click.argument("populations", nargs=-1, required=True)
@answering("where", "prefix", "metric", "confidence", figure=False)
def lineage(lab: Lab, populations: tuple[str, ...], form: Form, **asked: Any) -> None:
    """Show POPULATIONS as the steps of a study, each against the one before it.

    What each adds to the rules of the one before, its size, minimum, mean with interval, and the
    verdict of `dsd compare`, corrected for the number of steps.

    \b
        dsd lineage anynetx_a anynetx_b anynetx_c anynetx_d anynetx_e
    """
    from dsd.lineage import lineage as steps_of
    from dsd.study import Question, study_of

    study = study_of(lab, populations, Question(**asked))
    steps = steps_of(lab, study)
    rows = [one.as_dict() for one in steps]
    said = {"regime": study.regime, "metric": study.metric, "confidence": study.confidence,
            "steps": rows}  # fmt: skip

    def show() -> None:
        click.echo(f"top-1 error in percent, {study.note}")
        _show(steps)

    form.print(said, rows, show, study.warnings())


def _show(steps: list[Step]) -> None:
    from dsd.analysis.verdict import p_text
    from dsd.cli.text import table

    rows = []
    for one in steps:
        mean = f"{one.mean:.1f}{_limits(one.mean_interval, '.1f')}"
        change = "" if one.mean_change is None else f"{one.mean_change:+.1f}"
        p = "" if one.p_holm is None else p_text(one.p_holm)
        rows.append([one.population, one.adds, str(one.n), f"{one.min:.1f}", mean,
                     change + _limits(one.change_interval, "+.1f"), p, one.verdict])  # fmt: skip
    heads = ["population", "adds", "n", "min", "mean", "change", "p", "against the one before"]
    table(heads, rows, left=(0, 1, 7))


def _limits(interval: list[float] | None, form: str) -> str:
    return f" [{interval[0]:{form}}, {interval[1]:{form}}]" if interval else ""
