"""`dsd import`: populations that were trained elsewhere."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dsd.cli.options import pass_lab

if TYPE_CHECKING:
    from dsd.lab import Lab


@click.command("import")
@click.argument("kind", type=click.Choice(["csv", "nds", "pycls"]))
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--name", default="", help="What the population is called.  [the file's stem]")
@click.option("--error", default="", metavar="COLUMN", help="Column of the error (csv).")
@click.option("--regime", default="imported", show_default=True, metavar="LABEL",
              help="Under which conditions it was trained; equal labels compare.")  # fmt: skip
@click.option("--skip-bad", is_flag=True, help="Leave out rows of no use, and say which.")
@partial(pass_lab, without="regime")
def imports(
    lab: Lab, kind: str, file: Path, name: str, error: str, regime: str, skip_bad: bool
) -> None:
    """Take in a population trained elsewhere, for every command that compares.

    csv: one network a line, an error column (percent) and any property columns. nds: a file of the
    release of "On Network Design Spaces". pycls: a collected sweep. All of the file comes in, or
    nothing.

    \b
        dsd import csv networks.csv --name theirs --error top1_err
        dsd import nds ResNeXt-A.json --regime cifar10_nds
        dsd edf theirs
    """
    from dsd.store.readers import READERS

    if error and kind != "csv":
        raise click.UsageError(
            "--error names a column of a csv file; nds and pycls have their own."
        )
    read = READERS[kind](file, error) if kind == "csv" else READERS[kind](file)
    external = read.named(name or file.stem, regime, skip_bad)
    new = lab.add(external)
    left = f", {len(read.bad)} rows left out" if read.bad else ""
    click.echo(f"{external.name}: {len(external.rows)} networks from {file}{left}; {read.note}")
    click.echo(f"  regime {regime!r}: it compares with what has the same"
               + ("" if new else "; it was here already"))  # fmt: skip
    for place in read.bad[:5]:
        click.echo(f"  left out: {place}")
