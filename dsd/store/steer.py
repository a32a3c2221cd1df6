"""What a person decides about runs and populations; every change of a state is one statement."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
    update,
)

from dsd.errors import DsdError
from dsd.store.clock import now
from dsd.store.engine import Store, insert, writing
from dsd.store.references import PopulationRow, population_ids
from dsd.store.schema import MEMBER_RUN, Member, Network, Note, Population, Regime, Run, Space

CANCELLABLE = ("queued", "running")
RETRIABLE = ("failed", "out-of-memory", "cancelled")
_CHUNK = 5000  # ids in one statement: databases limit how many


def cancel(store: Store, runs: Sequence[int]) -> dict[str, int]:
    """Cancel what is queued or running; how many were in each of these states.

    The worker of a running one is told by its next word that it lost the claim; what it still has
    to say is kept in `late_results`.
    """
    end = {"state": "cancelled", "lease_until": None, "finished": now()}
    return _change(store, runs, CANCELLABLE, end)


def retry(store: Store, runs: Sequence[int]) -> dict[str, int]:
    """Queue runs again that ended without a result; how many were in each such state.

    A diverged run is a result and stays. Attempts never fall: those made are forgiven, so that the
    limit counts anew. What the last attempt said is kept as a note.
    """
    again: dict[str, Any] = dict.fromkeys(
        ("owner", "lease_until", "started", "finished", "seconds", "message", "trace")
    )
    again |= {"state": "queued", "forgiven": Run.attempts}
    return _change(store, runs, RETRIABLE, again, keep_message=True)


def _change(
    store: Store, runs: Sequence[int], states: Sequence[str], values: dict[str, Any],
    keep_message: bool = False,
) -> dict[str, int]:  # fmt: skip
    counts = dict.fromkeys(states, 0)
    with writing(store) as connection:
        for chunk in _chunks(runs):
            for state in states:
                chosen = and_(Run.id.in_(chunk), Run.state == state)
                if keep_message:
                    _keep_message(connection, chosen)
                changed = connection.execute(update(Run).where(chosen).values(**values))
                counts[state] += changed.rowcount
    return counts


def _keep_message(connection: Connection, chosen: Any) -> None:
    said = literal("attempt ", Text()) + cast(Run.attempts, Text()) + ": " + Run.message
    rows = select(Run.id, said, literal("dsd", Text()), now()).where(
        chosen, Run.message.isnot(None)
    )
    columns = ["run_id", "text", "author", "created"]
    connection.execute(insert(connection, Note).from_select(columns, rows))


def _chunks(runs: Sequence[int]) -> Iterator[Sequence[int]]:
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
    with writing(store) as connection:
        changed = connection.execute(update(Population).where(chosen).values(paused=paused))
        hold_back(connection, wanted)
    return changed.rowcount


def hold_back(connection: Connection, populations: Sequence[int] | None) -> None:
    """Hold exactly those runs of some populations, or of all, that only paused ones want."""
    wanting = select(Member.ordinal).join_from(Member, Population).where(MEMBER_RUN)
    wanted = exists(wanting.where(Population.paused == false()).correlate(Run))
    runs = update(Run).where(Run.held == wanted)
    if populations is not None:
        ours = wanting.where(Population.id.in_(populations))
        runs = runs.where(exists(ours.correlate(Run)))
    connection.execute(runs.values(held=~wanted))


def delete_population(store: Store, population: PopulationRow) -> dict[str, int]:
    """Forget a population, with the runs and networks that nothing else wants; how many of each.

    Raises DsdError while one of those runs is running.
    """
    with writing(store) as connection:
        regime = connection.execute(
            select(Population.regime_id, Population.space_id).where(Population.id == population.id)
        ).one()
        members = delete(Member).where(Member.population_id == population.id)
        gone = {"networks": connection.execute(members).rowcount}
        place = select(Member.ordinal).join_from(Member, Population).where(MEMBER_RUN)
        mine = (Run.regime_id == regime.regime_id, Run.seed == population.seed)
        unwanted = and_(*mine, ~exists(place.correlate(Run)))
        running = select(func.count()).where(unwanted, Run.state == "running")
        at_work = connection.execute(running).scalar_one()
        if at_work:
            raise DsdError(f"{at_work} networks of {population.name} are running: "
                           f"`dsd cancel {population.name}` first.")  # fmt: skip
        gone["runs"] = connection.execute(delete(Run).where(unwanted)).rowcount
        connection.execute(delete(Population).where(Population.id == population.id))
        _forget_unused(connection, regime)
    return gone


def _forget_unused(connection: Connection, used: Any) -> None:
    """Networks, space and regime that nothing names any more; their names are free again."""
    drawn = exists(select(Member.ordinal).where(Member.network == Network.digest))
    trained = exists(select(Run.id).where(Run.network == Network.digest))
    connection.execute(delete(Network).where(~drawn, ~trained))
    sampled = exists(select(Population.id).where(Population.space_id == used.space_id))
    connection.execute(delete(Space).where(Space.id == used.space_id, ~sampled))
    under = exists(select(Population.id).where(Population.regime_id == used.regime_id))
    also = exists(select(Run.id).where(Run.regime_id == used.regime_id))
    connection.execute(delete(Regime).where(Regime.id == used.regime_id, ~under, ~also))
