"""What a claim promises, on SQLite and on PostgreSQL alike."""

from __future__ import annotations

import logging
import math
from typing import Any

import pytest
from sqlalchemy import select, text, update

from dsd.net.arch import Arch
from dsd.regime import Regime
from dsd.store import queue
from dsd.store.clock import now
from dsd.store.engine import Store, reading, writing
from dsd.store.populations import save_sample
from dsd.store.schema import Epoch, LateResult, Run, Worker

EPOCH = {
    "epoch": 1, "train_loss": 2.1, "train_error": 80.0, "test_error": 70.0, "test_error5": 20.0,
    "seconds": 1.5, "images_per_s": 900.0, "lr": 0.05, "peak_memory": 1e9,
}  # fmt: skip


def claim(store: Store, owner: str, **given: Any) -> queue.Claim:
    """A claim that must succeed."""
    held = queue.claim(store, owner, **given)
    assert held is not None
    return held


def done(store: Store, held: queue.Claim) -> bool:
    return queue.finish(store, held, error_last=20.0, error_lowest=19.5, provenance={"dsd": "x"})


def row(store: Store, held: queue.Claim) -> Any:
    with reading(store) as connection:
        return connection.execute(select(Run).where(Run.id == held.run_id)).one()


def all_rows(store: Store, table: Any) -> list[Any]:
    with reading(store) as connection:
        return list(connection.execute(select(table)).all())


def lapse(store: Store, held: queue.Claim) -> None:
    """Time passes: the lease runs out."""
    with writing(store) as connection:
        past = update(Run).where(Run.id == held.run_id).values(lease_until=now() - 1.0)
        connection.execute(past)


@pytest.fixture
def owner(store: Store) -> str:
    return queue.register_worker(store, "cpu")


@pytest.fixture
def other(store: Store) -> str:
    return queue.register_worker(store, "cuda:0")


def test_a_claim_says_all_that_training_needs(store: Store, owner: str, draw: Any) -> None:
    sample = draw(2)
    save_sample(store, sample)
    first, second = claim(store, owner), claim(store, owner)
    assert [first.label, second.label] == ["wide, network 0", "wide, network 1"]
    assert Arch.from_json(first.arch_text) == sample.archs[0].normalized()
    assert (first.digest, first.seed, first.attempt) == (sample.archs[0].digest, 0, 1)
    assert Regime.from_text(first.regime_text, first.regime_name) == sample.regime
    assert queue.claim(store, owner) is None


def test_claims_go_by_priority_then_ordinal_across_populations(
    store: Store, owner: str, draw: Any
) -> None:
    save_sample(store, draw(3, "one"))
    save_sample(store, draw(2, "two"))
    save_sample(store, draw(2, "urgent"), priority=5)
    labels = [claim(store, owner).label for _ in range(7)]
    assert labels == [
        "urgent, network 0",
        "urgent, network 1",
        "one, network 0",
        "two, network 0",
        "one, network 1",
        "two, network 1",
        "one, network 2",
    ]


def test_claims_of_some_populations_only(store: Store, owner: str, draw: Any) -> None:
    for space in ("one", "two", "three"):
        save_sample(store, draw(2, space))
    labels = [claim(store, owner, populations=[2, 3]).label for _ in range(4)]
    assert labels == ["two, network 0", "three, network 0", "two, network 1", "three, network 1"]
    assert queue.claim(store, owner, populations=[2, 3]) is None
    assert queue.claim(store, owner, populations=[]) is None
    assert (queue.pending(store), queue.pending(store, [1]), queue.pending(store, [2])) == (6, 2, 2)


def test_a_shared_run_is_trained_once_under_the_name_asked_for(
    store: Store, owner: str, draw: Any
) -> None:
    save_sample(store, draw(3, "one", stream="same"))
    save_sample(store, draw(3, "two", stream="same"))
    assert queue.pending(store) == queue.pending(store, [1]) == queue.pending(store, [2]) == 3
    held = claim(store, owner, populations=[2])
    assert held.label == "two, network 0"
    assert done(store, held)
    assert queue.pending(store, [1]) == 2


def test_a_result_is_recorded_once_and_for_all(store: Store, owner: str, draw: Any) -> None:
    save_sample(store, draw(1))
    held = claim(store, owner)
    assert queue.record_epoch(store, held, EPOCH)
    assert done(store, held)
    assert done(store, held), "a repeated report of the same result is no late one"
    assert not queue.fail(store, held, message="no")
    assert not queue.beat(store, held)
    assert not queue.release(store, held)
    assert not queue.record_epoch(store, held, {**EPOCH, "epoch": 2})
    stored = row(store, held)
    assert (stored.state, stored.error_last, stored.error_lowest) == ("done", 20.0, 19.5)
    assert stored.provenance == {"dsd": "x"}
    assert stored.owner == owner
    assert 0 <= stored.seconds < 60
    assert stored.finished >= stored.started
    assert queue.claim(store, owner) is None
    assert [late.state for late in all_rows(store, LateResult)] == ["failed"]


def test_epochs_that_an_earlier_attempt_left_count_as_time(
    store: Store, owner: str, draw: Any
) -> None:
    save_sample(store, draw(1))
    first = claim(store, owner)
    assert queue.record_epoch(store, first, {**EPOCH, "seconds": 500.0})
    assert queue.release(store, first)
    held = claim(store, owner)
    for epoch, seconds in ((1, 500.0), (2, 400.0)):  # the first from its checkpoint
        assert queue.record_epoch(store, held, {**EPOCH, "epoch": epoch, "seconds": seconds})
    assert done(store, held)
    assert row(store, held).seconds == 900.0


@pytest.mark.parametrize("state", ["failed", "out-of-memory"])
def test_a_failure_keeps_message_and_trace(store: Store, owner: str, draw: Any, state: str) -> None:
    save_sample(store, draw(1))
    held = claim(store, owner)
    assert queue.fail(store, held, state=state, message="ValueError: x", trace="Traceback ...")
    stored = row(store, held)
    assert (stored.state, stored.message, stored.trace) == (state, "ValueError: x", "Traceback ...")
    assert stored.error_last is None
    assert queue.claim(store, owner) is None


def test_a_diverged_run_keeps_its_error_and_its_endless_losses(
    store: Store, owner: str, draw: Any
) -> None:
    save_sample(store, draw(1))
    held = claim(store, owner)
    for epoch, loss in enumerate([1.0, math.inf, math.nan], 1):
        assert queue.record_epoch(store, held, {"epoch": epoch, "train_loss": loss})
    provenance = {"loss": math.nan}
    assert queue.finish(
        store, held, state="diverged", error_last=90.0, error_lowest=90.0, provenance=provenance
    )
    stored = row(store, held)
    assert (stored.state, stored.error_last, stored.provenance) == (
        "diverged",
        90.0,
        {"loss": None},
    )
    assert [e.train_loss for e in all_rows(store, Epoch)] == [1.0, math.inf, None]


def test_an_expired_lease_goes_to_the_next_claim_and_fences_the_old_owner(
    store: Store, owner: str, other: str, draw: Any, caplog: pytest.LogCaptureFixture
) -> None:
    save_sample(store, draw(2))
    slow = claim(store, owner, lease_s=60)
    assert queue.record_epoch(store, slow, EPOCH)
    lapse(store, slow)
    taken = claim(store, other)
    assert (taken.run_id, taken.attempt, taken.label) == (slow.run_id, 2, slow.label)
    assert queue.record_epoch(store, taken, {**EPOCH, "train_loss": 9.0})
    assert not queue.beat(store, slow)
    assert not queue.record_epoch(store, slow, {**EPOCH, "epoch": 2})
    with caplog.at_level(logging.WARNING):
        assert not queue.finish(store, slow, error_last=1.0, error_lowest=1.0)
    assert "kept apart" in caplog.text
    assert row(store, taken).state == "running"
    assert done(store, taken)
    assert row(store, taken).error_last == 20.0
    (late,) = all_rows(store, LateResult)
    assert (late.run_id, late.attempt, late.owner, late.state) == (slow.run_id, 1, owner, "done")
    assert late.result["error_last"] == 1.0
    epochs = [(e.attempt, e.epoch, e.train_loss) for e in all_rows(store, Epoch)]
    assert sorted(epochs) == [(1, 1, 2.1), (2, 1, 9.0)]


def test_the_attempt_fences_an_owner_from_itself(store: Store, owner: str, draw: Any) -> None:
    save_sample(store, draw(1))
    old = claim(store, owner)
    lapse(store, old)
    new = claim(store, owner)
    assert (new.run_id, new.owner) == (old.run_id, old.owner)
    assert not queue.beat(store, old)
    assert not done(store, old)
    assert done(store, new)


def test_a_lease_that_ran_out_but_that_nobody_took_can_be_renewed(
    store: Store, owner: str, draw: Any
) -> None:
    save_sample(store, draw(1))
    held = claim(store, owner)
    lapse(store, held)
    assert queue.beat(store, held, 60)
    assert queue.claim(store, owner) is None


def test_the_lease_is_reckoned_by_the_clock_of_the_database(
    store: Store, owner: str, draw: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import time

    monkeypatch.setattr(time, "time", lambda: 0.0)  # a machine whose clock is decades late
    save_sample(store, draw(1))
    held = claim(store, owner, lease_s=30)
    with reading(store) as connection:
        left = connection.execute(select(Run.lease_until - now())).scalar_one()
    assert 20 < left <= 30
    assert queue.beat(store, held, 300)
    with reading(store) as connection:
        assert 290 < connection.execute(select(Run.lease_until - now())).scalar_one() <= 300


def test_attempts_are_counted_at_the_claim_and_limited(store: Store, owner: str, draw: Any) -> None:
    save_sample(store, draw(1))
    for attempt in (1, 2):
        held = claim(store, owner, max_attempts=2)
        assert held.attempt == attempt
        lapse(store, held)
    assert queue.claim(store, owner, max_attempts=2) is None
    stored = row(store, held)
    assert (stored.state, stored.attempts, stored.owner) == ("failed", 2, owner)
    assert stored.message.startswith("Gave up after attempt 2: ")
    assert owner in stored.message


def test_a_released_attempt_does_not_count_yet_is_told_apart(
    store: Store, owner: str, draw: Any
) -> None:
    save_sample(store, draw(2))
    for attempt in (1, 2, 3, 4):
        held = claim(store, owner, max_attempts=2)
        assert (held.attempt, held.label) == (attempt, "wide, network 0"), (
            "it waits at its old place"
        )
        assert queue.record_epoch(store, held, EPOCH)
        assert queue.release(store, held)
        assert not queue.beat(store, held)
    held = claim(store, owner, max_attempts=2)
    lapse(store, held)
    again = claim(store, owner, max_attempts=2)
    assert (again.run_id, again.attempt) == (held.run_id, 6)


def test_an_epoch_reported_twice_counts_once(store: Store, owner: str, draw: Any) -> None:
    save_sample(store, draw(1))
    held = claim(store, owner)
    assert queue.record_epoch(store, held, EPOCH)
    assert queue.record_epoch(store, held, {**EPOCH, "test_error": 60.0})
    (stored,) = all_rows(store, Epoch)
    assert {key: getattr(stored, key) for key in EPOCH} == {**EPOCH, "test_error": 60.0}


def test_beats_and_epochs_are_signs_of_life(store: Store, owner: str, draw: Any) -> None:
    save_sample(store, draw(1))
    held = claim(store, owner)
    signs: dict[str, Any] = {
        "beat": lambda: queue.beat(store, held),
        "epoch": lambda: queue.record_epoch(store, held, EPOCH),
        "claim": lambda: queue.claim(store, owner),
    }
    for sign, act in signs.items():
        with writing(store) as connection:
            connection.execute(update(Worker).values(heartbeat=0.0))
        act()
        (worker,) = all_rows(store, Worker)
        assert worker.heartbeat > 1e9, sign


def test_states_are_checked_by_the_database_itself(store: Store, draw: Any) -> None:
    from sqlalchemy.exc import IntegrityError

    save_sample(store, draw(1))
    with pytest.raises(IntegrityError), writing(store) as connection:
        connection.execute(update(Run).values(state="finished"))
    with pytest.raises(IntegrityError), writing(store) as connection:
        connection.execute(text("DELETE FROM networks"))


def test_claim_and_rescue_walk_an_index(store: Store, owner: str, draw: Any) -> None:
    if store.url.get_backend_name() != "sqlite":
        pytest.skip("PostgreSQL's plan depends on its statistics")
    save_sample(store, draw(20))
    for statement, index in (
        (queue._take(owner, None, 60.0), "ix_runs_queue (state=? AND held=?)"),
        (queue._take(owner, (1,), 60.0), "ix_runs_queue (state=? AND held=?)"),
        (queue._expire(3), "ix_runs_lease (state=? AND lease_until<?)"),
    ):
        options = {"literal_binds": True}
        sql = str(statement.compile(store.write, compile_kwargs=options))
        with reading(store) as connection:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}").all()
        said = "\n".join(line.detail for line in plan)
        assert index in said, said
        assert "TEMP B-TREE" not in said, said
        assert "SCAN runs" not in said, said
