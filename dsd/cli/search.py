"""`dsd search-efficiency`: what the best of m random networks of a space is expected to reach."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from dsd.cli.options import pass_lab

if TYPE_CHECKING:
    from dsd.lab import Lab


@click.command("search-efficiency")
@click.argument("populations", nargs=-1, required=True)
@click.option("--where", default="", metavar="EXPR", help="Only networks that meet this.")
@click.option("--metric", type=click.Choice(["last", "lowest"]), default="last", show_default=True,
              help="Error of the last epoch, or the lowest of all.")  # fmt: skip
@click.option("--confidence", type=click.FloatRange(0, 1, True, True), default=0.95,
              show_default=True, help="Level of the band.")  # fmt: skip
@click.option("--plot", is_flag=False, flag_value="", default=None, metavar="[FILE]",
              help="Draw the curves: PNG, PDF or SVG by the ending.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_lab
def search_efficiency(
    lab: Lab, populations: tuple[str, ...], where: str, metric: str, confidence: float,
    plot: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Expected best error of m = 1, 2, 4, ... random networks of POPULATIONS, with a band.

    Exact over the ranks, m up to a quarter of the population, where the band can be believed.

    \b
        dsd search-efficiency anynetx_a regnetx --plot
    """
    from dsd.study import study_of

    study = study_of(lab, populations, metric, confidence, where)
    curves = {name: _curve(errors, confidence) for name, errors in study.errors.items()}
    if as_json:
        keys = ("m", "expected_best", "low", "high")
        found = [
            {"name": name, **{k: v.tolist() for k, v in zip(keys, curve, strict=True)}}
            for name, curve in curves.items()
        ]
        said = {"regime": study.regime, "metric": metric, "confidence": confidence}
        click.echo(json.dumps({**said, "populations": found}, indent=2))
    else:
        click.echo(f"expected best top-1 error in percent, {study.note}")
        _show(curves)
    for line in study.warnings():
        click.echo(line, err=True)
    if plot is not None:
        click.echo(f"Wrote {_draw(curves, plot, study.note)}", err=as_json)


def _curve(errors: Any, confidence: float) -> tuple[Any, Any, Any, Any]:
    import numpy as np

    from dsd.analysis.best import expected_best, expected_best_band

    doublings = max(0, int(np.log2(max(1, len(errors) // 4))))
    m = 2 ** np.arange(doublings + 1)
    return m, expected_best(errors, m), *expected_best_band(errors, m, confidence)


def _show(curves: dict[str, tuple[Any, Any, Any, Any]]) -> None:
    from dsd.cli.text import table

    longest = max((curve[0] for curve in curves.values()), key=len)
    rows = []
    for name, (m, mean, low, high) in curves.items():
        cells = [f"{a:.1f} [{b:.1f}, {c:.1f}]" for a, b, c in zip(mean, low, high, strict=True)]
        rows.append([name, *cells, *[""] * (len(longest) - len(m))])
    table(["population", *(f"m = {number}" for number in longest)], rows)
    click.echo("[bootstrap band: at 95% it covers 90 to 92% with 100 networks, 93 to 94% with 500]")


def _draw(curves: dict[str, tuple[Any, Any, Any, Any]], plot: str, note: str) -> str:
    from dsd.cli.edf import default_name
    from dsd.plot.files import save, writable
    from dsd.plot.search import plot_search

    path = writable(plot or default_name("search-efficiency", list(curves)))
    save(plot_search(curves, note=note), path)
    return str(path)
