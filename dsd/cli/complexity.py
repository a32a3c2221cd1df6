"""`dsd complexity`: what predicts the time that a network takes?"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from dsd.cli.options import pass_lab

if TYPE_CHECKING:
    from dsd.lab import Lab

UNITS = {"flops": (1e6, "flops [M]"), "params": (1e6, "params [M]"), "acts": (1e6, "acts [M]")}


@click.command()
@click.argument("population")
@click.argument("columns", nargs=-1)
@click.option("--against", default="seconds", show_default=True, metavar="COLUMN",
              help="What is to be predicted; seconds is the time of training.")  # fmt: skip
@click.option("--where", default="", metavar="EXPR", help="Only networks that meet this.")
@click.option("--confidence", type=click.FloatRange(0, 1, True, True), default=0.95,
              show_default=True, help="Level of the intervals.")  # fmt: skip
@click.option("--plot", is_flag=False, flag_value="", default=None, metavar="[FILE]",
              help="Draw each against the time: PNG, PDF or SVG by the ending.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_lab
def complexity(
    lab: Lab, population: str, columns: tuple[str, ...], against: str, where: str,
    confidence: float, plot: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Correlate COLUMNS (flops, params, acts) of POPULATION with the time of its training.

    Times compare only where the networks were trained on one kind of device that did nothing else.

    \b
        dsd complexity anynetx_a --plot
        dsd complexity anynetx_a d 'acts / flops' --against error
    """
    from dsd.analysis.correlation import correlation
    from dsd.study import scored_table
    from dsd.where import values

    table, _, study = scored_table(lab, population, "last", where)
    y = values(table, against, "--against")
    names = columns or tuple(name for name in UNITS if name in table)
    if not names:
        raise click.UsageError(f"{population} has none of {', '.join(UNITS)}: name COLUMNS.")
    xs = {name: values(table, name) for name in dict.fromkeys(names)}
    found = {name: correlation(x, y, confidence) for name, x in xs.items()}
    if as_json:
        rows = [{"column": name, **one.as_dict()} for name, one in found.items()]
        said = {"population": population, "regime": study.regime, "against": against}
        click.echo(json.dumps({**said, "columns": rows}, indent=2))
    else:
        click.echo(f"{population}, {study.regime}: correlation with {against}")
        _show(found, confidence)
    if plot is not None:
        click.echo(f"Wrote {_draw(xs, y, found, against, population, plot)}", err=as_json)


def _show(found: dict[str, Any], confidence: float) -> None:
    from dsd.cli.text import table

    rows = [
        [name, f"{one.pearson:.2f} [{one.low:.2f}, {one.high:.2f}]", f"{one.spearman:.2f}",
         str(one.n)]
        for name, one in found.items()
    ]  # fmt: skip
    table(["column", f"Pearson, {100 * confidence:g}%", "Spearman", "n"], rows)


def _draw(
    xs: dict[str, Any], y: Any, found: dict[str, Any], against: str, population: str, plot: str
) -> str:
    from dsd.cli.edf import default_name
    from dsd.plot.files import save, writable
    from dsd.plot.scatter import plot_scatter

    path = writable(plot or default_name("complexity", [population]))
    panels = {}
    for name, x in xs.items():
        scale, label = UNITS.get(name, (1, name))
        panels[label] = (x / scale, y, found[name])
    label = "seconds of training" if against == "seconds" else against
    save(plot_scatter(panels, label, note=population), path)
    return str(path)
