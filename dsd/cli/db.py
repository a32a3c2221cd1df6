"""`dsd db`: care of the database itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dsd.cli.options import SuggestingGroup, pass_lab

if TYPE_CHECKING:
    from dsd.lab import Lab


@click.group(cls=SuggestingGroup)
def db() -> None:
    """Upgrade, check, back up, merge and measure the database."""


@db.command()
@pass_lab
def upgrade(lab: Lab) -> None:
    """Bring the schema up to date, after a backup beside the file."""
    from dsd.store.engine import open_store, reading
    from dsd.store.location import database_url, sqlite_file
    from dsd.store.migrate import revision, revision_of

    before = revision_of(lab.settings.db)
    file = sqlite_file(database_url(lab.settings.db))
    there = set(file.parent.glob(f"{file.name}.*.bak")) if file else set()
    store = open_store(lab.settings.db)
    with reading(store) as connection:
        after = revision(connection)
    made = set(file.parent.glob(f"{file.name}.*.bak")) - there if file else set()
    if before == after:
        click.echo(f"{lab.settings.database} has schema {after} already")
    else:
        click.echo(f"{lab.settings.database}: schema {before or 'none'} to {after}")
    for copy in sorted(made):
        click.echo(f"  the old one is kept in {copy}")


@db.command()
@pass_lab
def check(lab: Lab) -> None:
    """Look for damage: the file, its keys, and dsd's own laws. Exit code 1 if there is any."""
    from dsd.store.integrity import check

    broken = 0
    for what, wrong in check(lab.reader):
        click.echo(f"{'broken' if wrong else 'ok':<8}{what}{': ' + wrong if wrong else ''}")
        broken += bool(wrong)
    if broken:
        click.echo(
            "`dsd db backup` copies what is there; do not let workers write to it.", err=True
        )
        raise SystemExit(1)


@db.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
@pass_lab
def backup(lab: Lab, file: Path | None) -> None:
    """Copy the database to FILE while workers go on; by default beside it, dated.

    A PostgreSQL database is written by pg_dump in its custom format.
    """
    from dsd.store.backup import backup

    place = backup(lab.reader.url, file)
    click.echo(f"Wrote {place}: {place.stat().st_size:,} bytes")


@db.command()
@click.argument("other")
@click.option("--dry-run", is_flag=True, help="Say what would come in, and change nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_lab
def merge(lab: Lab, other: str, dry_run: bool, as_json: bool) -> None:
    """Take in everything of OTHER, a file or URL, which is only read. Twice changes nothing.

    Results come together by regime, seed and network. Where both have one, this database's stays
    and the other is kept among the late results.

    \b
        dsd db merge laptop.db
        dsd --db postgresql://me@host/dsd db merge dsd.db
    """
    from dsd.cli.text import table
    from dsd.store.engine import open_store
    from dsd.store.merge import merge, table_rows

    theirs = open_store(other, write=False)
    merged = merge(lab.store, theirs, dry_run)
    if as_json:
        click.echo(json.dumps({"added": merged.added, "known": merged.known,
                               "kept_apart": merged.kept_apart}, indent=2))  # fmt: skip
        return
    rows = [[kind.replace("_", " "), str(new), str(old)] for kind, new, old in table_rows(merged)]
    table([other, "would come" if dry_run else "came in", "known"], rows)
    if merged.kept_apart:
        click.echo(f"{merged.kept_apart} runs have a result in both: this one's counts, the other "
                   "is kept among the late results")  # fmt: skip


@db.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_lab
def stats(lab: Lab, as_json: bool) -> None:
    """Rows by table, size, schema and journal mode."""
    from dsd.cli.text import si, table
    from dsd.store.integrity import stats

    known = stats(lab.reader)
    if as_json:
        click.echo(json.dumps(known, indent=2))
        return
    table(["table", "rows"], [[name, f"{count:,}"] for name, count in known["rows"].items()])
    journal = f", journal {known['journal']}" if "journal" in known else ""
    click.echo(f"{lab.settings.database}: {si(known['bytes'], 'B')}, schema {known['schema']}"
               f"{journal}, {known['ended_last_hour']} networks in the last hour")  # fmt: skip
