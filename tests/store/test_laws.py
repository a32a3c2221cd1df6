"""Any order of events: one live owner a run, attempts never fall, a result never changes."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from sqlalchemy import select, update

from dsd.store import queue
from dsd.store.engine import open_store, reading, writing
from dsd.store.populations import save_sample
from dsd.store.schema import Epoch, LateResult, Run

ENDED = {"done", "diverged", "failed", "out-of-memory"}
_memory = Path("/dev/shm")


class Queue(RuleBasedStateMachine):
    """Two workers, up to four networks, and a clock that a rule lets pass."""

    template: Path
    draw: Any

    @initialize()
    def start(self) -> None:
        self.folder = tempfile.mkdtemp(dir=_memory if _memory.exists() else None)
        path = Path(self.folder) / "dsd.db"
        shutil.copy(self.template, path)
        self.store = open_store(str(path))
        self.owners = [queue.register_worker(self.store, "cpu") for _ in "ab"]
        self.claims: list[queue.Claim] = []
        self.attempts: dict[int, int] = {}
        self.ended: dict[int, Any] = {}
        self.accepted: set[int] = set()

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()
            shutil.rmtree(self.folder)

    @rule(n=st.integers(1, 4), space=st.sampled_from(["one", "two"]))
    def enqueue(self, n: int, space: str) -> None:
        save_sample(self.store, self.draw(n, space, stream="same"))

    @rule(worker=st.integers(0, 1), wanted=st.sampled_from([None, [1], [2]]))
    def claim(self, worker: int, wanted: list[int] | None) -> None:
        held = queue.claim(self.store, self.owners[worker], populations=wanted, max_attempts=2)
        if held:
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
        if accepted and act in ("finish", "fail") and not repeated:
            assert held.run_id not in self.accepted, "two results of one run"
            self.accepted.add(held.run_id)

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

    @invariant()
    def laws(self) -> None:
        if not hasattr(self, "store"):
            return
        with reading(self.store) as connection:
            rows = connection.execute(select(Run)).all()
            epochs = connection.execute(select(Epoch.run_id, Epoch.attempt)).all()
            late = connection.execute(select(LateResult.run_id, LateResult.attempt)).all()
        for run in rows:
            assert run.attempts >= self.attempts.get(run.id, 0)
            self.attempts[run.id] = run.attempts
            assert (run.state == "running") == (run.lease_until is not None)
            assert (run.state == "queued") == (run.owner is None)
            assert run.forgiven <= run.attempts <= run.forgiven + 2
            if run.state in ENDED:
                assert self.ended.setdefault(run.id, run) == run, "a result has changed"
        assert set(self.ended) == {run.id for run in rows if run.state in ENDED}
        claimed = {(c.run_id, c.attempt) for c in self.claims}
        assert {tuple(one) for one in [*epochs, *late]} <= claimed


def test_laws_of_the_queue(sqlite_template: Path, draw: Any) -> None:
    from hypothesis.stateful import run_state_machine_as_test

    Queue.template, Queue.draw = sqlite_template, staticmethod(draw)
    few = settings(
        max_examples=25,
        stateful_step_count=25,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(Queue, settings=few)
