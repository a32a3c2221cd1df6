"""The queue. Every change of a run's state is one statement, so the database decides each race.

A claim is fenced: it holds for its owner, its attempt and as long as the run is `running`. Whoever
lost it is told so by False; what it still had to say is kept in `late_results`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import bindparam, case, exists, false, func, select, update

from dsd.store.claims import Claim, change
from dsd.store.clock import now
from dsd.store.engine import Store, reading, writing
from dsd.store.references import PopulationRow, population_ids
from dsd.store.reports import fail, finish, record_epoch
from dsd.store.schema import MEMBER_RUN, Member, Network, Population, Regime, Run, Space
from dsd.store.workers import (
    give_up,
    giving_back,
    heartbeat,
    register_worker,
    rescue_dead,
    retire_worker,
)

__all__ = [
    "Claim", "beat", "claim", "fail", "finish", "give_up", "open_runs", "pending", "record_epoch",
    "register_worker", "release", "rescue_dead", "retire_worker",
]  # fmt: skip


def claim(
    store: Store,
    owner: str,
    *,
    populations: Sequence[int | PopulationRow] | None = None,
    lease_s: float = 60.0,
    max_attempts: int = 3,
) -> Claim | None:
    """The next queued run of some populations, or of all; None if nothing waits that is not held.

    Order: highest priority, then lowest ordinal (a run that populations share has its lowest one),
    then first queued. Within the same transaction, runs with an expired lease are queued again, or
    fail after `max_attempts`.
    """
    ids = population_ids(populations)
    wanted = None if ids is None else tuple(ids)
    with writing(store) as connection:
        connection.execute(_expire(max_attempts))
        run = connection.execute(_take(owner, wanted, lease_s)).first()
        heartbeat(connection, owner)
        if run is None:
            return None
        texts = connection.execute(_texts(), {"run": run.id}).one()
        place = connection.execute(_labels(wanted), {"run": run.id}).first()
    return Claim(
        run_id=run.id,
        attempt=run.attempts,
        owner=owner,
        digest=run.network,
        arch_text=texts.canonical,
        regime_name=texts.name,
        regime_text=texts.text,
        seed=run.seed,
        label=f"{place.name}, network {place.ordinal}" if place else run.network,
        selected=bool(texts.selected),
        population=f"{place.name}@{texts.name}#{run.seed}" if place else "",
    )


# Cached: building these statements takes SQLAlchemy longer than SQLite takes to run them.
@lru_cache
def _expire(max_attempts: int) -> Any:
    return giving_back(Run.lease_until < now(), max_attempts)


@lru_cache
def _take(owner: str, wanted: tuple[int, ...] | None, lease_s: float) -> Any:
    waiting = select(Run.id).where(Run.state == "queued", Run.held == false())
    if wanted is not None:
        waiting = waiting.where(exists(_places(wanted).correlate(Run)))
    waiting = waiting.order_by(Run.rank, Run.ordinal, Run.id).limit(1).correlate(None)
    first = waiting.with_for_update(skip_locked=True).scalar_subquery()
    held: dict[str, Any] = {"state": "running", "owner": owner, "attempts": Run.attempts + 1}
    held |= {"started": now(), "lease_until": now() + lease_s, "message": None, "trace": None}
    taken = update(Run).where(Run.id == first).values(**held)
    return taken.returning(Run.id, Run.attempts, Run.network, Run.seed)


def _places(wanted: Sequence[int] | None) -> Any:
    """Where a run stands in populations: in all, or in the wanted ones."""
    places = select(Member.ordinal).join_from(Member, Population).where(MEMBER_RUN)
    return places if wanted is None else places.where(Member.population_id.in_(wanted))


@lru_cache
def _labels(wanted: tuple[int, ...] | None) -> Any:
    named = _places(wanted).add_columns(Space.name).where(Space.id == Population.space_id)
    return (
        named.where(Run.id == bindparam("run"))
        .order_by(Member.ordinal, Member.population_id)
        .limit(1)
    )


@lru_cache
def _texts() -> Any:
    chosen = _places(None).where(Space.id == Population.space_id, Space.kind == "selection")
    selected = exists(chosen.correlate(Run)).label("selected")
    texts = select(Network.canonical, Regime.name, Regime.text, selected)
    same = (Run.network == Network.digest) & (Run.regime_id == Regime.id)
    return texts.join_from(Run, Network).join(Regime).where(same, Run.id == bindparam("run"))


def beat(store: Store, claim: Claim, lease_s: float = 60.0) -> bool:
    """Hold the claim for another `lease_s` seconds; False if it was lost."""
    with writing(store) as connection:
        held = change(connection, claim, lease_until=now() + lease_s)
        heartbeat(connection, claim.owner)
    return held


def release(store: Store, claim: Claim) -> bool:
    """Queue the run again at its place, the attempt not counted; False if the claim was lost."""
    with writing(store) as connection:
        back = {"state": "queued", "owner": None, "lease_until": None, "started": None}
        return change(connection, claim, **back, forgiven=Run.forgiven + 1)


def pending(store: Store, populations: Sequence[int | PopulationRow] | None = None) -> int:
    """How many runs of some populations, or of all, run or may be claimed; shared ones once."""
    return sum(open_runs(store, populations))


def open_runs(
    store: Store, populations: Sequence[int | PopulationRow] | None = None
) -> tuple[int, int]:
    """Runs that a worker could claim now (a lease that is over counts), and those at work."""
    wanted = population_ids(populations)
    running = Run.state == "running"
    free = ((Run.state == "queued") & (Run.held == false())) | (running & (Run.lease_until < now()))
    counts = (
        select(
            func.count(case((free, 1))), func.count(case((running & (Run.lease_until >= now()), 1)))
        )
        .select_from(Run)
        .where(running | free)
    )
    if wanted is not None:
        counts = counts.where(exists(_places(wanted).correlate(Run)))
    with reading(store) as connection:
        claimable, at_work = connection.execute(counts).one()
    return claimable, at_work
