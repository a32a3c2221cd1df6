"""Launched workers as the database knows them: where they are, and what each of them trains.

Who started a worker is a text, "ENGINE ID.SLOT": "local 4711.0" is the first worker of process
4711 of its host, "slurm 12_3.0" that of task 3 of job 12; "local 4711.0.2" is the third of those
that share the device of slot 0. A worker that is started again in the same slot is another row with
the same text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import func, select

from dsd.store import process
from dsd.store.clock import now
from dsd.store.engine import Store, reading
from dsd.store.pace import epochs_of, of_last_epoch, own_epochs, seconds_left
from dsd.store.schema import MEMBER_RUN, Epoch, Member, Population, Run, Space, Worker
from dsd.store.schema import Regime as StoredRegime
from dsd.store.state import STALE_S

ENDED = ("done", "diverged", "failed", "out-of-memory")
_LISTED_S = 24 * 3600.0


@dataclass(frozen=True)
class WorkerAt:
    """One worker; `network` is what it trains ("" for none), `ended` how many it has ended.

    `loss` and `error` (test, percent) are its network's last epoch's; `eta_seconds` until it has
    trained it, by the mean of its epochs; None before the first.
    """

    owner: str
    launched: str
    host: str
    pid: int
    device: str
    state: str  # alive, silent (no beat for STALE_S: hanging or gone) or stopped
    heartbeat_age: float
    network: str
    epoch: int
    epochs: int
    images_per_s: float | None
    ended: int
    loss: float | None = None
    error: float | None = None
    eta_seconds: float | None = None

    @property
    def engine(self) -> str:
        """What launched it: "local", "slurm", ..., "" for one that was started by hand."""
        return self.launched.partition(" ")[0]

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self) | {"engine": self.engine}


def workers_at(store: Store, launched: str = "", here: bool = False) -> list[WorkerAt]:
    """Workers of the last day, first started first; those whose `launched` begins so, if given.

    `here` leaves out other machines, and this one before its last start.
    """
    said = Worker.versions["launched"].as_string()
    heard = (now() - Worker.heartbeat < _LISTED_S) | Run.id.is_not(None)
    rows = _columns(said).where(heard).order_by(Worker.started, Worker.owner)
    if launched:
        rows = rows.where(said.startswith(launched, autoescape=True))
    if here:
        rows = rows.where(Worker.host == process.host(), Worker.boot == process.boot())
    with reading(store) as connection:
        return [_worker(row) for row in connection.execute(rows)]


def networks_ended(store: Store, launched: str, states: Sequence[str] = ENDED) -> int:
    """How many networks the workers of one slot of this machine have ended, one way or another.

    Of a whole crew, where `launched` is its place ("local 4711"). `states` are the ends to count.
    """
    mine = select(Worker.owner).where(*workers_here(launched))
    count = select(func.count()).where(Run.owner.in_(mine), Run.state.in_(states))
    with reading(store) as connection:
        return connection.execute(count).scalar_one()


def beside(store: Store, launched: str, device: str) -> int:
    """How many workers of a crew live on one device of this machine: the asker's slot counts."""
    known = select(Worker.pid, Worker.process_start).where(
        *workers_here(launched.rpartition(".")[0]),
        Worker.device == device,
        Worker.stopped.is_(None),
    )
    with reading(store) as connection:
        rows = connection.execute(known).all()
    return sum(process.process_start(row.pid) == row.process_start for row in rows)


def workers_here(launched: str) -> tuple[Any, ...]:
    """Workers of this boot of this machine that stand in this slot, or in one within it."""
    said = Worker.versions["launched"].as_string()
    named = (said == launched) | said.startswith(f"{launched}.", autoescape=True)
    return named, Worker.host == process.host(), Worker.boot == process.boot()


def by_slot(workers: Sequence[WorkerAt]) -> dict[str, WorkerAt]:
    """Slot -> its latest worker, with what all its workers have ended."""
    slots: dict[str, WorkerAt] = {}
    for one in workers:
        before = slots.get(one.launched)
        total = one.ended + (before.ended if before else 0)
        slots[one.launched] = WorkerAt(**{**asdict(one), "ended": total})
    return slots


def _columns(said: Any) -> Any:
    held = (Run.owner == Worker.owner) & (Run.state == "running")
    space = select(Space.name).join_from(Member, Population).join(Space)
    space = space.where(MEMBER_RUN, Member.ordinal == Run.ordinal).correlate(Run)
    earlier = Run.__table__.alias()
    settled = (earlier.c.owner == Worker.owner, earlier.c.state.in_(ENDED))
    ended = select(func.count()).select_from(earlier).where(*settled).correlate(Worker)
    return (
        select(
            Worker.__table__, said.label("launched"), (now() - Worker.heartbeat).label("age"),
            Run.id.label("run"), Run.ordinal, StoredRegime.name.label("regime"), StoredRegime.text,
            *own_epochs(), of_last_epoch(Epoch.train_loss).label("loss"),
            of_last_epoch(Epoch.test_error).label("error"),
            space.limit(1).scalar_subquery().label("space"),
            ended.scalar_subquery().label("ended"),
        )
        .select_from(Worker)
        .outerjoin(Run, held)
        .outerjoin(StoredRegime, StoredRegime.id == Run.regime_id)
    )  # fmt: skip


def _worker(row: Any) -> WorkerAt:
    silent = "silent" if row.age > STALE_S else "alive"
    trains = row.run is not None and row.stopped is None
    epochs = epochs_of(row.text, row.regime) if trains else 0
    return WorkerAt(
        owner=row.owner,
        launched=row.launched or "",
        host=row.host,
        pid=row.pid,
        device=row.device,
        state=silent if row.stopped is None else "stopped",
        heartbeat_age=row.age,
        network=f"{row.space}@{row.regime}, network {row.ordinal}" if trains else "",
        epoch=(row.epoch or 0) if trains else 0,
        epochs=epochs,
        images_per_s=row.images_per_s if trains else None,
        ended=row.ended,
        loss=row.loss if trains else None,
        error=row.error if trains else None,
        eta_seconds=seconds_left(row, epochs) if trains else None,
    )
