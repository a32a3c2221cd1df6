"""`dsd trends`: how the best networks change with compute, over several regimes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from dsd.cli.answer import Form, answering

if TYPE_CHECKING:
    from dsd.analysis.trend import Trend
    from dsd.lab import Lab
    from dsd.trends import Trends

APART = (
    "Errors are compared within each regime only, never between: a regime gives its best values."
)


@click.command()
@click.argument("populations", nargs=-1, required=True)
@click.option("--regimes", default="", metavar="R1,R2,...",
              help="The regimes under which one space was sampled.")  # fmt: skip
@click.option("--columns", default="", metavar="C1,C2,...",
              help="Columns or expressions.  [of d, b, g, wm, wa, w0 what is there]")  # fmt: skip
@answering("where", "prefix", "metric", "confidence")
def trends(
    lab: Lab, populations: tuple[str, ...], regimes: str, columns: str, form: Form, **asked: Any
) -> None:
    """How the best values of COLUMNS change with compute, over POPULATIONS of several regimes.

    Each regime ranks its own networks alone; its best value has the range of `dsd best`. The slope
    is the change of the best value for each doubling of flops, with an interval that carries all
    ranges (RegNet, fig. 11).

    \b
        dsd trends regnetx --regimes imagenet_200mf,imagenet_400mf,imagenet_800mf --plot
        dsd trends regnetx@imagenet_200mf regnetx@imagenet_3.2gf --columns d,'w4 / w1'
    """
    from dsd.study import Question
    from dsd.trends import trends_of

    question = Question(**asked)
    found = trends_of(lab, _references(populations, regimes), _parts(columns), question)

    def figure() -> Any:
        from dsd.plot.trends import plot_trends

        note = f"{found.note}; errors are not compared between regimes"
        return plot_trends(found.columns, note=note)

    said = {"note": APART, "confidence": question.confidence, **found.as_dict()}
    form.print(said, found.rows(), lambda: _show(found, question.confidence), found.warnings())
    form.draw(figure, *populations)


def _references(populations: tuple[str, ...], regimes: str) -> list[str]:
    if not regimes:
        return list(populations)
    if len(populations) > 1 or "@" in populations[0]:
        raise click.UsageError("--regimes goes with one space without @; or name populations as "
                               "space@regime.")  # fmt: skip
    space, sign, seed = populations[0].partition("#")
    return [f"{space}@{regime}{sign}{seed}" for regime in _parts(regimes)]


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _show(found: Trends, confidence: float) -> None:
    from dsd.cli.text import si, table

    click.echo(f"best values with their {100 * confidence:g}% ranges, {found.note}")
    rows = []
    for k, (name, flops) in enumerate(zip(found.names, found.flops, strict=True)):
        ranges = [one.ranges[k] for one in found.columns.values()]
        cells = [f"{one.best:.4g} [{one.low:.4g}, {one.high:.4g}]" for one in ranges]
        sizes = sorted({one.n for one in ranges})
        rows.append(
            [name, si(flops), " to ".join(map(str, sizes[:: max(1, len(sizes) - 1)])), *cells]
        )
    table(["population", "median flops", "n", *found.columns], rows)
    click.echo()
    for name, one in found.columns.items():
        click.echo(sentence(name, one))
    for name, why in found.left_out.items():
        click.echo(f"{name} {why}: left out.")
    click.echo(APART)


def sentence(name: str, found: Trend) -> str:
    """What the slope of a column shows."""
    level = f"{100 * found.confidence:g}% interval"
    slope = f"{found.slope:+.3g} [{found.low:+.3g}, {found.high:+.3g}] for each doubling of flops"
    if not found.shown:
        return f"{name}: no trend shown; {slope} ({level})."
    way = "grows" if found.low > 0 else "falls"
    return f"{name} {way} with compute: {slope} ({level})."
