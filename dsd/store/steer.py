"""What a person decides about runs and populations; every change of a state is one statement."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import (
    Connection,
    Text,
    and_,
    cast,
    delete,
    exists,
    false,
    func,
    literal,
    select,
    text,
    true,
    update,
)

from dsd.errors import DsdError
from dsd.store import migrate
from dsd.store.clock import now
from dsd.store.engine import Store, insert, reading, writing
from dsd.store.references import PopulationRow, population_ids
from dsd.store.schema import (
    MEMBER_RUN,
    Member,
    Network,
    Note,
    Population,
    Regime,
    Run,
    Space,
    Timing,
)

CANCELLABLE = ("queued", "running")
RETRIABLE = ("failed", "out-of-memory", "cancelled")
RESULTS = ("done", "diverged")
_MANY = 1000  # rows that may come before PostgreSQL is asked to count
_CHUNK = 5000  # ids in one statement: databases limit how many


def cancel(store: Store, runs: Sequence[int]) -> dict[str, int]:
    """Cancel what is queued or running; how many were in each of these states.

    The worker of a running one is told by its next word that it lost the claim; what it still has
    to say is kept in `late_results`.
    """
    end = {"state": "cancelled", "lease_until": None, "finished": now()}
    counts = dict.fromkeys(CANCELLABLE, 0)
    with _alone(store) as connection:
        for chunk in chunks(runs):
            # Both states in one statement: a run that a worker moves between them is not missed.
            open_runs = and_(Run.id.in_(chunk), Run.state.in_(CANCELLABLE))
            changed = update(Run).where(open_runs).values(**end).returning(Run.owner)
            for owner in connection.execute(changed).scalars():
                counts["queued" if owner is None else "running"] += 1
    return counts


def retry(store: Store, runs: Sequence[int]) -> dict[str, int]:
    """Queue runs again that ended without a result; how many were in each such state.

    A diverged run is a result and stays. Attempts never fall: those made are forgiven, so that the
    limit counts anew. What the last attempt said is kept as a note.
    """
    again: dict[str, Any] = dict.fromkeys(
        ("owner", "lease_until", "started", "finished", "seconds", "message", "trace")
    )
    again |= {"state": "queued", "forgiven": Run.attempts}
    counts = dict.fromkeys(RETRIABLE, 0)
    with _alone(store) as connection:
        for chunk in chunks(runs):
            for state in RETRIABLE:
                chosen = and_(Run.id.in_(chunk), Run.state == state)
                _keep_message(connection, chosen)
                changed = connection.execute(update(Run).where(chosen).values(**again))
                counts[state] += changed.rowcount
    return counts


@contextmanager
def _alone(store: Store) -> Iterator[Connection]:
    """A write transaction in which no other person steers and nobody samples; workers go on.

    Without it PostgreSQL would let a decision overlook what another one is about to commit.
    """
    with writing(store) as connection:
        migrate.lock(connection)
        yield connection


def _keep_message(connection: Connection, chosen: Any) -> None:
    said = literal("attempt ", Text()) + cast(Run.attempts, Text()) + ": " + Run.message
    rows = select(Run.id, said, literal("dsd", Text()), now()).where(
        chosen, Run.message.isnot(None)
    )
    columns = ["run_id", "text", "author", "created"]
    connection.execute(insert(connection, Note).from_select(columns, rows))


def chunks(runs: Sequence[int]) -> Iterator[Sequence[int]]:
    """Ids in parts that one statement can name."""
    return (runs[i : i + _CHUNK] for i in range(0, len(runs), _CHUNK))


def pause(store: Store, populations: Sequence[int | PopulationRow] | None = None) -> int:
    """Claim no more networks of some populations, or of all, until they are resumed; how many.

    What is running goes on. A network that another population wants, too, is still trained.
    """
    return _set_paused(store, populations, True)


def resume(store: Store, populations: Sequence[int | PopulationRow] | None = None) -> int:
    """The opposite of `pause`."""
    return _set_paused(store, populations, False)


def _set_paused(
    store: Store, populations: Sequence[int | PopulationRow] | None, paused: bool
) -> int:
    wanted = population_ids(populations)
    chosen = Population.paused != paused
    if wanted is not None:
        chosen = and_(chosen, Population.id.in_(wanted))
    with _alone(store) as connection:
        changed = connection.execute(update(Population).where(chosen).values(paused=paused))
        hold_back(connection, wanted)
    return changed.rowcount


def hold_back(connection: Connection, populations: Sequence[int] | None) -> None:
    """Hold exactly those runs of some populations, or of all, that only paused ones want."""
    _take_stock(connection)
    wanting = select(Member.ordinal).join_from(Member, Population).where(MEMBER_RUN)
    wanted = exists(wanting.where(Population.paused == false()).correlate(Run))
    runs = update(Run).where(Run.held == wanted)
    if populations is not None:
        ours = wanting.where(Population.id.in_(populations))
        runs = runs.where(exists(ours.correlate(Run)))
    connection.execute(runs.values(held=~wanted))


def _take_stock(connection: Connection) -> None:
    """Have PostgreSQL count a table that has grown at once: its planner would think it small.

    It looks up every run through the whole population then: minutes for 15,000 networks.
    """
    if connection.dialect.name != "postgresql":
        return
    thought = text("SELECT reltuples FROM pg_class WHERE oid = CAST('members' AS regclass)")
    there = connection.execute(select(func.count()).select_from(Member)).scalar_one()
    if there > _MANY + 2 * connection.execute(thought).scalar_one():
        connection.execute(text("ANALYZE members, runs, populations"))


def held_back(store: Store, populations: Sequence[int | PopulationRow] | None = None) -> int:
    """How many queued networks of some populations, or of all, wait for `resume`; shared once."""
    wanted = population_ids(populations)
    held = select(func.count()).select_from(Run).where(Run.state == "queued", Run.held == true())
    if wanted is not None:
        ours = select(Member.ordinal).join_from(Member, Population).where(MEMBER_RUN)
        held = held.where(exists(ours.where(Population.id.in_(wanted)).correlate(Run)))
    with reading(store) as connection:
        return connection.execute(held).scalar_one()


def delete_population(store: Store, population: PopulationRow) -> dict[str, int]:
    """Forget a population, with the runs and networks that nothing else wants; how many of each.

    A run that others share is theirs from now on: held while they are paused, at their place in
    the queue. Raises DsdError while one of those runs is running.
    """
    with _alone(store) as connection:
        columns = select(Population.regime_id, Population.space_id, Population.seed)
        known = connection.execute(columns.where(Population.id == population.id)).first()
        if known is None:
            raise DsdError(f"{population.name} is deleted already.")
        members = delete(Member).where(Member.population_id == population.id)
        gone = {"networks": connection.execute(members).rowcount}
        same = (Run.regime_id == known.regime_id, Run.seed == known.seed)
        unwanted = and_(*same, ~exists(_places()))
        # The state is tested by the very statement that deletes: a worker may claim until then.
        idle = delete(Run).where(unwanted, Run.state != "running")
        gone["runs"] = connection.execute(idle).rowcount
        at_work = select(func.count()).select_from(Run).where(unwanted)
        running = connection.execute(at_work).scalar_one()
        if running:
            raise DsdError(f"{running} networks of {population.name} are running: "
                           f"`dsd cancel {population.name}` first.")  # fmt: skip
        connection.execute(delete(Population).where(Population.id == population.id))
        _leave_to_others(connection, known)
        _forget_unused(connection, known)
    return gone


def _places() -> Any:
    """Where a run stands in populations."""
    return select(Member.ordinal).join_from(Member, Population).where(MEMBER_RUN).correlate(Run)


def _leave_to_others(connection: Connection, used: Any) -> None:
    """Hold and order the runs that were shared as the populations that still want them do."""
    same = (Population.regime_id == used.regime_id, Population.seed == used.seed)
    others = list(connection.execute(select(Population.id).where(*same)).scalars())
    if not others:
        return
    hold_back(connection, others)
    lowest = _places().with_only_columns(func.min(Member.ordinal)).scalar_subquery()
    theirs = (Run.regime_id == used.regime_id, Run.seed == used.seed, Run.state.not_in(RESULTS))
    moved = update(Run).where(*theirs, exists(_places()), Run.ordinal != lowest)
    connection.execute(moved.values(ordinal=lowest))


def _forget_unused(connection: Connection, used: Any) -> None:
    """Networks, space and regime that nothing names any more; their names are free again."""
    drawn = exists(select(Member.ordinal).where(Member.network == Network.digest))
    trained = exists(select(Run.id).where(Run.network == Network.digest))
    timed = exists(select(Timing.id).where(Timing.network == Network.digest))
    connection.execute(delete(Network).where(~drawn, ~trained, ~timed))
    sampled = exists(select(Population.id).where(Population.space_id == used.space_id))
    connection.execute(delete(Space).where(Space.id == used.space_id, ~sampled))
    under = exists(select(Population.id).where(Population.regime_id == used.regime_id))
    also = exists(select(Run.id).where(Run.regime_id == used.regime_id))
    connection.execute(delete(Regime).where(Regime.id == used.regime_id, ~under, ~also))
