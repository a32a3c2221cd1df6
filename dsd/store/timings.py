"""Measured times of networks: under which conditions, and which population's networks have them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, select

from dsd.store.clock import now
from dsd.store.engine import Store, insert, reading, writing
from dsd.store.references import PopulationRow, population_ids, population_rows
from dsd.store.schema import Member, Network, Population, Regime, Timing

if TYPE_CHECKING:
    import pandas as pd

    from dsd.net.arch import Arch

TIMES = ("inference_ms", "training_ms")


@dataclass(frozen=True)
class Conditions:
    """What makes times comparable; resolution in pixels, batch in images."""

    device: str
    torch: str
    resolution: int
    batch: int
    precision: str

    @property
    def name(self) -> str:
        """In words."""
        return (f"{self.device}, torch {self.torch}, batch {self.batch}, {self.resolution} px, "
                f"{self.precision}")  # fmt: skip


def save_timing(
    store: Store, arch: Arch, conditions: Conditions, host: str, times: Mapping[str, Any]
) -> None:
    """Keep one measurement (columns of `timings` by name), and its network if it is new."""
    network = {"digest": arch.digest, "canonical": arch.canonical}
    row = {"network": arch.digest, **asdict(conditions), "host": host, **times}
    with writing(store) as connection:
        connection.execute(insert(connection, Network).on_conflict_do_nothing(), [network])
        connection.execute(insert(connection, Timing).values(**row, measured=now()))


def timed(store: Store, conditions: Conditions, networks: Iterable[str]) -> dict[str, Any]:
    """Digest -> its latest measurement under these conditions, of those networks that have one."""
    same = [getattr(Timing, name) == value for name, value in asdict(conditions).items()]
    with reading(store) as connection:
        rows = connection.execute(select(Timing.__table__).where(*same).order_by(Timing.id))
        latest = {row.network: row._asdict() for row in rows}
    return {digest: latest[digest] for digest in networks if digest in latest}


def timings(store: Store, populations: Sequence[int | PopulationRow] | None = None) -> pd.DataFrame:
    """The latest measurements of populations' networks, at their regime's resolution and precision.

    One row a network and conditions: population (full name), digest and the columns of `timings`.
    """
    with reading(store) as connection:
        return latest_timings(connection, population_ids(populations))


def latest_timings(connection: Connection, wanted: Sequence[int] | None) -> pd.DataFrame:
    """The same within a transaction."""
    import pandas as pd

    own = [column for column in Timing.__table__.c if column.name not in ("id", "network")]
    columns = ["population", "digest", *(column.name for column in own)]
    if connection.execute(select(Timing.id).limit(1)).first() is None:
        return pd.DataFrame(columns=columns)
    regimes = _regimes(connection)
    rows = select(Population.regime_id, Population.id, Member.network, *own)
    rows = rows.join_from(Population, Member).join(Timing, Timing.network == Member.network)
    if wanted is not None:
        rows = rows.where(Population.id.in_(wanted))
    found = connection.execute(rows.order_by(Timing.id)).all()
    names = {row.id: row.name for row in population_rows(connection)}
    kept = [
        (names[row.id], *row[2:])
        for row in found
        if (row.resolution, row.precision) == regimes[row.regime_id]
    ]
    same = ["population", "digest", *Conditions.__dataclass_fields__]
    return pd.DataFrame(kept, columns=columns).drop_duplicates(same, keep="last")


def conditions_in(table: pd.DataFrame) -> list[Conditions]:
    """The conditions under which some networks of a table of timings were measured."""
    names = list(Conditions.__dataclass_fields__)
    return [Conditions(*row) for row in table[names].drop_duplicates().itertuples(index=False)]


def _regimes(connection: Connection) -> dict[int, tuple[int, str]]:
    """Regime -> its resolution and precision."""
    rows = connection.execute(select(Regime.id, Regime.text))
    texts = {key: json.loads(text) for key, text in rows}
    return {key: (text["resolution"], text["train"]["precision"]) for key, text in texts.items()}
