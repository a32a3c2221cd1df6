"""Populations trained elsewhere, kept in the database under a name of their own."""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import Connection, delete, func, select

from dsd.errors import DsdError, UsageError
from dsd.store.clock import now
from dsd.store.engine import Store, insert, reading, writing
from dsd.store.external import External, ExternalRow
from dsd.store.papers import PREFIX
from dsd.store.schema import Import, ImportRow, Space

_NAME = re.compile(r"[\w.+-]+(/[\w.+-]+)*")


def save_import(store: Store, external: External) -> bool:
    """Keep a population whole or not at all; False where this very content is kept already.

    Raises UsageError for a name that cannot be one, DsdError for one that is taken.
    """
    if not _NAME.fullmatch(external.name) or external.name.startswith(PREFIX):
        raise UsageError(f"'{external.name}' cannot name an import: letters, digits, _ . + - and / "
                         f"between them work, but not {PREFIX}..., which dsd ships.")  # fmt: skip
    with writing(store) as connection:
        row = {"name": external.name, "label": external.label, "kind": external.kind,
               "source": external.source, "digest": external.digest,
               "tally": external.tally}  # fmt: skip
        if connection.execute(select(Space.id).where(Space.name == external.name)).first():
            raise DsdError(f"'{external.name}' is a sampled space here; give another --name.")
        new = insert(connection, Import).values(**row, created=now())
        new = new.on_conflict_do_nothing().returning(Import.id)
        key = connection.execute(new).scalar()
        if key is None:
            return _same(connection, external)
        _add_rows(connection, key, external)
    return True


def _same(connection: Connection, external: External) -> bool:
    """False if the import of this name is the same; raises DsdError if it is another."""
    columns = select(Import.label, Import.digest, Import.tally, Import.source)
    kept = connection.execute(columns.where(Import.name == external.name)).one()
    if (kept.label, kept.digest) == (external.label, external.digest) and (
        kept.tally.get("rows") == external.tally.get("rows")
    ):
        return False
    raise DsdError(f"'{external.name}' holds another import already ({kept.source}, regime "
                   f"{kept.label}); give another --name.")  # fmt: skip


def _add_rows(connection: Connection, key: int, external: External) -> None:
    rows: list[dict[str, Any]] = [
        {"import_id": key, "ordinal": i, "state": row.state, "error_last": row.error_last,
         "error_lowest": row.error_lowest, "properties": row.properties, "curve": row.curve}
        for i, row in enumerate(external.rows)
    ]  # fmt: skip
    if rows:
        connection.execute(insert(connection, ImportRow), rows)


def imported(store: Store, name: str) -> External | None:
    """The import of a name, whole; None where there is none."""
    with reading(store) as connection:
        kept = connection.execute(select(Import.__table__).where(Import.name == name)).first()
        if kept is None:
            return None
        rows = select(ImportRow.__table__).where(ImportRow.import_id == kept.id)
        found = connection.execute(rows.order_by(ImportRow.ordinal)).all()
    return External(
        kept.name, kept.label, kept.kind, kept.source, kept.digest,
        tuple(
            ExternalRow(r.error_last, r.error_lowest, r.properties, r.curve, r.state) for r in found
        ),
        kept.tally,
    )  # fmt: skip


def import_sizes(store: Store) -> dict[str, tuple[str, int]]:
    """Name -> (label, networks) of every import, in the order of their coming."""
    size = select(func.count()).where(ImportRow.import_id == Import.id).scalar_subquery()
    with reading(store) as connection:
        rows = connection.execute(select(Import.name, Import.label, size).order_by(Import.id))
        return {name: (label, count) for name, label, count in rows}


def delete_import(store: Store, name: str) -> bool:
    """Forget an import with its rows, notes and tags; whether there was one."""
    with writing(store) as connection:
        return connection.execute(delete(Import).where(Import.name == name)).rowcount == 1
