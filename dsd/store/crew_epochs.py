"""How fast a crew trains, and what memory it takes, as the epochs that it recorded tell."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select

from dsd.regime import Regime
from dsd.store.clock import now
from dsd.store.engine import Store, reading
from dsd.store.fleet import workers_here
from dsd.store.schema import Epoch, Run, Worker
from dsd.store.schema import Regime as StoredRegime


@dataclass(frozen=True)
class EpochSeen:
    """One epoch: who trained which run, from when to when (the database's clock, in seconds).

    `epochs` is how many a network of its regime gets in all.
    """

    owner: str
    run: int
    began: float
    ended: float
    epochs: int

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.ended - self.began


def moment(store: Store) -> float:
    """The database's clock."""
    with reading(store) as connection:
        return float(connection.execute(select(now())).scalar_one())


def epochs_since(store: Store, launched: str, since: float) -> list[EpochSeen]:
    """Epochs that a crew of this machine recorded after a moment, first recorded first."""
    rows = (
        select(Run.owner, Run.id, Epoch.recorded, Epoch.seconds, StoredRegime.text)
        .join_from(Epoch, Run, (Run.id == Epoch.run_id) & (Run.attempts == Epoch.attempt))
        .join(StoredRegime)
        .join(Worker, Worker.owner == Run.owner)
        .where(*workers_here(launched), Epoch.recorded > since, Epoch.seconds.is_not(None))
        .order_by(Epoch.recorded, Run.id)
    )
    with reading(store) as connection:
        found = connection.execute(rows).all()
    wanted = {text: Regime.from_text(text, "").train.epochs for text in {row.text for row in found}}
    return [
        EpochSeen(row.owner, row.id, row.recorded - row.seconds, row.recorded, wanted[row.text])
        for row in found
    ]


def peak_memory(store: Store, launched: str) -> float:
    """The most bytes that one worker of a crew has held in an epoch; 0 before the first one."""
    mine = select(Worker.owner).where(*workers_here(launched))
    most = select(func.max(Epoch.peak_memory)).join_from(Epoch, Run, Run.id == Epoch.run_id)
    with reading(store) as connection:
        return float(connection.execute(most.where(Run.owner.in_(mine))).scalar_one() or 0.0)
