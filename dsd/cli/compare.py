"""`dsd compare`: is one population better than another, and how sure is that?"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from dsd.cli.options import pass_lab

if TYPE_CHECKING:
    from dsd.analysis.bootstrap import Interval
    from dsd.analysis.difference import Difference
    from dsd.lab import Lab

MANY = 100_000


@click.command()
@click.argument("populations", nargs=-1, required=True)
@click.option("--where", default="", metavar="EXPR", help="Only networks that meet this.")
@click.option("--prefix", is_flag=True,
              help="Only networks before the first unfinished one, in sampling order.")  # fmt: skip
@click.option("--metric", type=click.Choice(["last", "lowest"]), default="last", show_default=True,
              help="Error of the last epoch, or the lowest of all.")  # fmt: skip
@click.option("--confidence", type=click.FloatRange(0, 1, True, True), default=0.95,
              show_default=True, help="Level of intervals and verdicts.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@pass_lab
def compare(
    lab: Lab, populations: tuple[str, ...], where: str, prefix: bool, metric: str,
    confidence: float, as_json: bool, as_csv: bool,
) -> None:  # fmt: skip
    """Compare POPULATIONS pair by pair: differences with intervals, a test, a verdict in words.

    Differences are the first minus the second, in percent of error: below 0 the first is better.
    p is the Kolmogorov-Smirnov test's after Holm's correction for the number of pairs.

    \b
        dsd compare anynetx_c anynetx_d
        dsd compare anynetx_a anynetx_d regnetx --json
    """
    from dsd.analysis.difference import differences
    from dsd.study import study_of

    if as_json and as_csv:
        raise click.UsageError("--json and --csv exclude each other.")
    if len(set(populations)) < 2:
        raise click.UsageError("Two populations at least are needed.")
    study = study_of(lab, populations, metric, confidence, where, prefix)
    found = differences(study.errors, confidence)
    if as_json:
        said = {"regime": study.regime, "metric": metric, "confidence": confidence,
                "comparisons": [one.as_dict() for one in found]}  # fmt: skip
        click.echo(json.dumps(said, indent=2))
    elif as_csv:
        import pandas as pd

        click.echo(pd.DataFrame([one.as_dict() for one in found]).to_csv(index=False), nl=False)
    else:
        click.echo(f"top-1 error in percent, {study.note}")
        _show(found, confidence)
    for line in study.warnings():
        click.echo(line, err=True)


def _show(found: tuple[Difference, ...], confidence: float) -> None:
    from dsd.cli.text import table

    rows = [
        [f"{one.a} - {one.b}", _signed(one.mean, one.mean_interval),
         _signed(one.median, one.median_interval),
         f"{one.wins:.2f} [{one.wins_interval.low:.2f}, {one.wins_interval.high:.2f}]",
         f"{one.test.ks:.2f}", p_text(one.p_holm)]
        for one in found
    ]  # fmt: skip
    table(["pair", "mean", "median", "first wins", "KS", "p"], rows)
    click.echo(
        f"[{100 * confidence:g}% intervals: Welch for the mean, bootstrap for the median, DeLong "
        "for the chance that a network of the first beats one of the second]"
    )
    click.echo()
    for line in verdicts(found, confidence):
        click.echo(line)


def verdicts(found: tuple[Difference, ...], confidence: float) -> Iterator[str]:
    """One sentence a pair."""
    level = f"{100 * confidence:g}% confidence"
    for one in found:
        if one.verdict in ("better", "worse"):
            way = "lower" if one.mean < 0 else "higher"
            yield (f"{one.a} is {one.verdict} than {one.b} ({level}): its mean error is "
                   f"{abs(one.mean):.1f} points {way}.")  # fmt: skip
        elif one.verdict == "different":
            yield f"{one.a} and {one.b} differ ({level}), but neither has the lower mean for sure."
        else:
            yield f"{one.a} and {one.b}: no difference shown; {needed(one)}."


def needed(one: Difference) -> str:
    """How many networks more would tell."""
    if one.more is None or one.more > MANY:
        return "what is seen is too small for any number of networks to show"
    return f"about {one.more:,} more networks of each would show a difference as large as seen"


def p_text(p: float) -> str:
    """0.012, or 3e-05"""
    return f"{p:.3f}" if p >= 0.001 else f"{p:.0e}"


def _signed(value: float, interval: Interval) -> str:
    return f"{value:+.1f} [{interval.low:+.1f}, {interval.high:+.1f}]"
