"""What analysis and `dsd status` are given."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from sqlalchemy import update

from dsd.net.arch import Arch, Stage, Stem
from dsd.store import queue, results
from dsd.store.engine import Store, open_store, writing
from dsd.store.populations import resolve, save_sample
from dsd.store.schema import Run, Worker


def train(store: Store, n: int, owner: str) -> None:
    for i in range(n):
        held = queue.claim(store, owner)
        assert held is not None
        queue.record_epoch(store, held, {"epoch": 1, "images_per_s": 500.0})
        assert queue.finish(store, held, error_last=30.0 + i, error_lowest=25.0 + i)


def test_a_frame_has_one_row_a_network_in_sampling_order(store: Store, draw: Any) -> None:
    sample = draw(4)
    save_sample(store, sample)
    save_sample(store, draw(2, "narrow"))
    train(store, 3, queue.register_worker(store, "cpu"))
    table = results.frame(store, resolve(store, "wide") + resolve(store, "narrow"))
    assert list(table["population"]) == ["wide@fashion#0"] * 4 + ["narrow@fashion#0"] * 2
    assert list(table["ordinal"]) == [0, 1, 2, 3, 0, 1]
    assert list(table["state"]) == ["done", "done", "queued", "queued", "done", "queued"]
    assert [x for x in table["error_last"] if x == x] == [30.0, 32.0, 31.0]
    assert table["error_lowest"].dtype == float
    assert table["attempts"].sum() == 3
    first, arch = table.iloc[0], sample.archs[0]
    for i, stage in enumerate(arch.stages, 1):
        stored = [first[f"{letter}{i}"] for letter in "dwbg"]
        assert stored == [stage.d, stage.w, stage.b, stage.g]
    assert (first["block"], first["stages"], first["d"]) == ("X", 4, arch.d)
    costs = [int(sample.flops[0]), int(sample.params[0]), int(sample.acts[0])]
    assert list(first[["flops", "params", "acts"]]) == costs
    assert list(table["w0"]) == [0.0, 1.0, 2.0, 3.0, 0.0, 1.0], (
        "drawn, and not a column of the network"
    )
    assert first["d1"] == arch.stages[0].d
    assert table["d1"].dtype == int


def test_networks_of_different_depth_share_a_frame(store: Store, draw: Any) -> None:
    sample = draw(2)
    short = Arch(Stem(), (Stage(1, 8, 1.5, 8), Stage(2, 16, 1, 8)), block="Y")
    sample.archs = (short, sample.archs[0])
    save_sample(store, sample)
    table = results.frame(store)
    assert list(table["stages"]) == [2, 4]
    assert list(table["block"]) == ["Y", "X"]
    assert table["b1"][0] == 1.5
    assert table["d"][0] == 3
    assert math.isnan(table["w4"][0])
    assert table["w4"][1] == sample.archs[1].stages[3].w


def test_an_empty_frame_has_its_columns(store: Store, draw: Any) -> None:
    for table in (results.frame(store), results.frame(store, [])):
        assert len(table) == 0
        assert {"population", "state", "error_last", "flops", "d"} <= set(table.columns)


def test_status_counts_states_workers_speed_and_time_left(store: Store, draw: Any) -> None:
    save_sample(store, draw(6))
    empty = results.status(store)
    assert (empty.images_per_s, empty.eta_seconds, empty.workers) == (None, None, ())
    one, two = (queue.register_worker(store, f"cuda:{i}") for i in (0, 1))
    train(store, 2, one)
    with writing(store) as connection:
        connection.execute(update(Run).where(Run.state == "done").values(seconds=10.0))
    assert results.status(store).eta_seconds is None, "nobody works"
    held = [queue.claim(store, owner) for owner in (one, two)]
    for claim in held:
        assert claim
        assert queue.record_epoch(store, claim, {"epoch": 1, "images_per_s": 700.0})
    state = results.status(store)
    (population,) = state.populations
    assert (population.space, population.size) == ("wide", 6)
    assert population.states == {
        "queued": 2, "running": 2, "done": 2, "diverged": 0, "failed": 0, "out-of-memory": 0,
        "cancelled": 0,
    }  # fmt: skip
    assert [(w.device, w.running) for w in state.workers] == [("cuda:0", 1), ("cuda:1", 1)]
    assert all(0 <= w.heartbeat_age < 30 for w in state.workers)
    assert state.images_per_s == 1400.0
    assert state.eta_seconds == pytest.approx((2 * 10 + 2 * 10) / 2, abs=2)
    assert json.loads(json.dumps(state.as_dict()))["populations"][0]["states"]["done"] == 2


def test_status_drops_workers_that_ended_or_fell_silent(store: Store, draw: Any) -> None:
    save_sample(store, draw(1))
    ended, _, working = (queue.register_worker(store, "cpu") for _ in range(3))
    queue.retire_worker(store, ended)
    assert queue.claim(store, working)
    with writing(store) as connection:
        silence = update(Worker).where(Worker.owner != ended)
        connection.execute(silence.values(heartbeat=Worker.heartbeat - 7200))
    listed = results.status(store).workers
    assert [worker.owner for worker in listed] == [working]
    assert listed[0].heartbeat_age > 7000


def test_a_worker_whose_lease_ran_out_adds_no_speed(store: Store, draw: Any) -> None:
    save_sample(store, draw(2))
    owner = queue.register_worker(store, "cpu")
    held = queue.claim(store, owner, lease_s=-1)
    assert held
    assert queue.record_epoch(store, held, {"epoch": 1, "images_per_s": 700.0})
    assert results.status(store).images_per_s is None


def test_what_commands_read_is_found_by_indexes(sqlite_url: str, draw: Any) -> None:
    """On 100,000 networks a scan of runs for each population would be felt."""
    from sqlalchemy import event

    store = open_store(sqlite_url)
    save_sample(store, draw(20))
    asked: list[Any] = []

    @event.listens_for(store.read, "before_cursor_execute")
    def remember(connection, cursor, statement, parameters, context, many):
        asked.append((statement, parameters))

    results.scores(store)
    results.frame(store)
    results.status(store)
    queue.pending(store, [1])
    seen = [one for one in asked if "runs" in one[0]]
    assert len(seen) >= 4
    with store.read.connect() as connection:
        for statement, parameters in seen:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
            said = [row.detail for row in plan]
            loops = [one for one in said if one.startswith("SCAN runs") and "INDEX" not in one]
            once = "FROM runs" in statement and "members" not in statement  # all of them are asked
            assert not loops or once, (statement, said)
    store.close()


def test_reading_never_waits_for_a_writer_nor_takes_its_lock(sqlite_url: str, draw: Any) -> None:
    store = open_store(sqlite_url)
    save_sample(store, draw(3))
    reader = open_store(sqlite_url, write=False)
    with writing(store):  # the write lock is taken: a second writer would wait for a minute
        assert len(results.frame(reader)) == len(results.frame(store)) == 3
        assert results.status(reader).populations[0].size == 3
        assert queue.pending(open_store(sqlite_url, write=False)) == 3


def test_populations_that_share_networks_are_told_apart_from_independent_ones(
    sqlite_url: str, draw: Any
) -> None:
    import dsd
    from dsd.study import study_of

    lab = dsd.open(sqlite_url, regime="fashion")
    save_sample(lab.store, draw(6, "one", stream="same"))
    save_sample(lab.store, draw(4, "two", stream="same"))
    save_sample(lab.store, draw(4, "three"))
    train(lab.store, 10, queue.register_worker(lab.store, "cpu"))
    said = list(study_of(lab, ["one", "two", "three"]).warnings())
    assert [line for line in said if "share" in line] == [
        "Note: one and two share 4 networks; tests and intervals of their difference suppose none."
    ]
