"""Whether a database is whole, and how full it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from sqlalchemy import Connection, exists, false, func, inspect, select, text

from dsd.store.clock import now
from dsd.store.engine import Store, reading
from dsd.store.location import sqlite_file
from dsd.store.migrate import revision
from dsd.store.schema import MEMBER_RUN, Base, Member, Population, Run


def check(store: Store) -> Iterator[tuple[str, str]]:
    """(what was looked at, "" or what is wrong) of each check."""
    with reading(store) as connection:
        if connection.dialect.name == "sqlite":
            found = connection.execute(text("PRAGMA integrity_check(5)")).scalars().all()
            yield "file intact", "" if found == ["ok"] else "; ".join(found)
            broken = connection.execute(text("PRAGMA foreign_key_check")).all()
            yield "foreign keys", f"{len(broken)} rows point nowhere" if broken else ""
        yield "tables", _tables(connection)
        for name, rows in _LAWS.items():
            count = connection.execute(rows()).scalar_one()
            yield name, f"{count} rows break this" if count else ""


def _tables(connection: Connection) -> str:
    """Columns that the code declares and the database lacks."""
    there = inspect(connection)
    missing = []
    for table in Base.metadata.sorted_tables:
        known = {column["name"] for column in there.get_columns(table.name)}
        missing += [f"{table.name}.{c.name}" for c in table.c if c.name not in known]
    return f"without {', '.join(missing)}" if missing else ""


def _members_without_run() -> Any:
    run = exists(select(Run.id).where(MEMBER_RUN))
    joined = select(func.count()).select_from(Member).join(Population)
    return joined.where(~run.correlate(Member, Population))


def _gaps() -> Any:
    """Populations whose ordinals are not 0 to n - 1."""
    size, top = func.count(), func.max(Member.ordinal)
    odd = select(Member.population_id).group_by(Member.population_id).having(top + 1 != size)
    return select(func.count()).select_from(odd.subquery())


def _count(*where: Any) -> Any:
    return select(func.count()).select_from(Run).where(*where)


def _running_without_owner() -> Any:
    return _count(Run.state == "running", Run.owner.is_(None) | Run.lease_until.is_(None))


def _lease_without_running() -> Any:
    return _count(Run.state != "running", Run.lease_until.isnot(None))


def _done_without_error() -> Any:
    return _count(Run.state.in_(("done", "diverged")), Run.error_last.is_(None))


def _held_wrongly() -> Any:
    wanting = select(Member.ordinal).join_from(Member, Population).where(MEMBER_RUN)
    wanted = exists(wanting.where(Population.paused == false()).correlate(Run))
    return _count(Run.held == wanted)


_LAWS: dict[str, Callable[[], Any]] = {
    "every network of a population has its run": _members_without_run,
    "sampling order without gaps": _gaps,
    "running runs have an owner and a lease": _running_without_owner,
    "others have no lease": _lease_without_running,
    "done runs have an error": _done_without_error,
    "what is held back belongs to paused populations": _held_wrongly,
}


def stats(store: Store) -> dict[str, Any]:
    """Rows by table, schema, size in bytes, journal mode, and runs that ended in the last hour."""
    with reading(store) as connection:
        rows = {
            table.name: connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in Base.metadata.sorted_tables
        }
        known: dict[str, Any] = {"schema": revision(connection), "rows": rows}
        recent = _count(Run.finished > now() - 3600.0, Run.state.in_(("done", "diverged")))
        known["ended_last_hour"] = connection.execute(recent).scalar_one()
        file = sqlite_file(store.url)
        if file:
            known["bytes"] = file.stat().st_size
            known["journal"] = connection.execute(text("PRAGMA journal_mode")).scalar()
        else:
            size = text("SELECT pg_database_size(current_database())")
            known["bytes"] = connection.execute(size).scalar_one()
    return known
