"""A crew on one machine: rests that grow, devices that are left alone, and its end on request."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from dsd.launch.crew import LONGEST_REST_S, MOST_DEATHS, Crew, Slot
from dsd.launch.local import Watch
from dsd.launch.running import starting
from dsd.store.engine import open_store
from dsd.store.location import database_url
from tests.cli.conftest import Shell
from tests.train.conftest import fill, make_regime, small_arch


def test_rests_grow_until_a_network_is_ended():
    slot = Slot(["--cpu"], "local 1.0")
    assert [slot.rest(0, died=True) for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, LONGEST_REST_S]
    assert slot.deaths == 8 > MOST_DEATHS
    assert slot.rest(1, died=True) == 1
    assert slot.deaths == 1
    assert slot.rest(1, died=False) == 2, "one that found nothing to do is no death"
    assert slot.deaths == 1
    assert slot.rests_until > time.monotonic()


def test_what_cannot_be_trained_here_starts_no_worker_and_idle_looks_are_rare(tmp_path: Path):
    store = open_store(str(tmp_path / "dsd.db"))
    fill(store, [small_arch(8), small_arch(16)], make_regime("cifar", dataset="cifar10"))
    crew = Crew([], [["--cpu"]] * 2)
    watch = Watch(store, None, crew, longest_s=30.0, foreign_s=60.0, most=lambda: 0)
    watch.look()
    assert (watch.claimable, watch.offered, crew.working) == (2, 0, []), "none may be taken"
    watch.most = lambda: 5
    assert watch.offered == 2
    rests = []
    for _ in range(20):
        watch.due = 0.0
        crew.collect(store)
        crew.fruitless = 2  # as after a worker that was offered two, and found none
        watch._leave_out()
        assert watch.offered == 0
        watch.look()
        rests.append(watch.rest_s)
    assert rests == sorted(rests)
    assert (rests[0], rests[-1]) == (1.25, 30.0)
    fill(store, [small_arch(24)], make_regime())
    watch.due = 0.0
    watch.most = lambda: 0
    watch.look()
    watch.most = lambda: 5
    assert watch.offered == 1, "the new one"
    watch.foreign_until = time.monotonic()
    watch._leave_out()
    assert watch.offered == 3, "tried again after a while"
    store.close()


@pytest.mark.slow
def test_a_machine_without_the_images_ends_at_once_and_claims_nothing(dsd: Shell):
    dsd("sample", "anynetx_d", "--n", "2", "--regime", "cifar10")
    said = dsd.fails("launch", "local", "--cpu", "--slots", "1", code=1)
    assert "Dataset 'cifar10' of regime 'cifar10' not found" in said
    assert dsd.states() == {"anynetx_d": {"queued": 2}}
    assert "No worker is at work" in dsd("launch", "status", "local")


@pytest.mark.slow
def test_a_launcher_is_found_through_the_database_and_stopped(tiny: Shell):
    tiny.environment["DSD_REGIME"] = "fashion"
    tiny("sample", "anynetx_a", "--n", "200")
    launcher = tiny.popen("launch", "local", "--cpu", "--slots", "1")
    while not (shown := told(tiny)) or not shown[0]["ended"]:
        assert launcher.poll() is None
    (one,) = shown
    assert (one["launched"], one["state"]) == (f"local {launcher.pid}.0", "alive")
    assert "1 launchers stopped" in tiny("launch", "stop", "local")
    out, err = launcher.communicate(timeout=60)
    assert launcher.returncode == 0, (out, err)
    (one,) = told(tiny)
    assert (one["state"], one["network"]) == ("stopped", "")
    assert set(tiny.states()["anynetx_a"]) == {"done", "queued"}
    assert "local: none runs here" in tiny("launch", "stop", "local")
    launcher = tiny.popen("launch", "local", "--cpu", "--slots", "1")
    while not psutil.Process(launcher.pid).children():
        assert launcher.poll() is None
    assert "1 launchers stopped" in tiny("launch", "stop", "local"), "before its worker is known"
    assert launcher.wait(60) == 0


def test_workers_that_no_database_knows_yet_are_found_by_theirs(tmp_path: Path):
    words = [sys.executable, "-c", "input()", "--launched", f"local {os.getpid()}.0"]
    own, other = (database_url(str(tmp_path / name)) for name in ("dsd.db", "other.db"))
    worker = subprocess.Popen(words, stdin=subprocess.PIPE, cwd=tmp_path,
                              env={**os.environ, "DSD_DB": "dsd.db"})  # fmt: skip
    try:
        assert list(starting(own, "local")) == [words[-1]]
        assert not [*starting(other, "local"), *starting(own, "ray")]
    finally:
        worker.communicate(b"\n")


def told(shell: Shell) -> list[dict[str, object]]:
    workers: list[dict[str, object]] = json.loads(shell("launch", "status", "local", "--json"))[
        "workers"
    ]
    return workers
