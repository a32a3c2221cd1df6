"""`dsd complexity`: what predicts the time that a network takes?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from dsd.cli.answer import Form, answering

if TYPE_CHECKING:
    from dsd.lab import Lab
    from dsd.plot.files import Figure

UNITS = {"flops": (1e6, "flops (M)"), "params": (1e6, "params (M)"), "acts": (1e6, "acts (M)")}


@click.command()
@click.argument("population")
@click.argument("columns", nargs=-1)
@click.option("--against", default="seconds", show_default=True, metavar="COLUMN",
              help="What is to be predicted; seconds is the time of training.")  # fmt: skip
@answering("where", "prefix", "confidence")
def complexity(
    lab: Lab, population: str, columns: tuple[str, ...], against: str, form: Form, **asked: Any
) -> None:
    """Correlate COLUMNS (flops, params, acts) of POPULATION with the time of its training.

    Times compare only where the networks were trained on one kind of device that did nothing else.

    \b
        dsd complexity anynetx_a --plot
        dsd complexity anynetx_a d 'acts / flops' --against error
    """
    from dsd.analysis.correlation import correlation
    from dsd.study import Question, scored_table
    from dsd.where import values

    table, _, study = scored_table(lab, population, Question(**asked))
    y = values(table, against, "--against")
    names = columns or tuple(name for name in UNITS if name in table)
    if not names:
        raise click.UsageError(f"{population} has none of {', '.join(UNITS)}: name COLUMNS.")
    xs = {name: values(table, name) for name in dict.fromkeys(names)}
    found = {name: correlation(x, y, study.confidence) for name, x in xs.items()}
    rows = [{"column": name, **one.as_dict()} for name, one in found.items()]
    said = {"population": population, "regime": study.regime, "against": against}

    def show() -> None:
        click.echo(f"{population}, {study.regime}: correlation with {against}")
        _show(found, study.confidence)

    form.print({**said, "columns": rows}, rows, show, study.warnings())
    form.draw(lambda: _figure(xs, y, found, against, population), population)


def _show(found: dict[str, Any], confidence: float) -> None:
    from dsd.cli.text import table

    rows = [
        [name, f"{one.pearson:.2f} [{one.low:.2f}, {one.high:.2f}]", f"{one.spearman:.2f}",
         str(one.n)]
        for name, one in found.items()
    ]  # fmt: skip
    table(["column", f"Pearson, {100 * confidence:g}%", "Spearman", "n"], rows)


def _figure(
    xs: dict[str, Any], y: Any, found: dict[str, Any], against: str, population: str
) -> Figure:
    from dsd.plot.scatter import plot_scatter

    panels = {}
    for name, x in xs.items():
        scale, label = UNITS.get(name, (1, name))
        panels[label] = (x / scale, y, found[name])
    label = "time of training (s)" if against == "seconds" else against
    return plot_scatter(panels, label, note=population)
