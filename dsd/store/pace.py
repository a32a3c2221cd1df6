"""How far populations are, how fast the whole fleet goes on with them, and when they are done."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, case, false, func, select

from dsd.store.clock import now
from dsd.store.engine import Store, reading
from dsd.store.references import PopulationRow, population_ids
from dsd.store.schema import MEMBER_RUN, Epoch, Member, Population, Run, Worker
from dsd.store.schema import Regime as StoredRegime

SCORED = ("done", "diverged")
WAITING = ("queued", "running")
_OWN = (Epoch.run_id == Run.id, Epoch.attempt == Run.attempts)


@dataclass(frozen=True)
class Pace:
    """Networks that have ended of all that there are, networks at work, and their workers' speed.

    `best` is the lowest last error, in percent. `networks_per_hour` adds up the workers that hold a
    run of these populations, wherever they are; `eta_seconds` is until no network waits, with them.
    Both are None until something is known of how long a network takes.
    """

    ended: int
    total: int
    running: int
    best: float | None
    images_per_s: float | None
    networks_per_hour: float | None
    eta_seconds: float | None


@dataclass(frozen=True)
class AtWork:
    """A worker with a run: which device and regime, seconds since the claim and speed.

    By the run's own epochs so far, None before the first: `expected` are its seconds in all, `left`
    those from now.
    """

    device: str
    regime: int
    spent: float
    images_per_s: float | None
    expected: float | None
    left: float | None


def pace(store: Store, populations: Sequence[int | PopulationRow] | None = None) -> Pace:
    """The pace of some populations, or of all, from one consistent view; shared runs once."""
    with reading(store) as connection:
        return pace_within(connection, population_ids(populations))


def pace_within(connection: Connection, wanted: Sequence[int] | None) -> Pace:
    """The same within a transaction."""
    counts = connection.execute(_counts(wanted)).all()
    crew = _at_work(connection, wanted)
    history = Times.of(connection, {row.regime_id for row in counts if row.queued or row.running})
    speeds = [one.images_per_s or 0.0 for one in crew]
    hourly = [3600 / seconds for one in crew if (seconds := history.seconds(one, one.regime))]
    return Pace(
        ended=sum(row.ended for row in counts),
        total=sum(row.total for row in counts),
        running=len(crew),
        best=min((row.best for row in counts if row.best is not None), default=None),
        images_per_s=sum(speeds) if crew else None,
        networks_per_hour=sum(hourly) if hourly else None,
        eta_seconds=_eta({row.regime_id: row.queued for row in counts}, crew, history),
    )


@dataclass(frozen=True)
class Times:
    """Mean seconds of scored runs by (device, regime) of those that still wait."""

    known: dict[tuple[str, int], tuple[float, int]]

    @classmethod
    def of(cls, connection: Connection, regimes: set[int]) -> Times:
        """What finished runs of these regimes took."""
        means = select(Worker.device, Run.regime_id, func.avg(Run.seconds), func.count())
        means = means.join_from(Run, Worker, Run.owner == Worker.owner)
        means = means.where(Run.state.in_(SCORED), Run.seconds > 0, Run.regime_id.in_(regimes))
        rows = connection.execute(means.group_by(Worker.device, Run.regime_id))
        return cls({(device, regime): (mean, n) for device, regime, mean, n in rows})

    def seconds(self, one: AtWork, regime: int) -> float | None:
        """What a network of the regime takes this worker.

        By those that ended on such a device, else by its own run's epochs, else on any device.
        """
        if (one.device, regime) in self.known:
            return self.known[one.device, regime][0]
        if one.regime == regime and one.expected:
            return one.expected
        others = [(mean * n, n) for (_, other), (mean, n) in self.known.items() if other == regime]
        return sum(s for s, _ in others) / sum(n for _, n in others) if others else None


def _eta(queued: dict[int, int], crew: Sequence[AtWork], history: Times) -> float | None:
    """Seconds until every network has ended; not before the last of those at work now has."""
    left: dict[int, float] = defaultdict(float, {key: n for key, n in queued.items() if n})
    longest = 0.0
    for one in crew:
        seconds = history.seconds(one, one.regime)
        own = one.left if one.left is not None else max(0.0, (seconds or 0.0) - one.spent)
        left[one.regime] += own / seconds if seconds else 1.0
        longest = max(longest, own)
    total = 0.0
    for regime, networks in left.items():
        rates = [1 / s for one in crew if (s := history.seconds(one, regime))]
        if not rates:
            return None
        total += networks / sum(rates)
    return max(total, longest) if crew else None


def _counts(wanted: Sequence[int] | None) -> Any:
    """A row a regime: networks that can be claimed, are at work, have ended, and all; the best."""
    columns = (Run.id, Run.regime_id, Run.state, Run.held, Run.lease_until, Run.error_last)
    runs = select(*columns)
    if wanted is not None:
        runs = runs.join_from(Member, Population).join(Run, MEMBER_RUN)
        runs = runs.where(Population.id.in_(wanted)).distinct()
    run = runs.subquery().c
    lost = (run.state == "running") & (run.lease_until < now())
    free = ((run.state == "queued") & (run.held == false())) | lost
    return select(
        run.regime_id,
        func.count(case((free, 1))).label("queued"),
        func.count(case((run.state == "running", 1))).label("running"),
        func.count(case((run.state.not_in(WAITING), 1))).label("ended"),
        func.count().label("total"),
        func.min(run.error_last).label("best"),
    ).group_by(run.regime_id)


def _at_work(connection: Connection, wanted: Sequence[int] | None) -> list[AtWork]:
    rows = select(
        Worker.device, Run.regime_id, (now() - Run.started).label("spent"), Worker.images_per_s,
        *own_epochs(), StoredRegime.name, StoredRegime.text,
    )  # fmt: skip
    rows = rows.join_from(Run, Worker, Run.owner == Worker.owner).join(StoredRegime)
    rows = rows.where(Run.state == "running", Run.lease_until >= now())
    if wanted is not None:
        ours = select(Member.ordinal).join_from(Member, Population).where(MEMBER_RUN)
        rows = rows.where(ours.where(Population.id.in_(wanted)).correlate(Run).exists())
    return [_at_work_of(row) for row in connection.execute(rows)]


def _at_work_of(row: Any) -> AtWork:
    epochs = epochs_of(row.text, row.name) if row.epoch_s else 0
    expected = row.epoch_s * epochs if row.epoch_s else None
    left = seconds_left(row, epochs)
    return AtWork(row.device, row.regime_id, row.spent, row.images_per_s, expected, left)


def of_last_epoch(value: Any) -> Any:
    """A value of a run's last epoch in its present attempt, for a query of runs."""
    newest = select(value).where(*_OWN).order_by(Epoch.epoch.desc()).limit(1)
    return newest.correlate(Run).scalar_subquery()


def own_epochs() -> tuple[Any, ...]:
    """Columns of a query of runs: `epoch`, the last one in the present attempt; `epoch_s`, their
    mean seconds; `since`, seconds from its record to now."""
    mean = select(func.avg(Epoch.seconds)).where(*_OWN).correlate(Run).scalar_subquery()
    since = now() - of_last_epoch(Epoch.recorded)
    last = of_last_epoch(Epoch.epoch)
    return last.label("epoch"), mean.label("epoch_s"), since.label("since")


def seconds_left(row: Any, epochs: int) -> float | None:
    """Until a run of `epochs` ends, by its `own_epochs`; None before the first."""
    if not row.epoch_s:
        return None
    return float(max(0.0, (epochs - row.epoch) * row.epoch_s - row.since))


@lru_cache
def epochs_of(text: str, name: str) -> int:
    """How many epochs a stored regime trains for."""
    from dsd.regime import Regime  # here: it brings numpy, for which most readers have no use

    return Regime.from_text(text, name).train.epochs
