"""Storing samples: members in order, networks once, and one run for all who share it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, and_, bindparam, select, update

from dsd.errors import DsdError
from dsd.net.arch import Arch
from dsd.regime import Regime
from dsd.store import migrate, schema
from dsd.store.clock import now
from dsd.store.declared import regime_id, space_id
from dsd.store.engine import Store, insert, reading, writing
from dsd.store.location import describe
from dsd.store.references import (
    PopulationRow,
    parse_reference,
    population_ids,
    populations,
    resolve,
)
from dsd.store.schema import Base, Member, Network, Population, Run
from dsd.store.steer import hold_back

if TYPE_CHECKING:
    from dsd.space.sample import Sample
    from dsd.space.selection import Repeat

__all__ = [
    "PopulationRow", "Saved", "parse_reference", "population_ids", "populations", "resolve",
    "save_sample", "stored_archs",
]  # fmt: skip


@dataclass(frozen=True)
class Saved:
    """What one `save_sample` did: members added and already known; `size` of the population after.

    `reused` of the added ones had a run already, through another population.
    """

    added: int
    known: int
    reused: int
    size: int


def save_sample(
    store: Store, sample: Sample | Repeat, priority: int = 0, kind: str = "space"
) -> Saved:
    """Store a sample as its population and queue the runs that do not exist yet, all or nothing.

    A repeat of a selection is stored alike, its `kind` being "selection".

    Asking again adds nothing; a longer sample adds its tail; a higher priority lifts what waits.
    Raises DsdError where a name would change its meaning.
    """
    digests = [arch.digest for arch in sample.archs]
    with writing(store) as connection:
        migrate.lock(connection)
        population = _population(connection, sample, kind)
        stored = _stored(connection, population.id)
        _check_same_draw(connection, sample, stored, digests)
        known = min(len(stored), len(digests))
        if len(digests) > len(stored):
            connection.execute(
                update(Population)
                .where(Population.id == population.id)
                .values(tally={cause: int(count) for cause, count in sample.tally.items()})
            )
        taken = _existing_runs(connection, population)
        _add(connection, Network, _networks(sample, known))
        _add(connection, Run, _runs(sample, population, digests, known, priority))
        _add(connection, Member, _members(sample, population.id, digests, known))
        _move_up(connection, population, taken, digests, priority)
        hold_back(connection, [population.id])
    reused = sum(digest in taken for digest in digests[known:])
    return Saved(len(digests) - known, known, reused, max(len(stored), len(digests)))


def stored_archs(store: Store, population: PopulationRow) -> tuple[list[Arch], Regime]:
    """The networks of a population in sampling order, and the regime that they were drawn for."""
    texts = select(Network.canonical).join_from(Member, Network, Member.network == Network.digest)
    texts = texts.where(Member.population_id == population.id).order_by(Member.ordinal)
    regime = select(schema.Regime.text).where(schema.Regime.name == population.regime)
    with reading(store) as connection:
        archs = [Arch.from_json(text) for text in connection.execute(texts).scalars()]
        text = connection.execute(regime).scalar_one()
    return archs, Regime.from_text(text, population.regime)


def _population(connection: Connection, sample: Sample | Repeat, kind: str) -> Any:
    space, regime = sample.space, sample.regime
    key = {
        "space_id": space_id(connection, space.name, space.text, space.digest, kind),
        "regime_id": regime_id(connection, regime.name, regime.text, regime.digest),
        "seed": int(sample.seed),
    }
    row = insert(connection, Population).values(**key, tally={}, created=now())
    connection.execute(row.on_conflict_do_nothing())
    same = [getattr(Population, name) == value for name, value in key.items()]
    found = select(Population.id, Population.regime_id, Population.seed).where(*same)
    return connection.execute(found).one()


def _stored(connection: Connection, population: int) -> list[str]:
    """The population's network digests in sampling order; their ordinals have no gaps."""
    members = select(Member.network).where(Member.population_id == population)
    return list(connection.execute(members.order_by(Member.ordinal)).scalars())


def _check_same_draw(
    connection: Connection, sample: Sample | Repeat, stored: list[str], digests: list[str]
) -> None:
    """A seed draws the same networks for ever, else a population would mix two draws."""
    pairs = enumerate(zip(stored, digests, strict=False))
    differs = next((i for i, (old, new) in pairs if old != new), None)
    if differs is not None:
        raise DsdError(
            f"{sample.space.name}@{sample.regime.name}#{sample.seed} in "
            f"{describe(connection.engine.url)} holds another network #{differs} than this draw: "
            f"another version of dsd or numpy drew it. Use another --seed."
        )


def _existing_runs(connection: Connection, population: Any) -> dict[str, Any]:
    """Network digest -> (state, rank, ordinal) of the runs under the population's conditions."""
    columns = select(Run.network, Run.state, Run.rank, Run.ordinal)
    same = (Run.regime_id == population.regime_id, Run.seed == population.seed)
    return {row.network: row for row in connection.execute(columns.where(*same))}


def _networks(sample: Sample | Repeat, start: int) -> Iterator[dict[str, Any]]:
    for arch in sample.archs[start:]:
        yield {"digest": arch.digest, "canonical": arch.canonical}


def _runs(
    sample: Sample | Repeat, population: Any, digests: list[str], start: int, priority: int
) -> Iterator[dict[str, Any]]:
    same = {"regime_id": population.regime_id, "seed": population.seed, "rank": -priority}
    same |= {"state": "queued", "attempts": 0, "forgiven": 0}
    for ordinal in range(start, len(digests)):
        yield {**same, "network": digests[ordinal], "ordinal": ordinal}


def _members(
    sample: Sample | Repeat, population: int, digests: list[str], start: int
) -> Iterator[dict[str, Any]]:
    for i in range(start, len(digests)):
        row = {"population_id": population, "ordinal": i, "network": digests[i]}
        cost = {name: int(getattr(sample, name)[i]) for name in ("flops", "params", "acts")}
        yield {**row, **cost, "draw": sample.draws[i]}


def _add(connection: Connection, table: type[Base], rows: Iterator[dict[str, Any]]) -> None:
    batch = list(rows)
    if batch:
        connection.execute(insert(connection, table).on_conflict_do_nothing(), batch)


def _move_up(
    connection: Connection,
    population: Any,
    taken: dict[str, Any],
    digests: list[str],
    priority: int,
) -> None:
    """Runs that wait already get the better of two places: a shared run serves both populations."""
    better = []
    for ordinal, digest in enumerate(digests):
        run = taken.get(digest)
        if run and run.state == "queued" and (-priority < run.rank or ordinal < run.ordinal):
            place = {"to_rank": min(-priority, run.rank), "to": min(ordinal, run.ordinal)}
            better.append({"digest": digest, **place})
    if not better:
        return
    same = and_(Run.regime_id == population.regime_id, Run.seed == population.seed)
    waiting = update(Run).where(same, Run.network == bindparam("digest"), Run.state == "queued")
    connection.execute(waiting.values(rank=bindparam("to_rank"), ordinal=bindparam("to")), better)
