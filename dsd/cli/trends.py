"""`dsd trends`: how the best networks change with compute, over several regimes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from dsd.cli.options import pass_lab

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
@click.option("--where", default="", metavar="EXPR", help="Only networks that meet this.")
@click.option("--metric", type=click.Choice(["last", "lowest"]), default="last", show_default=True,
              help="Error of the last epoch, or the lowest of all.")  # fmt: skip
@click.option("--confidence", type=click.FloatRange(0, 1, True, True), default=0.95,
              show_default=True, help="Level of ranges and intervals.")  # fmt: skip
@click.option("--plot", is_flag=False, flag_value="", default=None, metavar="[FILE]",
              help="Draw a panel a column: PNG, PDF or SVG by the ending.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV, a row for a column and regime.")
@pass_lab
def trends(
    lab: Lab, populations: tuple[str, ...], regimes: str, columns: str, where: str, metric: str,
    confidence: float, plot: str | None, as_json: bool, as_csv: bool,
) -> None:  # fmt: skip
    """How the best values of COLUMNS change with compute, over POPULATIONS of several regimes.

    Each regime ranks its own networks alone; its best value has the range of `dsd best`. The slope
    is the change of the best value for each doubling of flops, with an interval that carries all
    ranges (RegNet, fig. 11).

    \b
        dsd trends regnetx --regimes imagenet_200mf,imagenet_400mf,imagenet_800mf --plot
        dsd trends regnetx@imagenet_200mf regnetx@imagenet_3.2gf --columns d,'w4 / w1'
    """
    from dsd.trends import trends_of

    if as_json and as_csv:
        raise click.UsageError("--json and --csv exclude each other.")
    names = _parts(columns)
    found = trends_of(lab, _references(populations, regimes), names, where, metric, confidence)
    if as_json:
        said = {"note": APART, "confidence": confidence, **found.as_dict()}
        click.echo(json.dumps(said, indent=2))
    elif as_csv:
        import pandas as pd

        click.echo(pd.DataFrame(list(found.rows())).to_csv(index=False), nl=False)
    else:
        _show(found, confidence)
    for line in found.warnings():
        click.echo(line, err=True)
    if plot is not None:
        click.echo(f"Wrote {_draw(found, populations, plot)}", err=as_json or as_csv)


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


def _draw(found: Trends, populations: tuple[str, ...], plot: str) -> str:
    from dsd.cli.edf import default_name
    from dsd.plot.files import save, writable
    from dsd.plot.trends import plot_trends

    path = writable(plot or default_name("trends", list(populations)))
    save(
        plot_trends(found.columns, note=f"{found.note}; errors are not compared between regimes"),
        path,
    )
    return str(path)
