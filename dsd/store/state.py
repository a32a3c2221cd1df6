"""How far everything is: populations by state, workers, speed, and when it will be done."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, func, select

from dsd.store.clock import now
from dsd.store.engine import Store, reading
from dsd.store.pace import pace_within
from dsd.store.schema import (
    MEMBER_RUN,
    STATES,
    Import,
    ImportRow,
    LateResult,
    Member,
    Population,
    Regime,
    Run,
    Space,
    Worker,
)

_LISTED_S = 3600.0
STALE_S = 60.0  # the lease of a worker that was not told otherwise


@dataclass(frozen=True)
class PopulationStatus:
    """One population: its size and how many of its networks are in each state."""

    id: int
    space: str
    regime: str
    seed: int
    size: int
    states: dict[str, int]
    paused: bool = False
    kind: str = "space"

    @property
    def name(self) -> str:
        """Its full reference."""
        return f"{self.space}@{self.regime}#{self.seed}"


@dataclass(frozen=True)
class ImportStatus:
    """One population trained elsewhere, with the label of its conditions."""

    name: str
    regime: str
    size: int


@dataclass(frozen=True)
class WorkerStatus:
    """One worker heard of in the last hour, or holding runs; times in seconds.

    A beat comes at least every third of a lease: one silent for STALE_S is hanging or gone.
    """

    owner: str
    host: str
    pid: int
    device: str
    heartbeat_age: float
    running: int
    images_per_s: float | None


@dataclass(frozen=True)
class Status:
    """The whole database at one moment. `images_per_s` adds up the workers that hold a run.

    `eta_seconds` is that of `dsd.store.pace`: with the workers at work now; None where nobody works
    or nothing is known yet of how long a network takes.
    """

    populations: tuple[PopulationStatus, ...]
    workers: tuple[WorkerStatus, ...]
    images_per_s: float | None
    eta_seconds: float | None
    late_results: int
    imports: tuple[ImportStatus, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def status(store: Store) -> Status:
    """Everything that `dsd status` shows, from one consistent view."""
    with reading(store) as connection:
        workers = _workers(connection)
        active = [worker for worker in workers if worker.running]
        late = connection.execute(select(func.count()).select_from(LateResult)).scalar_one()
        return Status(
            populations=_populations(connection),
            workers=workers,
            images_per_s=sum(w.images_per_s or 0.0 for w in active) if active else None,
            eta_seconds=pace_within(connection, None).eta_seconds,
            late_results=late,
            imports=_imports(connection),
        )


def _populations(connection: Connection) -> tuple[PopulationStatus, ...]:
    counts: dict[int, dict[str, int]] = {}
    grouped = select(Member.population_id, Run.state, func.count()).join_from(Member, Population)
    grouped = grouped.join(Run, MEMBER_RUN).group_by(Member.population_id, Run.state)
    for population, state, count in connection.execute(grouped):
        counts.setdefault(population, dict.fromkeys(STATES, 0))[state] = count
    columns = select(Population.id, Space.name, Regime.name, Population.seed)
    columns = columns.add_columns(Population.paused, Space.kind)
    named = columns.join_from(Population, Space).join(Regime).order_by(Population.id)
    none = dict.fromkeys(STATES, 0)
    rows = [(row, counts.get(row.id, none)) for row in connection.execute(named)]
    return tuple(
        PopulationStatus(*row[:4], sum(states.values()), states, bool(row.paused), row.kind)
        for row, states in rows
    )


def _imports(connection: Connection) -> tuple[ImportStatus, ...]:
    size = select(func.count()).where(ImportRow.import_id == Import.id).scalar_subquery()
    rows = connection.execute(select(Import.name, Import.label, size).order_by(Import.id))
    return tuple(ImportStatus(*row) for row in rows)


def _workers(connection: Connection) -> tuple[WorkerStatus, ...]:
    held = (Run.owner == Worker.owner) & (Run.state == "running") & (Run.lease_until >= now())
    running = select(func.count()).where(held).scalar_subquery()
    age = now() - Worker.heartbeat
    columns = select(Worker.owner, Worker.host, Worker.pid, Worker.device, age, running)
    columns = columns.add_columns(Worker.images_per_s).where(Worker.stopped.is_(None))
    listed = columns.where((age < _LISTED_S) | (running > 0)).order_by(Worker.started)
    return tuple(WorkerStatus(*row) for row in connection.execute(listed))
