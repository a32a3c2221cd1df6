"""What an error says of a network that had others beside it on its device."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from sqlalchemy import select

from dsd.errors import DsdError
from dsd.store import queue
from dsd.store.engine import Store, reading
from dsd.store.fleet import beside
from dsd.store.schema import Run
from dsd.train.crowd import NoRoom
from dsd.train.device import device_name
from dsd.train.events import aloud
from dsd.train.worker import work
from tests.train.conftest import fill, make_regime, small_arch

CPU = torch.device("cpu")
QUICK = {"epochs": 1, "batch": 500}


def at_work(store: Store, crew: bool = True) -> int:
    return work(store, folder=Path("."), device=CPU, exit_when_empty=True, max_attempts=2,
                launched="local 1.0", crew=crew, hear=aloud(lambda _: None))  # fmt: skip


def run_of(store: Store) -> Any:
    with reading(store) as connection:
        return connection.execute(select(Run)).one()


@pytest.fixture
def one(store: Store) -> Store:
    fill(store, [small_arch(8)], make_regime(train=QUICK))
    return store


def raising(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def build(arch: object) -> object:
        raise error

    monkeypatch.setattr("dsd.train.trainer.build", build)


def test_only_living_workers_of_the_same_crew_and_device_count(store: Store) -> None:
    name = device_name(CPU)
    for launched, device in (("local 1.0", name), ("local 1.1", name), ("local 1.2", "GPU 0"),
                             ("local 11.0", name), ("", name)):  # fmt: skip
        queue.register_worker(store, device, launched)
    assert beside(store, "local 1.0", name) == 2
    queue.retire_worker(store, queue.register_worker(store, name, "local 1.3"))
    assert beside(store, "local 1.1", name) == 2
    assert beside(store, "local 1.2", "GPU 0") == 1


def test_too_little_memory_beside_others_gives_the_network_back(one, monkeypatch):
    other = queue.register_worker(one, device_name(CPU), "local 1.1")
    raising(monkeypatch, torch.cuda.OutOfMemoryError("CUDA out of memory."))
    with pytest.raises(NoRoom, match="beside 1 other: given back") as left:
        at_work(one)
    assert left.value.exit_code == 75
    run = run_of(one)
    assert (run.state, run.attempts, run.forgiven, run.message) == ("queued", 1, 1, None)
    queue.retire_worker(one, other)
    assert at_work(one) == 0
    assert run_of(one).state == "out-of-memory", "alone, it is the network's own"


def test_without_a_crew_it_is_recorded_as_ever(one, monkeypatch):
    queue.register_worker(one, device_name(CPU), "local 1.1")
    raising(monkeypatch, torch.cuda.OutOfMemoryError("CUDA out of memory."))
    assert at_work(one, crew=False) == 0
    assert run_of(one).state == "out-of-memory"


def test_an_error_that_mps_hands_to_all_is_tried_again_and_counts(one, monkeypatch):
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", "/nowhere")
    queue.register_worker(one, device_name(CPU), "local 1.1")
    raising(monkeypatch, RuntimeError("CUDA error: the MPS client was terminated"))
    for state, counted in (("queued", 1), ("failed", 2)):
        with pytest.raises(DsdError, match="of it or of another in MPS"):
            at_work(one)
        run = run_of(one)
        assert (run.state, run.attempts - run.forgiven) == (state, counted)


def test_how_many_were_at_work_is_kept_with_the_result(one):
    queue.register_worker(one, device_name(CPU), "local 1.1")
    assert at_work(one) == 1
    assert run_of(one).provenance["slots"] == "2"
