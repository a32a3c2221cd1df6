"""What is known so far: one row a network for analysis."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Text, cast, select

from dsd.store.engine import Store, reading
from dsd.store.references import PopulationRow, population_ids, population_rows
from dsd.store.schema import MEMBER_RUN, Member, Network, Population, Run
from dsd.store.state import PopulationStatus, Status, WorkerStatus, status
from dsd.store.timings import TIMES, conditions_in, latest_timings

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["PopulationStatus", "Status", "WorkerStatus", "frame", "scores", "status"]

SCORES = ["ordinal", "state", "error_last", "error_lowest"]
_CHUNK = 5000  # bounds the small objects that are alive at once, which Python's collector walks


def frame(store: Store, populations: Sequence[int | PopulationRow] | None = None) -> pd.DataFrame:
    """One row a network, population after population as given, each in sampling order.

    Columns: population (`space@regime#seed`), space, regime, kind, seed, ordinal, digest, run
    (the id of its run), state, attempts, error_last and error_lowest (percent, NaN where there is
    none), seconds, message, flops, params, acts, block, stages, d
    (total), d1, w1, b1, g1, ... of the network, and what was drawn beyond it (w0, wa, wm, ...).
    Where some were timed, all under the same conditions, inference_ms and training_ms, too.
    """
    import pandas as pd

    wanted = population_ids(populations)
    with reading(store) as connection:
        known = {row.id: row for row in population_rows(connection)}
        asked = known if wanted is None else wanted
        pieces = [piece for key in asked for piece in _pieces(connection, known[key])]
        times = latest_timings(connection, wanted)
    nothing = dict.fromkeys(("population", "space", "regime", "kind", "seed"), ())
    table = pd.concat(pieces or [pd.DataFrame({**nothing, **_columns([])})], ignore_index=True)
    return with_times(table, times) if len(conditions_in(times)) == 1 else table


def with_times(table: pd.DataFrame, times: pd.DataFrame) -> pd.DataFrame:
    """A frame with the columns inference_ms and training_ms of timings under one condition."""
    import pandas as pd

    place = ["population", "digest"]
    at = pd.MultiIndex.from_frame(table[place])
    found = times.set_index(place)[list(TIMES)].astype(float).reindex(at)
    return table.assign(**{name: found[name].to_numpy() for name in TIMES})


def scores(store: Store, populations: Sequence[int | PopulationRow] | None = None) -> pd.DataFrame:
    """The columns `SCORES` and run of `frame`, without what takes it time."""
    import pandas as pd

    wanted = population_ids(populations)
    rows = select(Member.ordinal, Run.state, Run.error_last, Run.error_lowest, Run.id)
    rows = rows.join_from(Population, Member).join(Run, MEMBER_RUN)
    with reading(store) as connection:
        asked = [row.id for row in population_rows(connection)] if wanted is None else wanted
        found: list[Any] = []
        for key in asked:
            one = rows.where(Population.id == key).order_by(Member.ordinal)
            found += connection.execute(one).all()
    table = pd.DataFrame([tuple(row) for row in found], columns=[*SCORES, "run"])
    return table.astype({"error_last": float, "error_lowest": float})


def _pieces(connection: Connection, population: PopulationRow) -> Iterator[pd.DataFrame]:
    import pandas as pd

    same = {"population": population.name, "space": population.space, "regime": population.regime}
    same["kind"] = population.kind
    for rows in connection.execute(_rows(population.id)).partitions(_CHUNK):
        yield pd.DataFrame({**same, "seed": population.seed, **_columns(rows)})


_COLUMNS = {
    "ordinal": Member.ordinal,
    "digest": Member.network,
    "run": Run.id,
    "state": Run.state,
    "attempts": Run.attempts - Run.forgiven,
    "error_last": Run.error_last,
    "error_lowest": Run.error_lowest,
    "seconds": Run.seconds,
    "message": Run.message,
    "flops": Member.flops,
    "params": Member.params,
    "acts": Member.acts,
}
_NUMBERS = ("error_last", "error_lowest", "seconds")


def _rows(population: int) -> Any:
    columns = select(*_COLUMNS.values(), Network.canonical, cast(Member.draw, Text()))
    rows = columns.join_from(Population, Member).join(Run, MEMBER_RUN)
    rows = rows.join(Network, Network.digest == Member.network)
    return rows.where(Population.id == population).order_by(Member.ordinal)


def _columns(rows: Sequence[Any]) -> dict[str, Any]:
    import numpy as np

    *values, texts, draws = zip(*rows, strict=True) if rows else [()] * (len(_COLUMNS) + 2)
    known: dict[str, Any] = dict(zip(_COLUMNS, values, strict=True))
    known |= {name: np.array(known[name], dtype=float) for name in _NUMBERS}
    known |= _architecture(texts)
    return {**known, **_drawn(draws, known)} if rows else known


def _architecture(texts: Sequence[str]) -> dict[str, Any]:
    import numpy as np

    archs = json.loads(f"[{','.join(texts)}]")
    counts = [len(arch["stages"]) for arch in archs]
    most = max(counts, default=0)
    absent = [float("nan")] * 5
    stages = [arch["stages"] + [absent] * (most - len(arch["stages"])) for arch in archs]
    table = np.array(stages, dtype=float).reshape(len(archs), most, 5)
    columns: dict[str, Any] = {"block": [arch["block"] for arch in archs], "stages": counts}
    columns["d"] = np.nansum(table[:, :, 0], axis=1).astype(int)
    for i in range(most):
        for k, letter in enumerate("dwbg"):
            columns[f"{letter}{i + 1}"] = (
                _whole(table[:, i, k]) if letter != "b" else table[:, i, k]
            )
    return columns


def _whole(numbers: Any) -> Any:
    """Integers, unless a network lacks the stage."""
    import numpy as np

    return numbers if np.isnan(numbers).any() else numbers.astype(int)


def _drawn(texts: Sequence[str], known: dict[str, Any]) -> dict[str, list[float]]:
    """Columns of drawn parameters that no column has yet; one population draws the same names."""
    new = [name for name in json.loads(texts[0]) if name not in known]
    draws = json.loads(f"[{','.join(texts)}]") if new else []
    return {name: [draw.get(name) for draw in draws] for name in new}
