"""`dsd init`: write the project's settings."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dsd.cli.options import given_settings, settings_options

if TYPE_CHECKING:
    from dsd.settings import Settings


@click.command()
@click.option("--force", is_flag=True, help="Replace a dsd.toml that is there.")
@settings_options
@click.pass_context
def init(context: click.Context, force: bool) -> None:
    """Write dsd.toml here: database, data folder, default regime.

    With --force, what the flags leave open stays as it was, if the old file can be read.

    \b
        dsd init --regime cifar10 --data /data
    """
    from dsd.errors import DsdError
    from dsd.regime import load_regime
    from dsd.settings import FILE, as_toml

    path = Path(FILE)
    if path.exists() and not force:
        raise DsdError(f"{FILE} is already here; --force replaces it.")
    settings = _settings(context)
    load_regime(settings.regime)
    db = _without_password(settings.db)
    if db != settings.db:
        click.echo("The password is not written: ~/.pgpass keeps it, or DSD_DB.", err=True)
    settings = replace(settings, db=db)
    _write(path, as_toml(settings))
    click.echo(f"Wrote {FILE}: database {settings.database}, data in {settings.data}, "
               f"regime {settings.regime}. Next: dsd sample anynetx_c --n 500")  # fmt: skip


def _settings(context: click.Context) -> Settings:
    """The given settings over those of the old file, or over the defaults if it is broken."""
    from dsd.errors import UsageError
    from dsd.settings import Settings, read_settings

    try:
        old = read_settings()
    except UsageError as error:
        click.echo(f"Replaced: {error}", err=True)
        old = Settings()
    given = given_settings(context)
    return replace(old, **{name: value for name, value in given.items() if value})


def _without_password(db: str) -> str:
    """The database for a file that others may read. Raises UsageError for what is none."""
    from dsd.store.location import database_url, without_secrets

    url = database_url(db)
    bare = without_secrets(url)
    return db if bare == url else bare.render_as_string()


def _write(path: Path, text: str) -> None:
    """All of the file or nothing of it: a full disk leaves the old one."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
