"""Opening a database: one engine that takes the write lock first, one that never takes it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import URL, Connection, Engine, exc

from dsd.errors import DsdError, UsageError
from dsd.store import migrate
from dsd.store.connect import BUSY_SECONDS, database_engine
from dsd.store.location import check_file, database_url, describe, hidden, sqlite_file
from dsd.store.schema import Base


class DatabaseUnavailable(DsdError):
    """The database is locked, full, unreachable or broken; the same call may work later."""


@dataclass(frozen=True)
class Store:
    """An open database. `write` takes the write lock at BEGIN; `read` refuses to write."""

    url: URL
    write: Engine
    read: Engine

    def __repr__(self) -> str:
        return f"Store({describe(self.url)})"

    def close(self) -> None:
        """Close every pooled connection; the store opens new ones when used again."""
        self.write.dispose()
        self.read.dispose()


def open_store(url: str, write: bool = True, pooled: bool = True) -> Store:
    """The database at a path or URL, created or upgraded when `write`.

    Unless `pooled` no connection to a server is kept between transactions: a worker says something
    every 20 seconds, and a server holds a hundred connections, not one for each of a thousand.
    Raises UsageError for a URL that cannot be used, and DsdError for a missing file (reading only),
    a schema of another version, a network file system and a server that does not answer.
    """
    target = database_url(url)
    file = sqlite_file(target)
    if file:
        check_file(file, write)
    reader = database_engine(target, write=False, pooled=pooled)
    writer = database_engine(target, pooled=pooled) if write else reader
    store = Store(target, writer, reader)
    with translated(target):
        if write:
            # A writer connects first: the journal mode changes only while nobody uses the file.
            with store.write.connect():
                pass
            migrate.prepare(reader, lambda: database_engine(target, foreign_keys=False))
        else:
            with reader.connect() as connection:
                migrate.check(connection)
    return store


@contextmanager
def writing(store: Store) -> Iterator[Connection]:
    """One short write transaction. Raises DatabaseUnavailable."""
    with translated(store.url), store.write.begin() as connection:
        yield connection


@contextmanager
def reading(store: Store) -> Iterator[Connection]:
    """One read transaction: a consistent view. Raises DatabaseUnavailable."""
    with translated(store.url), store.read.connect() as connection:
        yield connection


def insert(connection: Connection, table: type[Base]) -> Any:
    """An INSERT that knows ON CONFLICT in the connection's dialect."""
    if connection.dialect.name == "sqlite":
        from sqlalchemy.dialects import sqlite

        return sqlite.insert(table)
    from sqlalchemy.dialects import postgresql  # loads every driver's module: only where needed

    return postgresql.insert(table)


@contextmanager
def translated(url: URL) -> Iterator[None]:
    """Turn what the database's surroundings can do wrong into one line; bugs pass untouched."""
    try:
        yield
    except (exc.OperationalError, exc.InterfaceError, exc.TimeoutError) as error:
        raise DatabaseUnavailable(_explain(url, error)) from None
    except exc.ProgrammingError as error:
        if "invalid connection option" in str(error.orig):
            raise UsageError(f"{_explain(url, error)} (in the URL)") from None
        if "permission denied" not in str(error.orig):
            raise
        raise DsdError(f"{_explain(url, error)} (as {url.username})") from None
    except exc.DatabaseError as error:
        if type(error) is not exc.DatabaseError:
            raise
        raise DatabaseUnavailable(_explain(url, error)) from None


def _explain(url: URL, error: Exception) -> str:
    said = hidden(url, str(getattr(error, "orig", None) or error).strip().splitlines()[0])
    hints = {
        "is locked": f"another process held it for {BUSY_SECONDS} s; try again.",
        "not a database": "another kind of file stands there; name another file.",
        "full": "make room on its disk, then try again.",
        "readonly": "it, or its folder, may not be written by this user.",
        "connection": "is the server running, and the URL right?",
    }
    hint = next((text for key, text in hints.items() if key in said), "")
    return f"Database {describe(url)}: {said.rstrip('.')}. {hint[:1].upper()}{hint[1:]}".rstrip()
