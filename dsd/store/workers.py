"""Who trains: registration, heartbeat, and giving back what a vanished worker held."""

from __future__ import annotations

import os
import platform
import secrets
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from sqlalchemy import Connection, Text, case, cast, insert, literal, null, select, update

import dsd
from dsd.store import process
from dsd.store.clock import now
from dsd.store.engine import Store, reading, writing
from dsd.store.schema import Run, Worker

_PACKAGES = ("torch", "torchvision", "numpy", "sqlalchemy")


def register_worker(store: Store, device: str, launched: str = "") -> str:
    """Enter this process as a worker on `device`; the owner id that its claims will carry.

    Every call makes a new id: a worker that comes back is another worker. `launched` says who
    started it (see `dsd.store.fleet`), kept beside the versions.
    """
    host, pid = process.host(), os.getpid()
    owner = f"{host}-{pid}-{secrets.token_hex(6)}"
    known = versions() | ({"launched": launched} if launched else {})
    row = {"owner": owner, "host": host, "boot": process.boot(), "pid": pid, "device": device}
    row |= {"process_start": process.process_start(pid) or "", "versions": known}
    with writing(store) as connection:
        connection.execute(insert(Worker).values(**row, started=now(), heartbeat=now()))
    return owner


def retire_worker(store: Store, owner: str) -> None:
    """Say that a worker ended in good order; `status` lists it no longer."""
    with writing(store) as connection:
        connection.execute(update(Worker).where(Worker.owner == owner).values(stopped=now()))


def versions() -> dict[str, str]:
    """What this process computes with; packages are asked by name, not imported."""
    found = {"dsd": dsd.__version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def heartbeat(connection: Connection, owner: str, **observed: Any) -> None:
    """Note that the worker lives, within the caller's transaction."""
    connection.execute(_alive(owner).values(**observed) if observed else _alive(owner))


@lru_cache
def _alive(owner: str) -> Any:
    return update(Worker).where(Worker.owner == owner).values(heartbeat=now())


def rescue_dead(store: Store, max_attempts: int = 3) -> int:
    """Give back the runs of this machine's workers that no longer live; how many runs.

    Other machines' workers, and stopped or hanging ones, are left to their leases.
    """
    here = (Worker.host == process.host()) & (Worker.boot == process.boot())
    with reading(store) as connection:
        columns = select(Worker.owner, Worker.pid, Worker.process_start)
        known = connection.execute(columns.where(here, Worker.stopped.is_(None))).all()
    dead = [w.owner for w in known if process.process_start(w.pid) != w.process_start]
    if not dead:
        return 0
    with writing(store) as connection:
        connection.execute(update(Worker).where(Worker.owner.in_(dead)).values(stopped=now()))
        return connection.execute(giving_back(Run.owner.in_(dead), max_attempts)).rowcount


def give_up(store: Store, owner: str, max_attempts: int = 3) -> None:
    """Give back what a worker holds that must leave in mid-training: the attempt counts."""
    with writing(store) as connection:
        connection.execute(giving_back(Run.owner == owner, max_attempts))


def giving_back(lost: Any, max_attempts: int) -> Any:
    """The one statement that queues running runs that are `lost`, or fails those tried enough."""
    rows = select(Run.id).where(Run.state == "running", lost).correlate(None)
    spent = Run.attempts - Run.forgiven >= max_attempts
    change = {
        "state": case((spent, literal("failed", Text())), else_=literal("queued", Text())),
        "owner": case((spent, Run.owner), else_=null()),
        "finished": case((spent, now()), else_=null()),
        "seconds": case((spent, now() - Run.started), else_=null()),
        "message": case((spent, _gave_up()), else_=null()),
        "lease_until": null(),
    }
    # SKIP LOCKED: whoever is at work on a row decides it; SQLite has one writer and drops this.
    rows = rows.with_for_update(skip_locked=True)
    return update(Run).where(Run.id.in_(rows)).values(**change)


def _gave_up() -> Any:
    attempts = cast(Run.attempts - Run.forgiven, Text())
    before = literal("Gave up after attempt ", Text())
    after = literal(": its worker vanished without a report. The last one was ", Text())
    return before + attempts + after + Run.owner
