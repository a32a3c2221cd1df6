"""`dsd search-efficiency`: what the best of m random networks of a space is expected to reach."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from dsd.cli.answer import Form, answering

if TYPE_CHECKING:
    from dsd.analysis.search import ExpectedBest
    from dsd.lab import Lab


@click.command("search-efficiency")
@click.argument("populations", nargs=-1, required=True)
@answering("where", "prefix", "metric", "confidence")
def search_efficiency(lab: Lab, populations: tuple[str, ...], form: Form, **asked: Any) -> None:
    """Expected best error of m = 1, 2, 4, ... random networks of POPULATIONS, with a band.

    Exact over all sets of m networks, for m up to an eighth of the population.

    \b
        dsd search-efficiency anynetx_a regnetx --plot
    """
    from dsd.analysis.search import search_curve
    from dsd.study import Question, study_of

    study = study_of(lab, populations, Question(**asked))
    curves = {
        name: search_curve(errors, confidence=study.confidence)
        for name, errors in study.errors.items()
    }
    found = [{"name": name, **curve.as_dict()} for name, curve in curves.items()]
    said = {"regime": study.regime, "metric": study.metric, "confidence": study.confidence}

    def show() -> None:
        click.echo(f"expected best top-1 error in percent, {study.note}")
        _show(curves, study.confidence)

    def figure() -> Any:
        from dsd.plot.search import plot_search

        return plot_search(curves, note=study.note)

    form.print({**said, "populations": found}, _rows(curves), show, study.warnings())
    form.draw(figure, *curves)


def _rows(curves: Mapping[str, ExpectedBest]) -> list[dict[str, Any]]:
    """One row for each population and m."""
    rows = []
    for name, curve in curves.items():
        columns = curve.as_dict().values()
        for m, best, low, high in zip(*columns, strict=True):
            rows.append({"population": name, "m": m, "expected_best": best,
                         "expected_best_interval": [low, high]})  # fmt: skip
    return rows


def _show(curves: Mapping[str, ExpectedBest], confidence: float) -> None:
    from dsd.cli.text import table

    longest = max((curve.m for curve in curves.values()), key=len)
    rows = []
    for name, curve in curves.items():
        triples = zip(curve.best, curve.low, curve.high, strict=True)
        cells = [f"{a:.1f}" + (f" [{b:.1f}, {c:.1f}]" if b == b else "") for a, b, c in triples]
        rows.append([name, *cells, *[""] * (len(longest) - len(cells))])
    table(["population", *(f"m = {number}" for number in longest)], rows)
    click.echo(f"[{100 * confidence:g}% intervals: jackknife]")
