"""`dsd edf`: error distributions of populations, side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import click

from dsd.cli.answer import Form, answering, several

if TYPE_CHECKING:
    from dsd.analysis.bootstrap import Interval
    from dsd.analysis.compare import Comparison
    from dsd.lab import Lab
    from dsd.plot.files import Figure
    from dsd.study import Scored, Study

Kind = Literal["exact", "bootstrap", "dkw"]
BANDS: dict[str, Kind | None] = {
    "pointwise": "exact", "bootstrap": "bootstrap", "simultaneous": "dkw", "none": None,
}  # fmt: skip


@click.command()
@click.argument("populations", nargs=-1, required=True)
@click.option("--split", default="", metavar="EXPR",
              help="Parts of each population, by a condition or a number's values.")  # fmt: skip
@click.option("--normalize", type=click.Choice(["flops", "params", "acts"]),
              help="Compare at equal complexity: its bins weigh alike everywhere.")  # fmt: skip
@click.option("--bins", default=10, show_default=True, type=click.IntRange(1),
              help="Bins of --normalize.")  # fmt: skip
@click.option("--quantiles", default="", metavar="0.1,0.9", callback=several(float),
              help="More quantiles of the errors.")  # fmt: skip
@click.option("--below", default="", metavar="45,50", callback=several(float),
              help="Shares of networks with an error below these.")  # fmt: skip
@click.option("--band", type=click.Choice(list(BANDS)), default="pointwise", show_default=True,
              help="The figure's band: at each error by itself (exact, or the bootstrap's), or of "
                   "the whole curve.")  # fmt: skip
@click.option("--across-regimes", "across", is_flag=True,
              help="Draw populations of several regimes, without comparing them.")  # fmt: skip
@answering("where", "prefix", "metric", "confidence")
def edf(
    lab: Lab, populations: tuple[str, ...], normalize: str | None, band: str, form: Form,
    **asked: Any,
) -> None:  # fmt: skip
    """Compare the error distributions of POPULATIONS.

    A population is space[@regime][#seed], the name of an import, or one that the RegNet paper
    published: paper/anynetx_a, paper/anynetx_c, paper/anynetx_d, paper/regnetx.

    \b
        dsd edf anynetx_d anynetx_e --plot
        dsd edf anynetx_d@cifar10 regnetx@cifar10 --plot figure.pdf
        dsd edf anynetx_c --split 'd <= 20' --below 45,50
    """
    from dsd.study import Question, study_of

    study = study_of(lab, populations, Question(normalize=normalize or "", **asked))
    rows = [{"metric": study.metric, **_row(one)} for one in study.populations]
    form.print(study.as_dict(), rows, lambda: show(study), study.warnings())
    form.draw(lambda: figure(study, BANDS[band]), *(one.name for one in study.populations))


def figure(study: Study, band: Kind | None = "exact") -> Figure:
    """The EDFs of a study."""
    from dsd.plot.edf import plot_edfs

    return plot_edfs(
        study.errors, confidence=study.confidence, kind=band, note=study.note,
        weights=study.weights,
    )  # fmt: skip


def show(study: Study) -> None:
    """Print the study as tables."""
    from dsd.analysis.verdict import p_text
    from dsd.cli.text import table

    level = f"{100 * study.confidence:g}%"
    click.echo(f"top-1 error in percent, {study.note}")
    first = study.populations[0]
    diverged = any(one.diverged for one in study.populations)
    heads = ["population", "n", "min", *_best_head(first), "mean", "median"]
    heads += [f"{100 * one.level:g}% quantile" for one in first.summary.quantiles]
    heads += [f"below {one.threshold:g}" for one in first.summary.below]
    rows = [_cells(study, one) + [str(one.diverged)] * diverged for one in study.populations]
    table([*heads, *["diverged"] * diverged], rows)
    click.echo(f"[{level} intervals: {_kinds(study)}]")
    if study.doubt:
        click.echo(f"[{study.doubt}]")
    if study.comparisons:
        click.echo()
        pairs = [
            [
                f"{c.a} and {c.b}",
                f"{c.ks:.2f}",
                p_text(c.p_value),
                f"{c.at:.1f}",
                _verdict(study, c),
            ]
            for c in study.comparisons
        ]
        table(["pair", "KS", "p", "widest at", "verdict"], pairs, left=(0, 4))
        if len(pairs) > 1:
            click.echo(f"[each p by itself: `dsd compare` corrects for {len(pairs)} pairs]")


def _best_head(one: Scored) -> list[str]:
    return [f"best of {one.best.m[0]}"] if one.best else []


def _cells(study: Study, one: Scored) -> list[str]:
    s, best = one.summary, one.best

    def held(interval: Interval | None) -> Interval | None:
        return interval.if_holds(study.confidence) if interval else None

    cells = [study.label(one), str(s.n), _percent(s.min, s.min_interval)]
    if best:
        limits = f" [{best.low[0]:.1f}, {best.high[0]:.1f}]" if best.low[0] == best.low[0] else ""
        cells.append(f"{best.best[0]:.1f}{limits}")
    cells += [_percent(s.mean, s.mean_interval), _percent(s.median, held(s.median_interval))]
    cells += [_percent(q.value, held(q.interval)) for q in s.quantiles]
    return cells + [f"{b.value:.2f} [{b.low:.2f}, {b.high:.2f}]" for b in s.below]


def _kinds(study: Study) -> str:
    if study.question.normalize:
        return "mean stratified by bin, median by the weighted EDF's band; p by shuffling in bins"
    kinds = "min one-sided bootstrap, best of m jackknife, mean BCa bootstrap, median exact order"
    return f"{kinds} statistics"


def _verdict(study: Study, pair: Comparison) -> str:
    """What the KS test shows at the study's level, in words."""
    if pair.p_value >= 1 - study.confidence:
        return "no difference shown"
    means = {one.name: one.summary.mean or 0.0 for one in study.populations}
    better = pair.a if means[pair.a] < means[pair.b] else pair.b
    return f"they differ; {better} has the lower mean"


def _percent(value: float | None, interval: Interval | None) -> str:
    if value is None:
        return "-"
    return f"{value:.1f}" + (f" [{interval.low:.1f}, {interval.high:.1f}]" if interval else "")


def _row(one: Scored) -> dict[str, Any]:
    """One row of the CSV: lists of numbers as columns of their own."""
    row = one.as_dict()
    for quantile in row.pop("quantiles"):
        name = f"quantile_{quantile['level']:g}"
        row |= {name: quantile["value"], f"{name}_interval": quantile["interval"]}
    for share in row.pop("below"):
        name = f"below_{share['threshold']:g}"
        row |= {name: share["share"], f"{name}_interval": share["interval"]}
    best = row.pop("expected_best", None)
    if best:
        name = f"best_of_{best['m'][0]}"
        row |= {
            name: best["expected_best"][0],
            f"{name}_interval": [best["low"][0], best["high"][0]],
        }
    return row
