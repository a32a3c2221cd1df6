"""`dsd best`: which values of a property the best networks of a population have."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from dsd.cli.options import pass_lab

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from dsd.analysis.best import BestRange
    from dsd.lab import Lab

    Panel = tuple[NDArray[np.float64], NDArray[np.float64], BestRange]


@click.command()
@click.argument("population")
@click.argument("columns", nargs=-1, required=True)
@click.option("--where", default="", metavar="EXPR", help="Only networks that meet this.")
@click.option("--metric", type=click.Choice(["last", "lowest"]), default="last", show_default=True,
              help="Error of the last epoch, or the lowest of all.")  # fmt: skip
@click.option("--confidence", type=click.FloatRange(0, 1, True, True), default=0.95,
              show_default=True, help="Level of the range.")  # fmt: skip
@click.option("--plot", is_flag=False, flag_value="", default=None, metavar="[FILE]",
              help="Draw errors against each column: PNG, PDF or SVG by the ending.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@pass_lab
def best(
    lab: Lab, population: str, columns: tuple[str, ...], where: str, metric: str,
    confidence: float, plot: str | None, as_json: bool, as_csv: bool,
) -> None:  # fmt: skip
    """Where the best networks of POPULATION lie along COLUMNS (d, w4, b1, ..., or expressions).

    The empirical bootstrap of the RegNet paper (footnote 4) in its closed form: the range holds the
    best network's value, `best` is the likeliest one.

    \b
        dsd best anynetx_a d w4 b1 g1 --plot
        dsd best anynetx_e 'w4 / w1' --json
    """
    from dsd.study import scored_table

    if as_json and as_csv:
        raise click.UsageError("--json and --csv exclude each other.")
    table, errors, study = scored_table(lab, population, metric, where)
    panels = {name: _panel(table, errors, name, confidence) for name in dict.fromkeys(columns)}
    found = [{"column": name, **panel[2].as_dict()} for name, panel in panels.items()]
    if as_json:
        said = {"population": population, "regime": study.regime, "metric": metric,
                "columns": found}  # fmt: skip
        click.echo(json.dumps(said, indent=2))
    elif as_csv:
        import pandas as pd

        click.echo(pd.DataFrame(found).to_csv(index=False), nl=False)
    else:
        _show(found, f"{population}, {study.note}", confidence)
    for line in study.warnings():
        click.echo(line, err=True)
    if plot is not None:
        path = _draw(panels, plot, population, f"{population}: {study.note}")
        click.echo(f"Wrote {path}", err=as_json or as_csv)


def _panel(table: Any, errors: Any, column: str, confidence: float) -> Panel:
    from dsd.analysis.best import best_range
    from dsd.where import values

    x = values(table, column)
    return x, errors, best_range(x, errors, confidence)


def _show(found: list[dict[str, Any]], note: str, confidence: float) -> None:
    from dsd.cli.text import table

    click.echo(note)
    rows = [
        [
            one["column"],
            f"{one['best']:.4g}",
            f"[{one['low']:.4g}, {one['high']:.4g}]",
            str(one["n"]),
        ]
        for one in found
    ]
    table(["column", "best", f"{100 * confidence:g}% range", "n"], rows)


def _draw(panels: dict[str, Panel], plot: str, population: str, note: str) -> str:
    from dsd.cli.edf import default_name
    from dsd.plot.best import plot_best
    from dsd.plot.files import save, writable

    path = writable(plot or default_name("best", [population, *panels]))
    save(plot_best(panels, note=note), path)
    return str(path)
