"""Spaces and regimes by name: what a name means never changes within a database."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Connection, select

from dsd.errors import DsdError
from dsd.regime import Regime as Conditions
from dsd.store.engine import Store, insert, reading
from dsd.store.location import describe
from dsd.store.schema import Regime, Space


def space_id(connection: Connection, name: str, text: str, digest: str, kind: str = "space") -> int:
    """The id of a space or a selection, entered if new.

    Raises DsdError if its name means something else here.
    """
    row = insert(connection, Space).values(name=name, text=text, digest=digest, kind=kind)
    connection.execute(row.on_conflict_do_nothing())
    stored = connection.execute(select(Space).where(Space.name == name)).one()
    if stored.digest != digest:
        if "selection" in (kind, stored.kind):
            raise DsdError(f"'{name}' names another {stored.kind} in "
                           f"{describe(connection.engine.url)}: give this one a --name of its "
                           "own.")  # fmt: skip
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


def stored_space(store: Store, name: str) -> dict[str, Any]:
    """The declaration of a stored space: form, draw, restrict (parents' rules first) and so on."""
    with reading(store) as connection:
        text = connection.execute(select(Space.text).where(Space.name == name)).scalar_one()
    declared: dict[str, Any] = json.loads(text)
    return {"restrict": [], **declared}


def stored_regime(store: Store, name: str) -> dict[str, Any]:
    """A stored regime, key by key: {"train.epochs": 10, ...}."""
    with reading(store) as connection:
        text = connection.execute(select(Regime.text).where(Regime.name == name)).scalar_one()
    return _flat(Conditions.from_text(text, name).values)


def selection_text(store: Store, name: str) -> str | None:
    """The text of a stored selection; None where no selection has this name."""
    with reading(store) as connection:
        row = select(Space.text).where(Space.name == name, Space.kind == "selection")
        return connection.execute(row).scalar()


def selection_names(store: Store) -> list[str]:
    """The names of all selections, in the order of their making."""
    with reading(store) as connection:
        rows = select(Space.name).where(Space.kind == "selection").order_by(Space.id)
        return list(connection.execute(rows).scalars())


def regime_differences(
    store: Store, one: str, other: str, most: int = 6, beside: str = "\0"
) -> str:
    """Keys in which two stored regimes differ: "train.epochs 10 and 4, resolution 224 and 28".

    Keys that start with `beside` (such as "band.") are left out.
    """
    with reading(store) as connection:
        columns = select(Regime.name, Regime.text).where(Regime.name.in_((one, other)))
        rows = connection.execute(columns).all()
    texts = {row.name: _flat(Conditions.from_text(row.text, row.name).values) for row in rows}
    if len(texts) < 2:  # an import's label stands for conditions that nobody wrote down here
        return ""
    a, b = texts[one], texts[other]
    differ = (key for key in dict.fromkeys([*a, *b]) if a.get(key) != b.get(key))
    keys = sorted((key for key in differ if not key.startswith(beside)), key=_weight)
    said = [f"{key} {a.get(key)} and {b.get(key)}" for key in keys[:most]]
    more = [f"{len(keys) - most} more"] if len(keys) > most else []
    return ", ".join([*said, *more])


def _weight(key: str) -> int:
    """What matters most comes first: dataset and resolution, the band, the recipe, the rest."""
    section = key.partition(".")[0] if "." in key else ""
    return ["", "band", "train"].index(section) if section in ("", "band", "train") else 3


def _flat(table: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"train": {"lr": 1}} -> {"train.lr": 1}"""
    flat: dict[str, Any] = {}
    for key, value in table.items():
        flat |= _flat(value, f"{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _another_meaning(connection: Connection, kind: str, name: str, old: str, new: str) -> str:
    return (
        f"The {kind} '{name}' has changed (now {new}) since {describe(connection.engine.url)} "
        f"stored it ({old}): give the changed {kind} a new name, or use another database."
    )
