"""`dsd runs`: every training, or one of them whole."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import click

from dsd.cli.options import pass_lab

if TYPE_CHECKING:
    import pandas as pd

    from dsd.lab import Lab

STATES = ("queued", "running", "done", "diverged", "failed", "out-of-memory", "cancelled")
COLUMNS = ("run", "population", "ordinal", "state", "attempts", "error_last", "error_lowest",
           "seconds", "message")  # fmt: skip
BARS = " ▁▂▃▄▅▆▇█"


@click.command()
@click.argument("subjects", nargs=-1, metavar="[POPULATION|RUN]...")
@click.option("--state", "states", multiple=True, type=click.Choice(STATES),
              help="Only runs in this state; repeatable.")  # fmt: skip
@click.option("--where", default="", metavar="EXPR", help="Only networks that meet this.")
@click.option("--tag", default="", help="Only runs with this tag, or whose population has it.")
@click.option("--sort", default="", metavar="COLUMN", help="Smallest first.  [sampling order]")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1),
              help="Rows of the table; --json and --csv have all.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@pass_lab
def runs(
    lab: Lab,
    subjects: tuple[str, ...],
    states: tuple[str, ...],
    where: str,
    tag: str,
    sort: str,
    limit: int,
    as_json: bool,
    as_csv: bool,
) -> None:
    """List the runs of POPULATIONS, or of all; a single RUN is shown with its curve and trace.

    \b
        dsd runs --state failed
        dsd runs anynetx_d --where 'error < 20 and d > 10' --sort error_last
        dsd runs 17
    """
    if as_json and as_csv:
        raise click.UsageError("--json and --csv exclude each other.")
    from dsd.store.notes import run_number

    number = run_number(subjects[0]) if len(subjects) == 1 else None
    if number is not None and not (states or where or tag or sort or as_csv):
        from dsd.store.runs import one_run

        run = one_run(lab.reader, number)
        click.echo(json.dumps(run, indent=2)) if as_json else _show(run)
        return
    table = _table(lab, subjects, states, where, tag, sort)
    if as_json or as_csv:
        from dsd.store.export import as_text

        click.echo(as_text(table, "json" if as_json else "csv"), nl=False)
    else:
        _list(table, limit)


def _table(
    lab: Lab, subjects: tuple[str, ...], states: tuple[str, ...], where: str, tag: str, sort: str
) -> pd.DataFrame:
    from dsd.cli.choose import rows_of
    from dsd.errors import UsageError, suggestion
    from dsd.store.notes import runs_tagged
    from dsd.store.runs import at_work
    from dsd.where import ALIAS, matching

    table = rows_of(lab, subjects)
    if where:
        table = table[matching(table, where)]
    if states:
        table = table[table["state"].isin(states)]
    if tag:
        table = table[table["run"].isin(runs_tagged(lab.reader, tag))]
    working = at_work(lab.reader)
    at = [working.get(int(run), ("", float("nan"))) for run in table["run"]]
    table = table.assign(owner=[owner for owner, _ in at], age=[age for _, age in at])
    column = ALIAS.get(sort, sort)
    if column and column not in table:
        raise UsageError(f"--sort {sort}: no such column.{suggestion(sort, table.columns)}")
    return table.sort_values(column, kind="stable") if column else table


def _list(found: pd.DataFrame, limit: int) -> None:
    from dsd.cli.text import table

    if not len(found):
        click.echo("no such runs")
        return
    shown = found.head(limit)
    said = [_said(row) for row in shown.to_dict("records")]
    rows = [[_cell(row[name]) for name in COLUMNS] for row in said]
    heads = ["run", "population", "network", "state", "attempts", "error", "lowest", "s", "message"]
    table(heads, rows, left=(1, 3, 8))
    if len(found) > limit:
        click.echo(f"... and {len(found) - limit} more: --limit, --json or --csv show them")


def _said(row: dict[Any, Any]) -> dict[Any, Any]:
    """The row, with who works on it, and for how long, as its message."""
    from dsd.cli.text import duration

    if not row["owner"]:
        return row
    return {**row, "message": f"for {duration(row['age'])} by {row['owner']}"}


def _cell(value: Any) -> str:
    if value is None or value != value:
        return ""
    if isinstance(value, float):
        return f"{value:.1f}"
    text = str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _show(run: dict[str, Any]) -> None:
    from dsd.cli.notes import note_line

    net = run["network_text"]
    forgiven = f" ({run['forgiven']} not counted)" if run["forgiven"] else ""
    click.echo(f"run {run['id']}: {run['state']}, attempt {run['attempts']}{forgiven}, regime "
               f"{run['regime']}, seed {run['seed']}")  # fmt: skip
    for place in run["populations"]:
        click.echo(f"  network {place['ordinal']} of {place['name']}: {place['flops']:,} flops, "
                   f"{place['params']:,} params, {place['acts']:,} acts")  # fmt: skip
    stages = "; ".join(" ".join(f"{x:g}" for x in stage[:4]) for stage in net["stages"])
    click.echo(f"  network {run['network']}: {net['block']} blocks, d w b g by stage: {stages}")
    if run["error_last"] is not None:
        click.echo(f"  error {run['error_last']:.2f}% at the end, {run['error_lowest']:.2f}% "
                   f"lowest, {run['seconds']:.1f} s")  # fmt: skip
    for key in ("owner", "message"):
        if run[key]:
            click.echo(f"  {key} {run[key]}")
    for key in ("started", "finished"):
        if run[key]:
            click.echo(f"  {key} {time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(run[key]))}")
    for key, value in (run["provenance"] or {}).items():
        click.echo(f"  from {key}: {value}")
    _curve(run["epochs"])
    for late in run["late_results"]:
        click.echo(f"  late result of attempt {late['attempt']}, not counted: {late['state']} "
                   f"{late['result'].get('error_last')}")  # fmt: skip
    if run["tags"]:
        click.echo(f"  tags {', '.join(run['tags'])}")
    for one in run["notes"]:
        click.echo(f"  note {note_line(one)}")
    if run["trace"]:
        click.echo(run["trace"].rstrip())


def _curve(epochs: list[dict[str, Any]]) -> None:
    from dsd.cli.text import table

    if not epochs:
        return
    errors = [epoch["test_error"] for epoch in epochs]
    known = [error for error in errors if error is not None]
    top = max(known, default=0) or 1
    bars = [BARS[round(8 * error / top)] if error is not None else "?" for error in errors]
    click.echo(f"  test error by epoch {''.join(bars)}")
    names = ("attempt", "epoch", "train_loss", "train_error", "test_error", "test_error5", "lr")
    rows = [
        [_cell(epoch[n]) if n != "train_loss" and n != "lr" else _fine(epoch[n]) for n in names]
        for epoch in epochs
    ]
    table([name.replace("_", " ") for name in names], rows, left=())


def _fine(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
