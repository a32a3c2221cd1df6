"""Any order of events: one live owner a run, attempts never fall, a result never changes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from sqlalchemy import func, select, update

from dsd.errors import DsdError
from dsd.store import queue, steer
from dsd.store.engine import Store, open_store, reading, writing
from dsd.store.populations import populations, save_sample
from dsd.store.schema import Base, Epoch, LateResult, Member, Population, Run

ENDED = {"done", "diverged", "failed", "out-of-memory"}
RESULTS = {"done", "diverged"}


class Queue(RuleBasedStateMachine):
    """Two workers, up to four networks, a person who steers, and a clock that a rule lets pass."""

    store: Store
    draw: Callable[..., Any]

    @initialize()
    def start(self) -> None:
        with writing(self.store) as connection:
            for table in reversed(Base.metadata.sorted_tables):
                connection.execute(table.delete())
        self.owners = [queue.register_worker(self.store, "cpu") for _ in "ab"]
        self.claims: list[queue.Claim] = []
        self.attempts: dict[int, int] = {}
        self.ended: dict[int, Any] = {}
        self.accepted: set[int] = set()

    @rule(n=st.integers(1, 4), space=st.sampled_from(["one", "two"]))
    def enqueue(self, n: int, space: str) -> None:
        save_sample(self.store, self.draw(n, space, stream="same"))

    @rule(worker=st.integers(0, 1), first=st.sampled_from([None, 0, 1]))
    def claim(self, worker: int, first: int | None) -> None:
        known = self.rows(Population)
        wanted = None if first is None else [row.id for row in known[first : first + 1]]
        waiting = {run.id for run in self.rows(Run) if run.held}
        held = queue.claim(self.store, self.owners[worker], populations=wanted, max_attempts=2)
        if held:
            assert held.run_id not in waiting, "a paused network was claimed"
            assert all((held.run_id, held.attempt) != (c.run_id, c.attempt) for c in self.claims)
            self.claims.append(held)

    @rule(
        data=st.data(), act=st.sampled_from(["beat", "epoch", "finish", "fail", "release", "lapse"])
    )
    def act(self, data: st.DataObject, act: str) -> None:
        if not self.claims:
            return
        held = data.draw(st.sampled_from(self.claims))
        before = self.row(held)
        mine = before.state == "running" and (before.owner, before.attempts) == (
            held.owner,
            held.attempt,
        )
        if act == "lapse":
            with writing(self.store) as connection:
                if mine:
                    connection.execute(
                        update(Run).where(Run.id == held.run_id).values(lease_until=0.0)
                    )
            return
        accepted = self.perform(held, act)
        repeated = act in ("finish", "fail") and before.state == self.row(held).state in ENDED
        assert accepted == mine or (accepted and repeated)
        if act in ("finish", "fail") and not accepted:
            key = (LateResult.run_id, LateResult.attempt, LateResult.owner)
            with reading(self.store) as connection:
                late = {tuple(one) for one in connection.execute(select(*key))}
            assert (held.run_id, held.attempt, held.owner) in late, "a late word was lost"
        if accepted and act in ("finish", "fail") and not repeated:
            assert held.run_id not in self.accepted, "two results of one run"
            self.accepted.add(held.run_id)

    @rule(data=st.data(), act=st.sampled_from([steer.cancel, steer.retry]))
    def steer_runs(self, data: st.DataObject, act: Callable[..., dict[str, int]]) -> None:
        before = {run.id: run for run in self.rows(Run)}
        chosen = data.draw(st.lists(st.sampled_from(sorted(before)), unique=True)) if before else []
        counts = act(self.store, chosen)
        after = {run.id: run for run in self.rows(Run)}
        changed = {key for key, run in after.items() if run != before[key]}
        assert changed <= set(chosen)
        assert sum(counts.values()) == len(changed)
        if act is steer.retry:
            assert not any(before[key].state in RESULTS for key in changed)
            for key in changed:
                assert after[key].state == "queued"
                self.accepted.discard(key)
                self.ended.pop(key, None)

    @rule(first=st.sampled_from([None, 0, 1]), act=st.sampled_from([steer.pause, steer.resume]))
    def pause(self, first: int | None, act: Callable[..., int]) -> None:
        known = self.rows(Population)
        act(self.store, None if first is None else [row.id for row in known[first : first + 1]])

    @rule(first=st.integers(0, 1))
    def delete(self, first: int) -> None:
        before = {run.id: run for run in self.rows(Run)}
        for population in populations(self.store)[first : first + 1]:
            with reading(self.store) as connection:
                wanted = select(Member.network).where(Member.population_id != population.id)
                shared = set(connection.execute(wanted).scalars())
            unwanted = {key for key, run in before.items() if run.network not in shared}
            at_work = any(before[key].state == "running" for key in unwanted)
            try:
                steer.delete_population(self.store, population)
            except DsdError:
                assert at_work
                assert {run.id: run for run in self.rows(Run)} == before, "deleted by half"
                return
            assert not at_work, "a network was deleted while it was trained"
            self.forget(unwanted)

    def forget(self, gone: set[int]) -> None:
        """These runs are deleted, and no others: what a worker still says of them is no error."""
        left = {run.id: run for run in self.rows(Run)}
        assert not gone & set(left)
        lowest = select(Member.network, func.min(Member.ordinal)).group_by(Member.network)
        with reading(self.store) as connection:
            places = {row[0]: row[1] for row in connection.execute(lowest)}
        for run in left.values():
            assert run.state != "queued" or run.ordinal == places[run.network]
        for held in [one for one in self.claims if one.run_id in gone]:
            assert not queue.beat(self.store, held)
            assert not queue.finish(self.store, held, error_last=0.0, error_lowest=0.0)
            self.claims.remove(held)
        for key in gone:
            self.attempts.pop(key, None)
            self.ended.pop(key, None)
            self.accepted.discard(key)

    def perform(self, held: queue.Claim, act: str) -> bool:
        if act == "beat":
            return queue.beat(self.store, held)
        if act == "epoch":
            return queue.record_epoch(self.store, held, {"epoch": 1, "train_loss": 1.0})
        if act == "finish":
            return queue.finish(self.store, held, error_last=float(held.attempt), error_lowest=0.0)
        if act == "fail":
            return queue.fail(self.store, held, message=str(held.attempt))
        return queue.release(self.store, held)

    def row(self, held: queue.Claim) -> Any:
        with reading(self.store) as connection:
            return connection.execute(select(Run).where(Run.id == held.run_id)).one()

    def rows(self, table: Any) -> list[Any]:
        with reading(self.store) as connection:
            return list(connection.execute(select(table).order_by(table.id)).all())

    @invariant()
    def laws(self) -> None:
        if not hasattr(self, "claims"):
            return
        with reading(self.store) as connection:
            rows = connection.execute(select(Run)).all()
            epochs = connection.execute(select(Epoch.run_id, Epoch.attempt)).all()
            late = connection.execute(select(LateResult.run_id, LateResult.attempt)).all()
            live = select(Member.network).join(Population).where(Population.paused.is_(False))
            wanted = set(connection.execute(live).scalars())
            members = set(connection.execute(select(Member.network)).scalars())
        assert {run.network for run in rows} == members, "a network without its run"
        for run in rows:
            assert run.held == (run.network not in wanted)
            assert run.attempts >= self.attempts.get(run.id, 0)
            self.attempts[run.id] = run.attempts
            assert (run.state == "running") == (run.lease_until is not None)
            assert run.state != "queued" or run.owner is None
            assert run.state not in {"running", *ENDED} or run.owner
            assert run.forgiven <= run.attempts <= run.forgiven + 2
            if run.state in ENDED:
                place = ("held", "ordinal")
                result = {k: v for k, v in run._mapping.items() if k not in place}
                assert self.ended.setdefault(run.id, result) == result, "a result has changed"
        assert set(self.ended) == {run.id for run in rows if run.state in ENDED}
        claimed = {(c.run_id, c.attempt) for c in self.claims}
        assert {tuple(one) for one in [*epochs, *late]} <= claimed


def test_laws_of_the_queue_in_wal_mode(
    tmp_path: Path, draw: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite versions with a mended WAL use it; what a claim promises holds there, too."""
    from dsd.store import connect

    monkeypatch.setattr(connect, "journal_mode", lambda version: "wal")
    url = str(tmp_path / "dsd.db")
    test_laws_of_the_queue(url, draw, 20)
    with reading(open_store(url)) as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"


@pytest.mark.parametrize("examples", [20, pytest.param(300, marks=pytest.mark.slow)])
def test_laws_of_the_queue(url: str, draw: Any, examples: int) -> None:
    from hypothesis.stateful import run_state_machine_as_test

    Queue.store, Queue.draw = open_store(url), staticmethod(draw)
    few = settings(
        max_examples=examples,
        stateful_step_count=25,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(Queue, settings=few)
    Queue.store.close()
