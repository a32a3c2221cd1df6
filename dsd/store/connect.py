"""Engines: how this process speaks to SQLite and to PostgreSQL."""

from __future__ import annotations

import json
import os
import random
import sqlite3
import time
from typing import Any

from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, event, exc

from dsd.errors import DsdError

BUSY_SECONDS = 60
_FULL = ("too many clients", "remaining connection slots", "no more connections allowed")
_OLDEST_SQLITE = (3, 35, 0)  # RETURNING


def database_engine(
    url: URL, write: bool = True, foreign_keys: bool = True, pooled: bool = True
) -> Engine:
    """An engine on `url`; without `write` its transactions cannot change anything.

    Unless `pooled` a connection to a server lasts one transaction.
    """
    options: dict[str, Any] = {"json_serializer": _to_json}
    if url.get_backend_name() == "sqlite":
        return _sqlite_engine(url, write, foreign_keys, options)
    pool = {"pool_size": 2, "max_overflow": 2, "pool_pre_ping": True, "pool_timeout": 60}
    options |= pool if pooled else {"poolclass": NullPool}
    # A prepared statement belongs to one connection of the server, which a pooler between gives
    # to another client after each transaction.
    options |= {"connect_args": {"connect_timeout": 10, "application_name": "dsd",
                                 "prepare_threshold": None}}  # fmt: skip
    if not write:
        view = {"postgresql_readonly": True, "isolation_level": "REPEATABLE READ"}
        options["execution_options"] = view
    try:
        engine = create_engine(url, **options)
    except ModuleNotFoundError:
        raise DsdError("PostgreSQL needs psycopg: pip install 'dsd[postgres]'") from None
    event.listen(engine, "do_connect", _in_turn)
    _forget_after_fork(engine)
    return engine


def _in_turn(dialect: Any, record: Any, arguments: Any, options: Any) -> Any:
    """Connect; while the server has no connection left, as when a cluster starts, wait for one."""
    end = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            return dialect.connect(*arguments, **options)
        except dialect.dbapi.OperationalError as error:
            full = any(words in str(error) for words in _FULL)
            if not full or time.monotonic() > end:
                raise
        time.sleep(random.uniform(0.05, 1.0))


def _sqlite_engine(url: URL, write: bool, foreign_keys: bool, options: dict[str, Any]) -> Engine:
    if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
        raise DsdError(f"SQLite {sqlite3.sqlite_version} is too old: 3.35 or newer is needed.")
    engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS}, **options)

    @event.listens_for(engine, "connect")
    def configure(connection: sqlite3.Connection, record: Any) -> None:
        connection.isolation_level = None  # sqlite3 would start transactions on its own, too late
        connection.execute(f"PRAGMA foreign_keys = {'ON' if foreign_keys else 'OFF'}")
        if write:
            set_journal(connection, journal_mode(sqlite3.sqlite_version_info))
        else:
            # mode=ro could not roll back the journal that a killed writer leaves behind.
            connection.execute("PRAGMA query_only = ON")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # Taking the lock first makes the busy timeout hold: a later upgrade fails at once.
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    _forget_after_fork(engine)
    return engine


def journal_mode(version: tuple[int, ...]) -> str:
    """ "wal" where SQLite's bug in it is mended (3.51.3, backported), else "delete"."""
    mended = version >= (3, 51, 3)
    backported = (3, 50, 7) <= version < (3, 51, 0) or (3, 44, 6) <= version < (3, 45, 0)
    return "wal" if mended or backported else "delete"


def set_journal(connection: sqlite3.Connection, wanted: str) -> None:
    """Change the file's journal mode if it is another; while others use the file it stays."""
    if connection.execute("PRAGMA journal_mode").fetchone()[0] == wanted:
        return
    try:
        connection.execute(f"PRAGMA journal_mode = {wanted}")
    except sqlite3.OperationalError as error:
        if "locked" not in str(error):
            raise


def _forget_after_fork(engine: Engine) -> None:
    """A connection must not be used by a forked child: the child opens its own."""

    @event.listens_for(engine, "connect")
    def remember(connection: Any, record: Any) -> None:
        record.info["pid"] = os.getpid()

    @event.listens_for(engine, "checkout")
    def compare(connection: Any, record: Any, proxy: Any) -> None:
        if record.info["pid"] != os.getpid():
            record.dbapi_connection = proxy.dbapi_connection = None
            raise exc.DisconnectionError("opened by the parent process")


def _to_json(value: Any) -> str:
    try:
        return _dumps(value)
    except ValueError:  # JSON has no NaN: PostgreSQL would refuse the row
        return _dumps(json.loads(_dumps(value, allow_nan=True), parse_constant=lambda name: None))


def _dumps(value: Any, allow_nan: bool = False) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=allow_nan, default=_from_numpy)


def _from_numpy(number: Any) -> Any:
    return number.item()
