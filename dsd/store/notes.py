"""What people write about populations, runs and imports: notes, and tags to find them by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, select

from dsd.errors import DsdError, UsageError, suggestion
from dsd.store.clock import now
from dsd.store.engine import Store, insert, reading, writing
from dsd.store.references import resolve
from dsd.store.schema import MEMBER_RUN, Import, Member, Note, Population, Run, Tag

_LARGEST = 2**31 - 1  # the databases count runs in 32 bits


@dataclass(frozen=True)
class Subject:
    """One population, run or import: the column that says which, its id and its name."""

    column: str
    id: int
    name: str


def run_number(given: str) -> int | None:
    """The run that a text means: plain digits; None for what names something else.

    Raises DsdError for a number that no run can have.
    """
    if not (given.isascii() and given.isdigit()):
        return None
    if int(given) > _LARGEST:
        raise no_run(int(given))
    return int(given)


def no_run(number: int) -> DsdError:
    """That there is no such run."""
    return DsdError(f"No run {number} here; `dsd runs` lists them.")


def find_subject(store: Store, given: str, default_regime: str | None = None) -> Subject:
    """A run by its id, an import by its name, or one population. Raises DsdError, UsageError."""
    with reading(store) as connection:
        number = run_number(given)
        if number is not None:
            if connection.execute(select(Run.id).where(Run.id == number)).first() is None:
                raise no_run(number)
            return Subject("run_id", number, f"run {number}")
        found = connection.execute(select(Import.id).where(Import.name == given)).scalar()
    if found is not None:
        return Subject("import_id", found, given)
    rows = resolve(store, given, default_regime)
    if len(rows) > 1:
        names = ", ".join(row.name for row in rows)
        raise UsageError(f"'{given}' means {len(rows)} populations: name one of {names}.")
    return Subject("population_id", rows[0].id, rows[0].name)


def add_note(store: Store, subject: Subject, text: str, author: str) -> None:
    """Write a note."""
    row = {subject.column: subject.id, "text": text, "author": author}
    with writing(store) as connection:
        connection.execute(insert(connection, Note).values(**row, created=now()))


def notes_of(store: Store, subject: Subject) -> list[dict[str, Any]]:
    """The notes on a subject, oldest first: text, author, created (Unix seconds)."""
    rows = select(Note.text, Note.author, Note.created)
    rows = rows.where(getattr(Note, subject.column) == subject.id).order_by(Note.id)
    with reading(store) as connection:
        return [row._asdict() for row in connection.execute(rows)]


def add_tags(store: Store, subject: Subject, names: Sequence[str]) -> None:
    """Mark a subject; a tag that it has stays one. Raises UsageError for a tag with blanks."""
    wrong = [name for name in names if not name or any(c.isspace() or c == "," for c in name)]
    if wrong:
        raise UsageError(f"'{wrong[0]}' cannot be a tag: one word without blanks or commas works.")
    rows = [{subject.column: subject.id, "name": name} for name in names]
    with writing(store) as connection:
        connection.execute(insert(connection, Tag).on_conflict_do_nothing(), rows)


def remove_tags(store: Store, subject: Subject, names: Sequence[str]) -> int:
    """Take tags off a subject; how many it had."""
    mine = getattr(Tag, subject.column) == subject.id
    with writing(store) as connection:
        return connection.execute(delete(Tag).where(mine, Tag.name.in_(names))).rowcount


def tags_of(store: Store, subject: Subject) -> list[str]:
    """The tags of a subject, by the alphabet."""
    rows = select(Tag.name).where(getattr(Tag, subject.column) == subject.id).order_by(Tag.name)
    with reading(store) as connection:
        return list(connection.execute(rows).scalars())


def runs_tagged(store: Store, name: str) -> set[int]:
    """Ids of the runs that carry a tag, or belong to a population that does.

    Raises UsageError for a tag that nothing has.
    """
    own = select(Tag.run_id).where(Tag.name == name, Tag.run_id.isnot(None))
    members = select(Run.id).join_from(Tag, Population).join(Member).join(Run, MEMBER_RUN)
    with reading(store) as connection:
        known = set(connection.execute(select(Tag.name).distinct()).scalars())
        if name not in known:
            raise UsageError(f"Nothing here has the tag '{name}'.{suggestion(name, known)}")
        found = connection.execute(own.union(members.where(Tag.name == name))).scalars()
        return {run for run in found if run is not None}
