"""Whole stories of a worker: real networks, a real SQLite file, real processes and signals."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from sqlalchemy import func, select, update

from dsd.errors import DsdError
from dsd.net.arch import Stem
from dsd.regime import Regime
from dsd.store import queue
from dsd.store.clock import now
from dsd.store.engine import Store, reading, writing
from dsd.store.results import frame, status
from dsd.store.schema import Epoch, LateResult, Run
from dsd.train.data import DatasetMissing
from dsd.train.events import aloud
from dsd.train.heartbeat import heartbeat
from dsd.train.memory import is_out_of_memory
from dsd.train.seeds import run_seed
from dsd.train.stop import WARNINGS, Stop, stop_on_signals
from dsd.train.worker import work
from tests.train.conftest import fill, make_regime, small_arch

CPU = torch.device("cpu")
COLOUR = Stem(inputs=3, width=8)
WORKER = """
import sys; from pathlib import Path; import torch
from dsd.store.engine import open_store
from dsd.train.stop import stop_on_signals
from dsd.train.worker import work
with stop_on_signals() as stop:
    work(open_store(sys.argv[1]), folder=Path("."), device=torch.device("cpu"), stop=stop)
sys.exit(stop.exit_code)
"""


def finish_all(store: Store, **given: Any) -> int:
    hear = aloud(given.pop("say", lambda _: None))
    settings = {"folder": Path("."), "device": CPU, "exit_when_empty": True, "hear": hear}
    return work(store, **{**settings, **given})


def runs(store: Store) -> list[Any]:
    with reading(store) as connection:
        return list(connection.execute(select(Run).order_by(Run.ordinal)))


def epochs(store: Store) -> list[tuple[int, int, int]]:
    key = (Epoch.run_id, Epoch.attempt, Epoch.epoch)
    with reading(store) as connection:
        return [tuple(row) for row in connection.execute(select(*key).order_by(*key))]


def wait_for(condition: Any, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def started(store: Store) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WORKER, str(store.url.database)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, text=True, **pipes)


@pytest.fixture
def slow() -> Regime:
    """Many short epochs: long enough to be caught in the middle."""
    return make_regime("slow", train={"epochs": 400, "batch": 500})


def test_a_queue_is_trained_and_everything_recorded(store, said):
    regime = make_regime()
    archs = [small_arch(width) for width in (8, 16)]
    fill(store, archs, regime)
    assert finish_all(store, say=said.say) == 2
    table = frame(store)
    assert table.state.tolist() == ["done", "done"]
    assert (table.error_last < 60).all()
    assert (table.error_lowest <= table.error_last).all()
    assert len(epochs(store)) == 4
    origin = runs(store)[0].provenance
    assert origin["seed"] == run_seed(0, archs[0].digest, regime.digest)
    assert origin["dataset"].startswith("7000 images")
    assert {"dsd", "torch", "device", "host", "precision"} <= set(origin)
    assert [line.split(":")[0] for line in said.lines[1:]] == ["hand, network 0", "hand, network 1"]
    assert status(store).workers == ()  # it has said goodbye


def test_the_same_queue_trained_again_gives_the_same_errors(store, tmp_path):
    from dsd.store.engine import open_store

    other = open_store(str(tmp_path / "other.db"))
    for place in (store, other):
        fill(place, [small_arch(8)], make_regime(train={"epochs": 1}))
        finish_all(place)
    assert runs(store)[0].error_last == runs(other)[0].error_last
    other.close()


def test_max_runs_and_populations_limit_what_is_taken(store):
    quick = make_regime(train={"epochs": 1, "batch": 500})
    fill(store, [small_arch(8), small_arch(16)], quick, "first")
    fill(store, [small_arch(24)], quick, "second")
    assert finish_all(store, populations=[2]) == 1
    assert frame(store).state.tolist() == ["queued", "queued", "done"]
    assert finish_all(store, max_runs=1) == 1
    assert finish_all(store, max_runs=0) == 0
    assert queue.pending(store) == 1


def test_a_network_that_cannot_be_built_fails_alone(store, said):
    broken = small_arch(8, block="Q")
    fill(store, [broken, small_arch(8)], make_regime(train={"epochs": 1, "batch": 500}))
    assert finish_all(store, say=said.say) == 1
    first, second = runs(store)
    assert (first.state, second.state) == ("failed", "done")
    assert first.message == "KeyError: 'Q'"
    assert "Traceback" in first.trace
    assert "build" in first.trace
    assert any("failed" in line for line in said.lines)


def test_a_diverged_network_is_recorded_at_chance_level(store):
    fill(store, [small_arch(8)], make_regime(train={"lr": 1e30, "batch": 500}))
    assert finish_all(store) == 1
    (run,) = runs(store)
    assert (run.state, run.error_last, run.error_lowest) == ("diverged", 90.0, 90.0)
    assert run.provenance["dataset"]


def test_too_little_memory_is_told_apart_from_a_crash(store, monkeypatch):
    fill(store, [small_arch(8)], make_regime())

    def greedy(arch: object) -> object:
        return torch.empty(1 << 50)

    monkeypatch.setattr("dsd.train.trainer.build", greedy)
    assert finish_all(store) == 0
    assert runs(store)[0].state == "out-of-memory"
    assert is_out_of_memory(torch.cuda.OutOfMemoryError("CUDA out of memory."))
    assert not is_out_of_memory(RuntimeError("CUDA error: device-side assert triggered"))


def test_a_broken_gpu_context_ends_the_worker(store, monkeypatch):
    fill(store, [small_arch(8), small_arch(16)], make_regime())

    def assertion(arch: object) -> object:
        raise RuntimeError("CUDA error: device-side assert triggered")

    monkeypatch.setattr("dsd.train.trainer.build", assertion)
    with pytest.raises(DsdError, match="Start again"):
        finish_all(store)
    assert [run.state for run in runs(store)] == ["failed", "queued"]


def test_a_missing_dataset_leaves_the_queue_untouched(store, tmp_path):
    fill(store, [small_arch(8)], make_regime("cifar", dataset="cifar10"))
    before = runs(store)
    with pytest.raises(DatasetMissing, match="cifar10"):
        finish_all(store, folder=tmp_path)
    assert runs(store) == before
    assert status(store).workers == ()


def test_populations_without_their_images_are_left_out_aloud(store, tmp_path, said):
    fill(store, [small_arch(8)], make_regime("cifar", dataset="cifar10"), "elsewhere")
    fill(store, [small_arch(8)], make_regime(train={"epochs": 1, "batch": 500}), "here")
    assert finish_all(store, folder=tmp_path, say=said.say) == 1
    assert sorted(frame(store).state) == ["done", "queued"]
    assert runs(store)[0].attempts + runs(store)[1].attempts == 1
    assert sum(line.startswith("Left out: Dataset 'cifar10'") for line in said.lines) == 1


def test_other_images_than_the_finished_runs_used_are_refused_before_a_claim(
    store, pictures, tmp_path, said
):
    """A node whose folder holds one file more, or less, than the first one's had."""
    regime = make_regime("jpeg", dataset="imagenet", classes=2, stem={"inputs": 3, "width": 8},
                         augment={"mean": [0.5] * 3, "std": [0.2] * 3}, train={"epochs": 1},
                         )  # fmt: skip
    fill(store, [small_arch(8, classes=2, stem=COLOUR), small_arch(16, classes=2, stem=COLOUR)],
         regime)  # fmt: skip
    other = tmp_path / "other"
    shutil.copytree(pictures / "imagenet", other / "imagenet")
    next((other / "imagenet" / "train" / "n01").iterdir()).unlink()
    assert finish_all(store, folder=pictures, max_runs=1) == 1
    before = runs(store)
    with pytest.raises(DatasetMissing, match=r"other images.*run 1 used 18 images") as refused:
        finish_all(store, folder=other)
    assert refused.value.exit_code == 3
    assert runs(store) == before
    fill(store, [small_arch(24)], make_regime(train={"epochs": 1, "batch": 500}), "shipped")
    assert finish_all(store, folder=other, say=said.say) == 1, "the rest can be trained here"
    assert sum("holds other images" in line for line in said.lines) == 1
    assert finish_all(store, folder=pictures) == 1
    assert {run.state for run in runs(store)} == {"done"}


def test_images_that_turn_out_unusable_stop_the_worker_and_fail_no_network(store):
    fill(store, [small_arch(8)], make_regime(classes=12))
    with pytest.raises(DsdError, match="classes = 12"):
        finish_all(store)
    (run,) = runs(store)
    assert (run.state, run.attempts - run.forgiven) == ("queued", 0)


def test_a_killed_worker_loses_nothing_and_counts_nothing_twice(store):
    regime = make_regime(train={"epochs": 6, "batch": 500})
    fill(store, [small_arch(width) for width in (8, 16, 24)], regime)
    first = started(store)
    wait_for(lambda: epochs(store))
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    recorded = epochs(store)
    interrupted = next(run for run in runs(store) if run.state == "running")
    ended = sum(run.state == "done" for run in runs(store))
    assert finish_all(store) == 3 - ended  # the dead worker's network is taken over at once
    table = frame(store)
    assert table.state.tolist() == ["done"] * 3
    assert table.digest.is_unique
    assert set(recorded) <= set(epochs(store))
    assert runs(store)[interrupted.ordinal].attempts == 2
    again = [row for row in epochs(store) if row[:2] == (interrupted.id, 2)]
    assert [epoch for _, _, epoch in again] == [1, 2, 3, 4, 5, 6]
    with reading(store) as connection:
        assert connection.execute(select(func.count()).select_from(LateResult)).scalar_one() == 0


@pytest.mark.parametrize(
    ("numbers", "code"),
    [
        ((signal.SIGTERM,), 0),
        pytest.param((signal.SIGINT,), 130, marks=pytest.mark.slow),  # Ctrl-C: see tests/cli
        pytest.param(WARNINGS * 3, 0, marks=pytest.mark.slow),
    ],
)
def test_a_signal_gives_the_network_back(store, slow, numbers, code):
    fill(store, [small_arch(8)], slow)
    worker = started(store)
    wait_for(lambda: epochs(store))
    for number in numbers:
        worker.send_signal(number)
    out, err = worker.communicate(timeout=30)
    assert worker.returncode == code, err
    assert "given back" in out
    (run,) = runs(store)
    assert (run.state, run.owner, run.attempts - run.forgiven) == ("queued", None, 0)
    assert status(store).workers == ()


def test_a_worker_that_lost_its_lease_stops_training_that_network(store, slow, said):
    fill(store, [small_arch(8)], slow)
    stop = Stop()
    given = {"stop": stop, "say": said.say, "max_runs": 1, "lease_s": 0.6}
    worker = threading.Thread(target=finish_all, args=(store,), kwargs=given)
    worker.start()
    wait_for(lambda: epochs(store))
    with writing(store) as connection:
        other = {"owner": None, "state": "queued", "lease_until": None}
        connection.execute(update(Run).values(**other))
    worker.join(timeout=20)
    assert not worker.is_alive()
    assert "another worker has it" in said.lines[-1]
    assert runs(store)[0].state == "queued"
    assert not stop.is_set()


def test_a_lease_is_held_for_as_long_as_training_takes(store, slow):
    fill(store, [small_arch(8)], slow)
    stop = Stop()
    given = {"stop": stop, "lease_s": 0.6}
    worker = threading.Thread(target=finish_all, args=(store,), kwargs=given)
    worker.start()
    wait_for(lambda: epochs(store))
    time.sleep(1.5)
    with reading(store) as connection:
        left = connection.execute(select(Run.lease_until - now())).scalar_one()
    assert 0 < left <= 0.6
    stop.set()
    worker.join()
    assert runs(store)[0].attempts == 1


def test_a_heartbeat_survives_errors_and_ends_with_the_lease():
    answers = iter([True, OSError("database is locked"), True, False])
    beats = []

    def beat() -> bool:
        answer = next(answers)
        beats.append(answer)
        if isinstance(answer, Exception):
            raise answer
        return answer

    with heartbeat(beat, 0.02) as lost:
        assert lost.wait(5)
    assert len(beats) == 4


def test_a_worker_waits_for_work_until_it_is_told_to_stop(store, monkeypatch):
    monkeypatch.setattr("dsd.train.worker.POLL_S", 0.05)
    stop = Stop()
    given = {"stop": stop, "exit_when_empty": False}
    worker = threading.Thread(target=finish_all, args=(store,), kwargs=given)
    worker.start()
    time.sleep(0.3)
    assert worker.is_alive()
    fill(store, [small_arch(8)], make_regime(train={"epochs": 1, "batch": 500}))
    wait_for(lambda: [run.state for run in runs(store)] == ["done"])
    stop.set()
    worker.join(timeout=10)
    assert not worker.is_alive()


def test_an_idle_worker_looks_ever_more_rarely_and_at_once_again_after_work(store):
    class Impatient(Stop):
        """Waits for nothing; enters a network after twenty looks, leaves after forty."""

        def wait(self, timeout: float | None = None) -> bool:
            waits.append(timeout)
            if len(waits) == 20:
                fill(store, [small_arch(8)], make_regime(train={"epochs": 1, "batch": 500}))
            if len(waits) == 40:
                self.set()
            return self.is_set()

    waits: list[float | None] = []
    assert finish_all(store, stop=Impatient(), exit_when_empty=False) == 1
    for first in (waits[0], waits[20]):
        assert 1.6 <= first <= 2.4
    for last in (waits[19], waits[39]):
        assert 24 <= last <= 36


def test_the_first_signal_asks_and_the_handlers_come_back():
    before, interrupt = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with stop_on_signals() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.wait(5)
        os.kill(os.getpid(), signal.SIGTERM)  # heard twice: it is leaving already
        assert signal.getsignal(signal.SIGINT) == interrupt  # Ctrl-C acts at once
    assert signal.getsignal(signal.SIGTERM) == before
    assert (stop.signal, stop.exit_code) == (signal.SIGTERM, 0)
    assert Stop().exit_code == 0


def test_results_can_be_stored_as_json(store):
    fill(store, [small_arch(8)], make_regime(train={"epochs": 1, "batch": 500}))
    finish_all(store)
    assert json.dumps(runs(store)[0].provenance)
