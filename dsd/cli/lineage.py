"""`dsd lineage`: the steps of a study as one table."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any

import click

from dsd.cli.options import pass_lab

if TYPE_CHECKING:
    from dsd.lab import Lab


@click.command()
@click.argument("populations", nargs=-1, required=True)
@click.option("--metric", type=click.Choice(["last", "lowest"]), default="last", show_default=True,
              help="Error of the last epoch, or the lowest of all.")  # fmt: skip
@click.option("--confidence", type=click.FloatRange(0, 1, True, True), default=0.95,
              show_default=True, help="Level of intervals and verdicts.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@pass_lab
def lineage(
    lab: Lab, populations: tuple[str, ...], metric: str, confidence: float, as_json: bool,
    as_csv: bool,
) -> None:  # fmt: skip
    """Show POPULATIONS as the steps of a study, each against the one before it.

    What each adds to the rules of the one before, its size, minimum, mean with interval, and the
    verdict of `dsd compare`, corrected for the number of steps.

    \b
        dsd lineage anynetx_a anynetx_b anynetx_c anynetx_d anynetx_e
    """
    from dsd.study import study_of

    if as_json and as_csv:
        raise click.UsageError("--json and --csv exclude each other.")
    study = study_of(lab, populations, metric, confidence)
    steps = _steps(lab, study)
    if as_json:
        said = {"regime": study.regime, "metric": metric, "confidence": confidence, "steps": steps}
        click.echo(json.dumps(said, indent=2))
    elif as_csv:
        import pandas as pd

        click.echo(pd.DataFrame(steps).to_csv(index=False), nl=False)
    else:
        click.echo(f"top-1 error in percent, {study.note}")
        _show(steps)
    for line in study.warnings():
        click.echo(line, err=True)


def _steps(lab: Lab, study: Any) -> list[dict[str, Any]]:
    from dsd.analysis.difference import differences, holm
    from dsd.cli.compare import needed

    names = [one.name for one in study.populations]
    pairs = [differences({a: study.errors[a], b: study.errors[b]}, study.confidence)[0]
             for a, b in itertools.pairwise(names)]  # fmt: skip
    corrected = holm([pair.p_holm for pair in pairs])
    steps, before = [], None
    for i, one in enumerate(study.populations):
        rules = lab.population(one.name).declared
        verdict, p, gap = "", None, None
        if i:
            pair, p = pairs[i - 1], corrected[i - 1]
            words = {"better": "worse", "worse": "better", "different": "different"}
            shown = p < 1 - study.confidence
            verdict = words.get(pair.verdict, "") if shown else ""
            verdict, gap = verdict or f"no difference shown; {needed(pair)}", -pair.mean
        interval = one.summary.mean_interval
        steps.append({
            "population": one.name, "adds": _added(rules, before), "n": one.summary.n,
            "min": one.summary.min, "mean": one.summary.mean,
            "mean_interval": interval.as_list() if interval else None,
            "mean_change": gap, "p_holm": p, "verdict": verdict,
        })  # fmt: skip
        before = rules
    return steps


def _added(now: dict[str, Any], before: dict[str, Any] | None) -> str:
    """The rules that are new, or what else sets a step apart from the one before."""
    if not now:
        return "no space of its own"
    if before and before["form"] != now["form"]:
        return f"{now['form']} form"
    known = before["restrict"] if before else []
    new = [rule for rule in now["restrict"] if rule not in known]
    gone = [f"without {rule}" for rule in known if rule not in now["restrict"]]
    return ", ".join([*new, *gone]) or ("no new rule" if before else "no rule")


def _show(steps: list[dict[str, Any]]) -> None:
    from dsd.cli.compare import p_text
    from dsd.cli.text import table

    rows = []
    for one in steps:
        low, high = one["mean_interval"] or (float("nan"), float("nan"))
        change = "" if one["mean_change"] is None else f"{one['mean_change']:+.1f}"
        p = "" if one["p_holm"] is None else p_text(one["p_holm"])
        rows.append([one["population"], one["adds"], str(one["n"]), f"{one['min']:.1f}",
                     f"{one['mean']:.1f} [{low:.1f}, {high:.1f}]", change, p,
                     one["verdict"]])  # fmt: skip
    heads = ["population", "adds", "n", "min", "mean", "change", "p", "against the one before"]
    table(heads, rows, left=(0, 1, 7))
