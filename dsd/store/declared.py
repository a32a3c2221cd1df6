"""Spaces and regimes by name: what a name means never changes within a database."""

from __future__ import annotations

from sqlalchemy import Connection, select

from dsd.errors import DsdError
from dsd.store.engine import insert
from dsd.store.location import describe
from dsd.store.schema import Regime, Space


def space_id(connection: Connection, name: str, text: str, digest: str) -> int:
    """The id of a space, entered if new. Raises DsdError if its name means something else here."""
    row = insert(connection, Space).values(name=name, text=text, digest=digest)
    connection.execute(row.on_conflict_do_nothing())
    stored = connection.execute(select(Space).where(Space.name == name)).one()
    if stored.digest != digest:
        raise DsdError(_another_meaning(connection, "space", name, stored.digest, digest))
    return int(stored.id)


def regime_id(connection: Connection, name: str, text: str, digest: str) -> int:
    """The id of a regime, entered if new.

    Raises DsdError if its name means something else here, or its meaning has another name.
    """
    row = insert(connection, Regime).values(name=name, text=text, digest=digest)
    connection.execute(row.on_conflict_do_nothing())
    stored = connection.execute(select(Regime).where(Regime.name == name)).first()
    if stored is None:
        twin = connection.execute(select(Regime.name).where(Regime.digest == digest)).scalar_one()
        raise DsdError(
            f"Regime '{name}' says exactly what '{twin}' says, under which "
            f"{describe(connection.engine.url)} has its runs: use --regime {twin}."
        )
    if stored.digest != digest:
        raise DsdError(_another_meaning(connection, "regime", name, stored.digest, digest))
    return int(stored.id)


def _another_meaning(connection: Connection, kind: str, name: str, old: str, new: str) -> str:
    return (
        f"The {kind} '{name}' has changed (now {new}) since {describe(connection.engine.url)} "
        f"stored it ({old}): give the changed {kind} a new name, or use another database."
    )
