"""Two databases that were filled on two machines become one; doing it twice changes nothing.

Spaces and regimes are the same by name and digest, networks by digest, populations by space, regime
and seed, runs by regime, seed and network. A result (done or diverged) in either is the result in
the merged one; where both have one, ours stays and theirs is kept in `late_results`. Theirs that
failed or were cancelled count only where ours was never tried. A claim there is no claim here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, func, select, update

from dsd.errors import DsdError
from dsd.store import migrate
from dsd.store.clock import now
from dsd.store.engine import Store, insert, reading, writing
from dsd.store.location import describe
from dsd.store.schema import (
    MEMBER_RUN,
    Base,
    Epoch,
    Import,
    ImportRow,
    LateResult,
    Member,
    Network,
    Note,
    Population,
    Regime,
    Run,
    Space,
    Tag,
    Timing,
    Worker,
)
from dsd.store.steer import hold_back

SCORED = ("done", "diverged")
NO_RESULT = ("failed", "out-of-memory", "cancelled")
OUTCOME = ("state", "owner", "started", "finished", "seconds", "error_last", "error_lowest",
           "message", "trace", "provenance")  # fmt: skip
_CHUNK = 5000


class _DryRun(Exception):
    """Ends the transaction without a trace."""


@dataclass
class Merged:
    """How many rows came in, by kind; `kept_apart` are results of runs that had one here."""

    added: dict[str, int] = field(default_factory=dict)
    known: dict[str, int] = field(default_factory=dict)
    kept_apart: int = 0

    def count(self, kind: str, added: int, known: int) -> None:
        """Note what came of one kind of rows."""
        self.added[kind] = self.added.get(kind, 0) + added
        self.known[kind] = self.known.get(kind, 0) + known


def merge(ours: Store, theirs: Store, dry_run: bool = False) -> Merged:
    """Take in everything that another database knows, all or nothing; it is only read.

    Raises DsdError where one name means two things, or one population has two draws.
    """
    merged = Merged()
    try:
        with reading(theirs) as source, writing(ours) as target:
            migrate.lock(target)
            _Merge(source, target, merged).all()
            if dry_run:
                raise _DryRun
    except _DryRun:
        pass
    return merged


@dataclass
class _Merge:
    """One merge at work: rows of `source` go into `target`, their ids translated."""

    source: Connection
    target: Connection
    merged: Merged
    spaces: dict[int, int] = field(default_factory=dict)
    regimes: dict[int, int] = field(default_factory=dict)
    populations: dict[int, int] = field(default_factory=dict)
    runs: dict[int, int] = field(default_factory=dict)
    imports: dict[int, int] = field(default_factory=dict)
    taken: dict[int, int] = field(default_factory=dict)  # their run -> attempts that ours had

    def all(self) -> None:
        """Parents before children."""
        self.spaces = self.declared(Space)
        self.regimes = self.declared(Regime)
        self.plain(Network)
        self.plain(Worker)
        self.plain(Timing, without=("id",))
        for population in self.rows(Population):
            self.population(population)
        self.run_rows()
        self.children(Epoch)
        self.children(LateResult)
        self.imported()
        self.remarks()
        hold_back(self.target, None)
        self.lowest_ordinals()

    def rows(self, table: type[Base], *where: Any) -> list[Any]:
        return list(self.source.execute(select(table.__table__).where(*where)))

    def add(self, table: type[Base], rows: Sequence[Mapping[str, Any]]) -> int:
        """Insert what is not there yet; how many that were."""
        before = self.size(table)
        for start in range(0, len(rows), _CHUNK):
            new = insert(self.target, table).on_conflict_do_nothing()
            self.target.execute(new, list(rows[start : start + _CHUNK]))
        return self.size(table) - before

    def size(self, table: type[Base]) -> int:
        return self.target.execute(select(func.count()).select_from(table)).scalar_one()

    def plain(self, table: type[Base], without: Sequence[str] = ()) -> None:
        """Rows that are the same wherever they are."""
        found = [row._asdict() for row in self.rows(table)]
        rows = [{key: row[key] for key in row if key not in without} for row in found]
        added = self.add(table, rows)
        self.merged.count(table.__tablename__, added, len(rows) - added)

    def declared(self, table: type[Space] | type[Regime]) -> dict[int, int]:
        """Their ids of spaces or regimes -> ours. Raises DsdError for a name with two meanings."""
        kind = table.__tablename__.removesuffix("s")
        ours = {row.name: row for row in self.target.execute(select(table.__table__))}
        meanings = {row.digest: row.id for row in ours.values()} if table is Regime else {}
        ids, added = {}, 0
        for row in self.rows(table):
            here = ours.get(row.name)
            if here is not None and here.digest != row.digest:
                raise DsdError(
                    f"The {kind} '{row.name}' means {here.digest} here and {row.digest} in "
                    f"{describe(self.source.engine.url)}: the two cannot be merged."
                )
            if here is not None or row.digest in meanings:
                ids[row.id] = here.id if here is not None else meanings[row.digest]
                continue
            values = {key: value for key, value in row._asdict().items() if key != "id"}
            new = insert(self.target, table).values(**values).returning(table.id)
            ids[row.id] = self.target.execute(new).scalar_one()
            added += 1
        self.merged.count(table.__tablename__, added, len(ids) - added)
        return ids

    def population(self, row: Any) -> None:
        """One population and its members. Raises DsdError if the two drew different networks."""
        key = {"space_id": self.spaces[row.space_id], "regime_id": self.regimes[row.regime_id],
               "seed": row.seed}  # fmt: skip
        same = [getattr(Population, name) == value for name, value in key.items()]
        here = self.target.execute(select(Population.id).where(*same)).scalar()
        if here is None:
            values = {**key, "tally": row.tally, "created": row.created, "paused": row.paused}
            new = insert(self.target, Population).values(**values).returning(Population.id)
            here = self.target.execute(new).scalar_one()
            self.merged.count("populations", 1, 0)
        else:
            self.merged.count("populations", 0, 1)
        self.populations[row.id] = here
        members = self.rows(Member, Member.population_id == row.id)
        members.sort(key=lambda member: member.ordinal)
        known = select(Member.network).where(Member.population_id == here).order_by(Member.ordinal)
        stored = list(self.target.execute(known).scalars())
        pairs = zip(stored, members, strict=False)
        if any(digest != member.network for digest, member in pairs):
            raise DsdError(
                f"A population of seed {row.seed} holds other networks in "
                f"{describe(self.source.engine.url)} than here: another version drew them."
            )
        tail = [{**m._asdict(), "population_id": here} for m in members[len(stored) :]]
        if tail:
            self.add(Member, tail)
            longer = update(Population).where(Population.id == here)
            self.target.execute(longer.values(tally=row.tally))
        self.merged.count("members", len(tail), len(members) - len(tail))

    def run_rows(self) -> None:
        """Their runs: new ones come as they are, known ones may bring a result."""
        ours = {
            (row.regime_id, row.seed, row.network): row
            for row in self.target.execute(select(Run.__table__))
        }
        fresh = []
        for row in self.rows(Run):
            key = (self.regimes[row.regime_id], row.seed, row.network)
            if key in ours:
                self.runs[row.id] = ours[key].id
                self.known_run(ours[key], row)
            else:
                fresh.append((key, row))
        self.add(Run, [self.new_run(key[0], row) for key, row in fresh])
        self.merged.count("runs", len(fresh), len(self.runs))
        columns = select(Run.id, Run.regime_id, Run.seed, Run.network)
        ids = {tuple(row[1:]): row.id for row in self.target.execute(columns)}
        for key, row in fresh:
            self.runs[row.id] = ids[key]
            self.taken[row.id] = 0

    def new_run(self, regime: int, row: Any) -> dict[str, Any]:
        """A run as it was there; a claim there is none here, and is forgiven."""
        values = {k: v for k, v in row._asdict().items() if k != "id"} | {"regime_id": regime}
        if row.state == "running":
            values |= dict.fromkeys(("owner", "lease_until", "started", "message"))
            values |= {"state": "queued", "forgiven": row.attempts}
        return values

    def known_run(self, here: Any, there: Any) -> None:
        if there.state in SCORED and here.state in SCORED:
            self.second_result(here, there)
        elif there.state in SCORED or (
            there.state in NO_RESULT and here.state == "queued" and here.attempts == 0
        ):
            values = {name: getattr(there, name) for name in OUTCOME}
            values |= {"attempts": here.attempts + there.attempts, "lease_until": None,
                       "forgiven": here.forgiven + there.forgiven}  # fmt: skip
            self.target.execute(update(Run).where(Run.id == here.id).values(**values))
            self.taken[there.id] = here.attempts
            self.merged.count("results", 1, 0)

    def second_result(self, here: Any, there: Any) -> None:
        """Keep a result apart, unless it is the very one that is here."""
        if (here.owner, here.finished) == (there.owner, there.finished):
            self.merged.count("results", 0, 1)
            return
        said = {name: getattr(there, name) for name in OUTCOME[5:]} | {"state": there.state}
        late = {"run_id": here.id, "attempt": there.attempts, "owner": there.owner or "",
                "state": there.state, "result": said}  # fmt: skip
        row = insert(self.target, LateResult).values(**late, received=now())
        new = row.on_conflict_do_nothing().returning(LateResult.run_id)
        self.merged.kept_apart += len(self.target.execute(new).all())

    def children(self, table: type[Epoch] | type[LateResult]) -> None:
        """Epochs or late results of the runs that came in, their attempts after ours."""
        before, seen = self.size(table), 0
        found = self.source.execution_options(stream_results=True).execute(select(table.__table__))
        for part in found.partitions(_CHUNK):
            rows = [
                {**row._asdict(), "run_id": self.runs[row.run_id],
                 "attempt": row.attempt + self.taken[row.run_id]}
                for row in part
                if row.run_id in self.taken
            ]  # fmt: skip
            seen += len(rows)
            if rows:
                new = insert(self.target, table).on_conflict_do_nothing()
                self.target.execute(new, rows)
        added = self.size(table) - before
        self.merged.count(table.__tablename__, added, seen - added)

    def imported(self) -> None:
        """Imports by name. Raises DsdError for one name with two contents."""
        ours = {row.name: row for row in self.target.execute(select(Import.__table__))}
        for row in self.rows(Import):
            here = ours.get(row.name)
            if here is not None and (here.digest, here.label) != (row.digest, row.label):
                raise DsdError(
                    f"'{row.name}' is another import here than in "
                    f"{describe(self.source.engine.url)}: delete one with `dsd delete {row.name}`."
                )
            self.merged.count("imports", int(here is None), int(here is not None))
            if here is not None:
                self.imports[row.id] = here.id
                continue
            values = {k: v for k, v in row._asdict().items() if k != "id"}
            new = insert(self.target, Import).values(**values).returning(Import.id)
            self.imports[row.id] = self.target.execute(new).scalar_one()
            rows = self.rows(ImportRow, ImportRow.import_id == row.id)
            self.add(ImportRow, [{**r._asdict(), "import_id": self.imports[row.id]} for r in rows])

    def remarks(self) -> None:
        """Notes and tags, each once."""
        tags = [self.about(row) for row in self.rows(Tag)]
        added = self.add(Tag, tags)
        self.merged.count("tags", added, len(tags) - added)
        columns = [c for c in Note.__table__.c if c.name != "id"]
        known = {tuple(row) for row in self.target.execute(select(*columns))}
        notes = [self.about(row) for row in self.rows(Note)]
        fresh = [note for note in notes if tuple(note[c.name] for c in columns) not in known]
        self.add(Note, fresh)
        self.merged.count("notes", len(fresh), len(notes) - len(fresh))

    def about(self, row: Any) -> dict[str, Any]:
        """A remark with our id of its subject."""
        values = {key: value for key, value in row._asdict().items() if key != "id"}
        maps = {"population_id": self.populations, "run_id": self.runs, "import_id": self.imports}
        return values | {k: ids[values[k]] for k, ids in maps.items() if values[k] is not None}

    def lowest_ordinals(self) -> None:
        """A waiting run has the lowest of its places again."""
        places = select(func.min(Member.ordinal)).join_from(Member, Population).where(MEMBER_RUN)
        lowest = func.coalesce(places.correlate(Run).scalar_subquery(), Run.ordinal)
        waiting = update(Run).where(Run.state == "queued", Run.ordinal != lowest)
        self.target.execute(waiting.values(ordinal=lowest))


def table_rows(merged: Merged) -> Iterable[tuple[str, int, int]]:
    """(kind, added, known already) of every kind of rows."""
    return ((kind, merged.added[kind], merged.known[kind]) for kind in merged.added)
