"""`dsd top`: the best and the worst networks of a population."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from dsd.cli.options import pass_lab

if TYPE_CHECKING:
    from dsd.lab import Lab

SHOWN = ("run", "ordinal", "d", "w0", "wa", "wm", "flops", "params", "acts")


@click.command()
@click.argument("population")
@click.option("-n", "--n", default=10, show_default=True, type=click.IntRange(1),
              help="How many of the best, and of the worst.")  # fmt: skip
@click.option("--where", default="", metavar="EXPR", help="Only networks that meet this.")
@click.option("--metric", type=click.Choice(["last", "lowest"]), default="last", show_default=True,
              help="Error of the last epoch, or the lowest of all.")  # fmt: skip
@click.option("--plot", is_flag=False, flag_value="", default=None, metavar="[FILE]",
              help="Draw the block widths of the best and the worst.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_lab
def top(
    lab: Lab, population: str, n: int, where: str, metric: str, plot: str | None, as_json: bool
) -> None:
    """The N best and the N worst networks of POPULATION.

    The best of many is best by luck, too: train it again under another seed before you believe it.

    \b
        dsd top anynetx_a --n 5 --plot
    """
    from dsd.study import scored_table

    table, _, study = scored_table(lab, population, metric, where)
    ranked = table.sort_values(f"error_{metric}", kind="stable")
    parts = {"best": ranked.head(n), "worst": ranked.tail(n).iloc[::-1]}
    if as_json:
        from dsd.store.export import as_text

        said = {name: json.loads(as_text(part, "json")) for name, part in parts.items()}
        click.echo(json.dumps({"population": population, "regime": study.regime, **said}, indent=2))
    else:
        for name, part in parts.items():
            click.echo(f"{name} of {len(table)} networks, {study.note}")
            _show(part, metric)
    for line in study.warnings():
        click.echo(line, err=True)
    if plot is not None:
        click.echo(f"Wrote {_draw(parts, metric, population, plot)}", err=as_json)


def _show(part: Any, metric: str) -> None:
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
        rows.append([f"{row[f'error_{metric}']:.2f}", *cells, *stages])
    heads = ["error", *known, *(f"{p} by stage" for p in letters)]
    table(heads, rows, left=range(len(known) + 1, len(heads)))


def _there(value: Any) -> bool:
    return value is not None and value == value


def _draw(parts: dict[str, Any], metric: str, population: str, plot: str) -> str:
    from dsd.cli.edf import default_name
    from dsd.errors import UsageError
    from dsd.plot.files import save, writable
    from dsd.plot.widths import plot_many

    path = writable(plot or default_name("top", [population]))
    rows = {}
    for name, part in parts.items():
        if "w1" not in part or "d1" not in part:
            raise UsageError(f"{population} has no stage widths (d1, w1, ...) to draw.")
        rows[name] = [
            (f"{row[f'error_{metric}']:.1f}%", _stages(row)) for row in part.to_dict("records")
        ]
    save(plot_many(rows), path)
    return str(path)


def _stages(row: dict[str, Any]) -> list[tuple[int, int]]:
    """(depth, width) of each stage that the network has."""
    pairs = [(row.get(f"d{i}"), row.get(f"w{i}")) for i in range(1, 20)]
    return [(int(d), int(w)) for d, w in pairs if d is not None and w is not None and d == d]
