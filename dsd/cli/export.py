"""`dsd export`: populations as files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from dsd.cli.options import pass_lab

if TYPE_CHECKING:
    import pandas as pd

    from dsd.lab import Lab, Population


@click.command()
@click.argument("populations", nargs=-1)
@click.option("--format", "kind", type=click.Choice(["csv", "json", "parquet"]),
              help="[by the file's ending, else csv]")  # fmt: skip
@click.option("-o", "--output", type=click.Path(path_type=Path), help="File.  [standard output]")
@click.option("--where", default="", metavar="EXPR", help="Only networks that meet this.")
@click.option("--epochs", is_flag=True, help="Learning curves: one row an epoch.")
@click.option("--force", is_flag=True, help="Replace a file that is there.")
@pass_lab
def export(
    lab: Lab,
    populations: tuple[str, ...],
    kind: str | None,
    output: Path | None,
    where: str,
    epochs: bool,
    force: bool,
) -> None:
    """Write POPULATIONS, or all, one row a network with everything that is known of it.

    Costs, stages, what was drawn, state, errors in percent, seconds, and where the result comes
    from. `dsd import csv` reads it back: --error error_last.

    \b
        dsd export anynetx_d -o anynetx_d.csv
        dsd export --epochs --format json
        dsd export anynetx_a anynetx_d -o both.parquet
    """
    from dsd.store.export import FORMATS, as_text, write_table

    ending = output.suffix[1:] if output else ""
    kind = kind or (ending if ending in FORMATS else "csv")
    if kind == "parquet" and output is None:
        raise click.UsageError("A parquet file is not for a terminal: name it by --output.")
    found = [lab.population(name) for name in dict.fromkeys(populations or lab.populations())]
    table = _table(found, where, epochs)
    if output is None:
        click.echo(as_text(table, kind), nl=False)
        return
    write_table(table, output, kind, force)
    what = "epochs" if epochs else "networks"
    click.echo(f"Wrote {output}: {len(table)} {what} of {len(found)} populations")


def _table(found: list[Population], where: str, epochs: bool) -> pd.DataFrame:
    import pandas as pd

    tables = [_epochs(one, where) if epochs else _networks(one, where) for one in found]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def _networks(population: Population, where: str) -> pd.DataFrame:
    import pandas as pd

    table = population.frame
    if population.rows:
        table = pd.concat([table, population.provenance], axis=1)
    return _limited(table, where)


def _epochs(population: Population, where: str) -> pd.DataFrame:
    table = population.curves
    if where:
        kept = _limited(population.frame, where)[["population", "ordinal"]]
        table = table.merge(kept, on=["population", "ordinal"])
    return table


def _limited(table: pd.DataFrame, where: str) -> pd.DataFrame:
    from dsd.where import matching

    return table[matching(table, where)] if where else table
