"""`dsd best`: which values of a property the best networks of a population have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from dsd.cli.answer import Form, answering

if TYPE_CHECKING:
    from dsd.analysis.best import BestRange
    from dsd.lab import Lab


@click.command()
@click.argument("population")
@click.argument("columns", nargs=-1, required=True)
@click.option("--resample", type=click.IntRange(100), metavar="TIMES",
              help="Resample so often, as the paper did, in place of the closed form.")  # fmt: skip
@answering("where", "prefix", "metric", "confidence")
def best(
    lab: Lab, population: str, columns: tuple[str, ...], resample: int | None, form: Form,
    **asked: Any,
) -> None:  # fmt: skip
    """Where the best networks of POPULATION lie along COLUMNS (d, w4, b1, ..., or expressions).

    The empirical bootstrap of the RegNet paper (footnote 4) in its closed form: the range holds the
    best network's value, `best` is the likeliest one.

    \b
        dsd best anynetx_a d w4 b1 g1 --plot
        dsd best anynetx_e 'w4 / w1' --json
    """
    from dsd.study import Question, scored_table
    from dsd.where import values

    table, errors, study = scored_table(lab, population, Question(**asked))
    xs = {name: values(table, name) for name in dict.fromkeys(columns)}
    found = {name: _range(x, errors, study.confidence, resample) for name, x in xs.items()}
    rows = [{"column": name, **one.as_dict()} for name, one in found.items()]
    said = {"population": population, "regime": study.regime, "metric": study.metric,
            "resampled": resample, "columns": rows}  # fmt: skip

    def show() -> None:
        click.echo(f"{population}, {study.note}")
        _show(found, study.confidence)

    def figure() -> Any:
        from dsd.plot.best import plot_best

        panels = {name: (x, errors, found[name]) for name, x in xs.items()}
        return plot_best(panels, note=f"{population}: {study.note}")

    form.print(said, rows, show, study.warnings())
    form.draw(figure, population, *xs)


def _range(x: Any, errors: Any, confidence: float, resample: int | None) -> BestRange:
    import numpy as np

    from dsd.analysis.best import best_range, resampled_range

    if resample is None:
        return best_range(x, errors, confidence)
    return resampled_range(x, errors, np.random.default_rng(0), confidence, resample)


def _show(found: dict[str, BestRange], confidence: float) -> None:
    from dsd.cli.text import table

    rows = [
        [name, f"{one.best:.4g}", f"[{one.low:.4g}, {one.high:.4g}]", str(one.n)]
        for name, one in found.items()
    ]
    table(["column", "best", f"{100 * confidence:g}% range", "n"], rows)
