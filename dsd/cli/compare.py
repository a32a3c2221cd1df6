"""`dsd compare`: is one population better than another, and how sure is that?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from dsd.cli.answer import Form, answering, several

if TYPE_CHECKING:
    from dsd.analysis.bootstrap import Interval
    from dsd.analysis.difference import Difference
    from dsd.lab import Lab


@click.command()
@click.argument("populations", nargs=-1, required=True)
@click.option("--quantiles", default="", metavar="0.1,0.9", callback=several(float),
              help="Differences of these quantiles, too.")  # fmt: skip
@answering("where", "prefix", "metric", "confidence", figure=False)
def compare(
    lab: Lab, populations: tuple[str, ...], quantiles: tuple[float, ...], form: Form, **asked: Any
) -> None:
    """Compare POPULATIONS pair by pair: differences with intervals, a test, a verdict in words.

    Differences are the first minus the second, in percent of error: below 0 the first is better.
    p is the Kolmogorov-Smirnov test's after Holm's correction for the number of pairs.

    \b
        dsd compare anynetx_c anynetx_d
        dsd compare anynetx_a anynetx_d regnetx --json
    """
    from dsd.analysis.difference import differences
    from dsd.study import Question, study_of

    if len(set(populations)) < 2:
        raise click.UsageError("Two populations at least are needed.")
    study = study_of(lab, populations, Question(quantiles=quantiles, **asked))
    found = differences(study.errors, study.confidence, quantiles=quantiles)
    rows = [_row(one) for one in found]
    said = {"regime": study.regime, "metric": study.metric, "confidence": study.confidence,
            "comparisons": [one.as_dict() for one in found]}  # fmt: skip

    def show() -> None:
        click.echo(f"top-1 error in percent, {study.note}")
        _show(found, study.confidence)

    form.print(said, rows, show, study.warnings())


def _row(one: Difference) -> dict[str, Any]:
    """One row of the CSV."""
    row = one.as_dict()
    for quantile in row.pop("quantile_differences"):
        name = f"quantile_{quantile['level']:g}_difference"
        row |= {name: quantile["value"], f"{name}_interval": quantile["interval"]}
    return row


def _show(found: tuple[Difference, ...], confidence: float) -> None:
    from dsd.analysis.verdict import p_text, sentence
    from dsd.cli.text import table

    rows = [
        [f"{one.a} - {one.b}", _signed(one.mean, one.mean_interval),
         _signed(one.median, one.median_interval),
         *(_signed(q.value, q.interval) for q in one.quantiles),
         f"{one.wins:.2f} [{one.wins_interval.low:.2f}, {one.wins_interval.high:.2f}]",
         f"{one.test.ks:.2f}", p_text(one.p_holm)]
        for one in found
    ]  # fmt: skip
    more = [f"{100 * q.level:g}% quantile" for q in found[0].quantiles]
    table(["pair", "mean", "median", *more, "first wins", "KS", "p"], rows)
    click.echo(
        f"[{100 * confidence:g}% intervals: Welch for the mean, bootstrap for quantiles, DeLong "
        "for the chance that a network of the first beats one of the second]"
    )
    click.echo()
    for one in found:
        click.echo(sentence(one, confidence))


def _signed(value: float, interval: Interval | None) -> str:
    return f"{value:+.1f}" + (f" [{interval.low:+.1f}, {interval.high:+.1f}]" if interval else "")
