"""`dsd edf`: error distributions of populations, side by side."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import click

from dsd.cli.options import pass_lab

if TYPE_CHECKING:
    from dsd.analysis.bootstrap import Interval
    from dsd.analysis.compare import Comparison
    from dsd.lab import Lab
    from dsd.study import Study


@click.command()
@click.argument("populations", nargs=-1, required=True)
@click.option("--plot", is_flag=False, flag_value="", default=None, metavar="[FILE]",
              help="Draw the EDFs: PNG, PDF or SVG by the ending.")  # fmt: skip
@click.option("--where", default="", metavar="EXPR",
              help="Only networks that meet this, such as 'd <= 20 and w4 > 2 * w3'.")  # fmt: skip
@click.option("--prefix", is_flag=True,
              help="Only networks before the first unfinished one, in sampling order.")  # fmt: skip
@click.option("--across-regimes", "across", is_flag=True,
              help="Draw populations of several regimes, without comparing them.")  # fmt: skip
@click.option("--metric", type=click.Choice(["last", "lowest"]), default="last", show_default=True,
              help="Error of the last epoch, or the lowest of all.")  # fmt: skip
@click.option("--confidence", type=click.FloatRange(0, 1, True, True), default=0.95,
              show_default=True, help="Level of intervals and bands.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--csv", "as_csv", is_flag=True, help="Print the table as CSV.")
@pass_lab
def edf(
    lab: Lab,
    populations: tuple[str, ...],
    plot: str | None,
    where: str,
    prefix: bool,
    across: bool,
    metric: str,
    confidence: float,
    as_json: bool,
    as_csv: bool,
) -> None:
    """Compare the error distributions of POPULATIONS.

    A population is space[@regime][#seed], the name of an import, or one that the RegNet paper
    published: paper/anynetx_a, paper/anynetx_c, paper/anynetx_d, paper/regnetx.

    \b
        dsd edf anynetx_d anynetx_e --plot
        dsd edf anynetx_d@cifar10 regnetx@cifar10 --plot figure.pdf
    """
    from dsd.study import study_of

    if as_json and as_csv:
        raise click.UsageError("--json and --csv exclude each other.")
    study = study_of(lab, populations, metric, confidence, where, prefix, across)
    if as_json:
        click.echo(json.dumps(study.as_dict(), indent=2))
    elif as_csv:
        click.echo(_csv(study), nl=False)
    else:
        show(study)
    for line in study.warnings():
        click.echo(line, err=True)
    if plot is not None:
        path = draw(study, plot or default_name("edf", [one.name for one in study.populations]))
        click.echo(f"Wrote {path}", err=as_json or as_csv)


def default_name(command: str, names: list[str]) -> str:
    """edf-anynetx_d-anynetx_e.png"""
    return "-".join([command, *(re.sub(r"[^\w.]+", "-", name) for name in names)]) + ".png"


def draw(study: Study, file: str) -> str:
    """Write the figure; its path."""
    from dsd.plot.edf import plot_edfs
    from dsd.plot.files import save, writable

    path = writable(file)
    save(plot_edfs(study.errors, confidence=study.confidence, note=study.note), path)
    return str(path)


def show(study: Study) -> None:
    """Print the study as tables."""
    from dsd.cli.text import table

    level = f"{100 * study.confidence:g}%"
    click.echo(f"top-1 error in percent, {study.note}")
    rows = []
    for one in study.populations:
        s = one.summary
        median = s.median_interval
        attained = median if median and median.confidence >= study.confidence else None
        rows.append([study.label(one), str(s.n), _percent(s.min, s.min_interval),
                     _percent(s.mean, s.mean_interval), _percent(s.median, attained),
                     *([str(one.diverged)] * _any_diverged(study))])  # fmt: skip
    more = ["diverged"] * _any_diverged(study)
    table(["population", "n", "min", "mean", "median", *more], rows)
    kinds = "min one-sided bootstrap, mean BCa bootstrap, median exact order statistics"
    click.echo(f"[{level} intervals: {kinds}]")
    if study.comparisons:
        click.echo()
        pairs = [
            [f"{c.a} and {c.b}", f"{c.ks:.2f}", _p(c.p_value), f"{c.at:.1f}", _verdict(study, c)]
            for c in study.comparisons
        ]
        table(["pair", "KS", "p", "widest at", "verdict"], pairs, left=(0, 4))


def _any_diverged(study: Study) -> bool:
    return any(one.diverged for one in study.populations)


def _verdict(study: Study, pair: Comparison) -> str:
    """What the KS test shows at the study's level, in words."""
    if pair.p_value >= 1 - study.confidence:
        return "no difference shown"
    means = {one.name: one.errors.mean() for one in study.populations}
    better = pair.a if means[pair.a] < means[pair.b] else pair.b
    return f"they differ; {better} has the lower mean"


def _percent(value: float | None, interval: Interval | None) -> str:
    if value is None:
        return "-"
    return f"{value:.1f}" + (f" [{interval.low:.1f}, {interval.high:.1f}]" if interval else "")


def _p(p: float) -> str:
    return f"{p:.3f}" if p >= 0.001 else f"{p:.0e}"


def _csv(study: Study) -> str:
    """One row a population; intervals as two columns."""
    import pandas as pd

    rows: list[dict[str, Any]] = []
    for one in study.populations:
        flat: dict[str, Any] = {"metric": study.metric}
        for key, value in one.as_dict().items():
            if key.endswith("_interval"):
                flat[f"{key}_low"], flat[f"{key}_high"] = value or (None, None)
            else:
                flat[key] = value
        rows.append(flat)
    return str(pd.DataFrame(rows).to_csv(index=False))
