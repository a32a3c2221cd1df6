"""`dsd top`: the best and the worst networks of a population."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from dsd.cli.answer import Form, answering

if TYPE_CHECKING:
    from dsd.lab import Lab
    from dsd.plot.files import Figure

SHOWN = ("run", "ordinal", "d", "w0", "wa", "wm", "flops", "params", "acts")


@click.command()
@click.argument("population")
@click.option("-n", "--n", default=10, show_default=True, type=click.IntRange(1),
              help="How many of the best, and of the worst.")  # fmt: skip
@answering("where", "prefix", "metric")
def top(lab: Lab, population: str, n: int, form: Form, **asked: Any) -> None:
    """The N best and the N worst networks of POPULATION.

    The best of many is best by luck, too: train it again under another seed before you believe it.

    \b
        dsd top anynetx_a --n 5 --plot
    """
    from dsd.store.export import as_text
    from dsd.study import Question, scored_table

    table, _, study = scored_table(lab, population, Question(**asked))
    error = f"error_{study.metric}"
    ranked = table.sort_values(error, kind="stable")
    parts = {"best": ranked.head(n), "worst": ranked.tail(n).iloc[::-1]}
    told = {name: json.loads(as_text(part, "json")) for name, part in parts.items()}
    rows = [{"among": name, **row} for name, part in told.items() for row in part]

    def show() -> None:
        for name, part in parts.items():
            click.echo(f"{name} of {len(table)} networks, {study.note}")
            _show(part, error)

    said = {"population": population, "regime": study.regime, "metric": study.metric, **told}
    form.print(said, rows, show, study.warnings())
    form.draw(lambda: figure(parts, error, population), population)


def _show(part: Any, error: str) -> None:
    from dsd.cli.text import si, table

    known = [name for name in SHOWN if name in part]
    letters = {p: [n for n in part if n[0] == p and n[1:].isdigit() and n != "w0"] for p in "dwbg"}
    letters = {p: names for p, names in letters.items() if names}
    rows = []
    for row in part.to_dict("records"):
        cells = [si(row[k]) if k in ("flops", "params", "acts") else f"{row[k]:g}" for k in known]
        stages = [
            ", ".join(f"{row[name]:g}" for name in names if _there(row[name]))
            for names in letters.values()
        ]
        rows.append([f"{row[error]:.2f}", *cells, *stages])
    heads = ["error", *known, *(f"{p} by stage" for p in letters)]
    table(heads, rows, left=range(len(known) + 1, len(heads)))


def _there(value: Any) -> bool:
    return value is not None and value == value


def figure(parts: dict[str, Any], error: str, population: str) -> Figure:
    """Pictures of the block widths; name -> rows of networks. Raises UsageError without widths."""
    from dsd.errors import UsageError
    from dsd.plot.widths import plot_many

    rows = {}
    for name, part in parts.items():
        if "w1" not in part or "d1" not in part:
            raise UsageError(f"{population} has no stage widths (d1, w1, ...) to draw.")
        rows[name] = [(f"{row[error]:.1f}%", _stages(row)) for row in part.to_dict("records")]
    return plot_many(rows)


def _stages(row: dict[str, Any]) -> list[tuple[int, int]]:
    """(depth, width) of each stage that the network has."""
    pairs = [(row.get(f"d{i}"), row.get(f"w{i}")) for i in range(1, 20)]
    return [(int(d), int(w)) for d, w in pairs if d is not None and w is not None and d == d]
