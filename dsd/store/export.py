"""Populations as files: one row a network, or one row an epoch."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from dsd.errors import DsdError, UsageError
from dsd.store.engine import Store, reading
from dsd.store.references import PopulationRow
from dsd.store.schema import MEMBER_RUN, Epoch, Member, Population, Run

if TYPE_CHECKING:
    import pandas as pd

FORMATS = ("csv", "json", "parquet")


def provenance(store: Store, populations: Sequence[PopulationRow]) -> pd.DataFrame:
    """One row a network, in the order of `frame`: when and with what its run was trained.

    Columns: started, finished (Unix seconds) and what the run recorded, each under `from_...`.
    """
    import pandas as pd

    rows = select(Run.started, Run.finished, Run.provenance).join_from(Population, Member)
    rows = rows.join(Run, MEMBER_RUN).order_by(Member.ordinal)
    table: list[dict[str, Any]] = []
    with reading(store) as connection:
        for population in populations:
            for row in connection.execute(rows.where(Population.id == population.id)):
                said = {f"from_{key}": value for key, value in (row.provenance or {}).items()}
                table.append({"started": row.started, "finished": row.finished, **said})
    return pd.DataFrame(table)


def curves(store: Store, populations: Sequence[PopulationRow]) -> pd.DataFrame:
    """One row an epoch of each network's last attempt.

    Columns: population, ordinal, run and those of the table `epochs` (errors in percent).
    """
    import pandas as pd

    own = [column for column in Epoch.__table__.c if column.name != "run_id"]
    rows = select(Member.ordinal, Run.id.label("run"), *own).join_from(Population, Member)
    rows = rows.join(Run, MEMBER_RUN)
    rows = rows.join(Epoch, (Epoch.run_id == Run.id) & (Epoch.attempt == Run.attempts))
    rows = rows.order_by(Member.ordinal, Epoch.epoch)
    names = ["population", "ordinal", "run", *(column.name for column in own)]
    table: list[tuple[Any, ...]] = []
    with reading(store) as connection:
        for population in populations:
            found = connection.execute(rows.where(Population.id == population.id))
            table += [(population.name, *row) for row in found]
    return pd.DataFrame(table, columns=names)


def write_table(table: pd.DataFrame, path: Path, kind: str, force: bool = False) -> None:
    """Write a table whole or not at all. Raises UsageError for a file that is there already."""
    if path.exists() and not force:
        raise UsageError(f"{path} is there already: --force replaces it.")
    with _whole(path) as partial:
        if kind == "parquet":
            _parquet(table, partial)
        else:
            partial.write_text(as_text(table, kind), encoding="utf-8")


def write_text(path: Path, text: str) -> None:
    """Write a text whole or not at all, replacing what is there."""
    with _whole(path) as partial:
        partial.write_text(text, encoding="utf-8")


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """A file beside `path` that takes its place at the end. Raises DsdError if it cannot."""
    if not path.parent.is_dir():
        raise DsdError(f"{path}: no folder {path.parent} to write into; make it first.")
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        partial.replace(path)
    except OSError as error:
        raise DsdError(f"{path} was not written: {error.strerror or error}.") from None
    finally:
        partial.unlink(missing_ok=True)


def as_text(table: pd.DataFrame, kind: str) -> str:
    """The table as CSV, or as JSON: a list of objects, null where a network has no value."""
    if kind == "csv":
        return str(table.to_csv(index=False))
    return str(table.to_json(orient="records", double_precision=15, indent=1)) + "\n"


def _parquet(table: pd.DataFrame, path: Path) -> None:
    try:
        table.to_parquet(path, index=False)
    except ImportError:
        raise DsdError("Parquet needs pyarrow: pip install 'dsd[parquet]'") from None
