"""One run with everything that is known of it; who works on runs, and who wants them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from sqlalchemy import select

from dsd.store.clock import now
from dsd.store.engine import Store, reading
from dsd.store.notes import Subject, no_run, notes_of, tags_of
from dsd.store.references import population_rows
from dsd.store.schema import (
    MEMBER_RUN,
    Epoch,
    LateResult,
    Member,
    Network,
    Population,
    Regime,
    Run,
    Space,
)
from dsd.store.steer import chunks


def one_run(store: Store, run_id: int) -> dict[str, Any]:
    """The columns of a run, with its network, regime, populations, epochs, late results and notes.

    Times are Unix seconds, errors percent. Raises DsdError for one that there is not.
    """
    with reading(store) as connection:
        names = (Regime.name.label("regime"), Regime.text.label("regime_text"))
        columns = select(Run.__table__, *names, Network.canonical)
        joined = columns.join_from(Run, Regime).join(Network, Network.digest == Run.network)
        row = connection.execute(joined.where(Run.id == run_id)).first()
        if row is None:
            raise no_run(run_id)
        known = {key: value for key, value in row._mapping.items() if key != "regime_id"}
        known["network_text"] = json.loads(known.pop("canonical"))
        known["populations"] = [
            {"name": f"{r.name}@{row.regime}#{row.seed}", "ordinal": r.ordinal, "flops": r.flops,
             "params": r.params, "acts": r.acts, "draw": r.draw}
            for r in connection.execute(_places(run_id))
        ]  # fmt: skip
        for name, table in (("epochs", Epoch), ("late_results", LateResult)):
            rows = select(table.__table__).where(table.run_id == run_id).order_by(table.attempt)
            known[name] = [_without_run(r) for r in connection.execute(rows)]
    known["epochs"].sort(key=lambda epoch: (epoch["attempt"], epoch["epoch"]))
    subject = Subject("run_id", run_id, f"run {run_id}")
    return {**known, "notes": notes_of(store, subject), "tags": tags_of(store, subject)}


def at_work(store: Store) -> dict[int, tuple[str, float]]:
    """Run -> (owner, seconds since it was claimed) of those that are running."""
    columns = select(Run.id, Run.owner, now() - Run.started).where(Run.state == "running")
    with reading(store) as connection:
        return {run: (str(owner), age) for run, owner, age in connection.execute(columns)}


def wanted_by(store: Store, runs: Sequence[int]) -> dict[str, int]:
    """Population's full name -> how many of these runs are its members'."""
    counts: Counter[int] = Counter()
    rows = select(Member.population_id).join_from(Member, Population).join(Run, MEMBER_RUN)
    with reading(store) as connection:
        names = {row.id: row.name for row in population_rows(connection)}
        for chunk in chunks(runs):
            counts.update(connection.execute(rows.where(Run.id.in_(chunk))).scalars())
    return {names[key]: count for key, count in sorted(counts.items())}


def _places(run_id: int) -> Any:
    columns = select(Space.name, Member.ordinal, Member.flops, Member.params, Member.acts)
    columns = columns.add_columns(Member.draw)
    joined = columns.join_from(Member, Population).join(Space).join(Run, MEMBER_RUN)
    return joined.where(Run.id == run_id).order_by(Population.id)


def _without_run(row: Any) -> dict[str, Any]:
    return {key: value for key, value in row._mapping.items() if key != "run_id"}
