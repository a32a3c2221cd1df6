"""The schema's version: compare it in one query, and bring it up to date through Alembic."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text

from dsd.errors import DsdError
from dsd.resources import resource
from dsd.store.backup import backup_name, copy_file
from dsd.store.location import database_url, describe, sqlite_file

_LOCK = 0x647364  # "dsd": the advisory lock of every dsd process on one PostgreSQL database


def prepare(
    engine: Engine, unconstrained: Callable[[], Engine], scripts: Path | None = None
) -> None:
    """Create or upgrade the schema if it is not at `scripts`' head; many processes may at once.

    `engine` only reads; `unconstrained` makes one whose connections do not enforce foreign keys.
    Raises DsdError for a newer schema and for a database that is not dsd's.
    """
    scripts = scripts or resource("migrations")
    with engine.connect() as connection:
        if not _must_upgrade(connection, scripts):
            return
    free = unconstrained()
    try:
        with free.begin() as connection:
            lock(connection)
            # Another process may have been faster while this one waited for the lock.
            if _must_upgrade(connection, scripts):
                _backup(connection)
                _upgrade(connection, scripts)
    finally:
        free.dispose()


def check(connection: Connection, scripts: Path | None = None) -> None:
    """Raises DsdError unless the schema is at `scripts`' head."""
    if _must_upgrade(connection, scripts or resource("migrations")):
        where, found = describe(connection.engine.url), revision(connection)
        if found is None:
            raise DsdError(f"{where} is empty: `dsd sample SPACE --n 500` fills it.")
        raise DsdError(
            f"{where} has the older schema {found}: `dsd db upgrade` (with the same --db) brings "
            f"it up to date, after a backup."
        )


def lock(connection: Connection) -> None:
    """Let one transaction at a time pass here; on SQLite BEGIN IMMEDIATE has done so."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})


def revision(connection: Connection) -> str | None:
    """The revision that the database stands at; None for one that has no dsd tables."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def revision_of(given: str) -> str | None:
    """The revision of a database by its path or URL; None for one that is not there or empty."""
    from dsd.store.connect import database_engine

    url = database_url(given)
    file = sqlite_file(url)
    if file and not file.exists():
        return None
    engine = database_engine(url, write=False)
    try:
        with engine.connect() as connection:
            return revision(connection)
    finally:
        engine.dispose()


def revisions(scripts: Path) -> list[str]:
    """The revisions of a migrations folder, oldest first: the numbers that its files begin with."""
    names = sorted(path.name for path in (scripts / "versions").glob("[0-9]*_*.py"))
    return [name.split("_")[0] for name in names]


def _must_upgrade(connection: Connection, scripts: Path) -> bool:
    found, known = revision(connection), revisions(scripts)
    if found == known[-1]:
        return False
    where = describe(connection.engine.url)
    if found is None and set(inspect(connection).get_table_names()) - {"alembic_version"}:
        raise DsdError(f"{where} holds tables of another program: name another database.")
    if found is not None and found not in known:
        raise DsdError(
            f"{where} has schema {found}, newer than this dsd, which knows {known[-1]}: "
            f"upgrade with `pip install -U dsd`, or name another database."
        )
    return True


def _backup(connection: Connection) -> None:
    """Copy an SQLite file that holds something; its lock, held here, lets readers pass."""
    file, found = sqlite_file(connection.engine.url), revision(connection)
    if file is None or found is None:
        return
    try:
        copy_file(file, backup_name(file, found))
    except DsdError as error:
        raise DsdError(f"{file} was not upgraded: {error}") from None


def _upgrade(connection: Connection, scripts: Path) -> None:
    # Alembic takes half a second to import; a database that is up to date never pays it.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
