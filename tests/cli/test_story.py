"""Whole stories: sampled, trained by real workers, killed, resumed, compared."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import tempfile
import time
from contextlib import closing

import pytest


def rows(folder, query):
    with closing(sqlite3.connect(folder / "demo" / "dsd.db", timeout=30)) as connection:
        return connection.execute(query).fetchall()


def wait_for(condition, seconds=90.0):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError("it did not happen in time")


def busy_workers(folder):
    """Pids of workers that have recorded an epoch of an unfinished network."""
    query = (
        "select workers.pid from runs join workers on workers.owner = runs.owner "
        "where runs.state = 'running' and (select count(*) from runs where state = 'done') > 0"
    )
    try:
        return [pid for (pid,) in rows(folder, query)]
    except sqlite3.OperationalError:  # no file or no table yet
        return []


@pytest.mark.slow
@pytest.mark.xdist_group("training")
def test_the_demo_survives_a_killed_worker_and_a_killed_demo(tiny):
    first = tiny.popen("demo", "--n", "4", "--jobs", "2")
    os.kill(wait_for(lambda: busy_workers(tiny.folder))[0], signal.SIGKILL)
    time.sleep(1)
    first.send_signal(signal.SIGKILL)
    first.wait()
    before = rows(tiny.folder, "select network, error_last from runs where state = 'done'")
    assert before

    out = tiny("demo", "--n", "4", "--jobs", "2")
    assert "Wrote demo/edf.png" in out
    after = rows(tiny.folder, "select network, error_last from runs where state = 'done'")
    assert set(before) <= set(after)
    assert len(after) == len({digest for digest, _ in after}) == 12
    finished = "select count(*) from runs where state in ('done', 'diverged')"
    assert rows(tiny.folder, finished) == [(12,)]
    picture = (tiny.folder / "demo" / "edf.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) > 10_000

    start = time.monotonic()
    assert "0 queued, 4 already known" in tiny("demo", "--n", "4", "--jobs", "2")
    assert time.monotonic() - start < 20


@pytest.mark.xdist_group("training")
def test_two_spaces_are_trained_compared_and_drawn(tiny):
    tiny.environment["DSD_REGIME"] = "fashion"
    for space in ("anynetx_d", "anynetx_e"):
        tiny("sample", space, "--n", "2")
    out = tiny("worker", "--cpu", "--exit-when-empty", "--space", "anynetx_d")
    assert "2 networks trained" in out
    assert tiny.states() == {"anynetx_d": {"done": 2}, "anynetx_e": {"queued": 2}}
    tiny("worker", "--cpu", "--max-runs", "1")
    tiny("edf", "anynetx_d", "anynetx_e")
    assert "1 of 2 networks of anynetx_e are unfinished" in tiny.stderr
    tiny("worker", "--cpu", "--exit-when-empty")

    assert "edf-anynetx_d-anynetx_e.png" in tiny("edf", "anynetx_d", "anynetx_e", "--plot")
    assert (tiny.folder / "edf-anynetx_d-anynetx_e.png").stat().st_size > 10_000
    study = json.loads(tiny("edf", "anynetx_d", "anynetx_e", "--json"))
    for one in study["populations"]:
        low, high = one["mean_interval"]
        assert low <= one["mean"] <= high
        assert (one["n"], one["unfinished"], one["failed"]) == (2, 0, 0)
    (pair,) = study["comparisons"]
    assert (pair["a"], pair["b"]) == ("anynetx_d", "anynetx_e")
    assert 0 <= pair["p_value"] <= 1
    table = tiny("edf", "anynetx_d", "anynetx_e", "--csv").splitlines()
    assert len(table) == 3
    assert "mean_interval_low" in table[0]
    assert "end it so" in tiny.fails("edf", "anynetx_d", "--plot", "figure.gif", code=2)
    tiny("sample", "anynetx_d", "--n", "2", "--regime", "cifar10")
    mixed = tiny.fails("edf", "anynetx_d", "anynetx_d@cifar10", code=1)
    assert "cifar10; fashion" in mixed


@pytest.mark.xdist_group("training")
def test_ctrl_c_gives_the_network_back(tiny):
    tiny.environment["DSD_REGIME"] = "fashion"
    tiny("sample", "anynetx_d", "--n", "40")
    worker = tiny.popen("worker", "--cpu")
    wait_for(lambda: tiny.states()["anynetx_d"].get("done"))
    worker.send_signal(signal.SIGINT)
    worker.communicate(timeout=30)
    assert worker.returncode == 130
    states = tiny.states()["anynetx_d"]
    assert states.get("running", 0) == 0
    assert states["done"] + states["queued"] == 40


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_worker_trains_on_while_its_server_is_away(tiny):
    """PostgreSQL is killed in mid-training and comes back: nothing is lost or trained twice."""
    from tests.store.server import NoServer, running_server

    tiny.environment["DSD_REGIME"] = "fashion"
    with tempfile.TemporaryDirectory(prefix="dsd-pg-", dir="/tmp") as folder:
        try:
            with running_server(folder, options="") as server:
                server.command("CREATE DATABASE lab")
                tiny.environment["DSD_DB"] = server.url("lab")
                tiny("sample", "anynetx_a", "--n", "6")
                worker = tiny.popen("worker", "--cpu", "--exit-when-empty")
                while tiny.states()["anynetx_a"].get("done", 0) < 2:
                    assert worker.poll() is None
                server.kill()
                time.sleep(3)
                server.start()
                out, err = worker.communicate(timeout=200)
                assert worker.returncode == 0, (out, err)
                assert tiny.states() == {"anynetx_a": {"done": 6}}
                rows = json.loads(tiny("runs", "--json"))
                assert [row["attempts"] for row in rows] == [1] * 6
                assert "broken" not in tiny("db", "check")
        except NoServer as error:
            pytest.skip(str(error))


@pytest.mark.slow
def test_one_command_trains_all_that_is_queued(tiny):
    tiny.environment["DSD_REGIME"] = "fashion"
    tiny("sample", "anynetx_a", "--n", "2")
    tiny("sample", "anynetx_d", "--n", "2")
    assert "--gpus all" in tiny.fails("launch", "local", code=2)
    tiny("launch", "local", "--cpu", "--slots", "2", "--space", "anynetx_d")
    assert tiny.states() == {"anynetx_a": {"queued": 2}, "anynetx_d": {"done": 2}}
    launched = tiny.popen("launch", "local", "--cpu", "--slots", "1")
    while (tiny.folder / "dsd-workers.log").read_text().count("Training on") != 3:
        time.sleep(0.05)
    launched.send_signal(signal.SIGINT)
    launched.communicate(timeout=60)
    assert launched.returncode == 130
    left = tiny.states()["anynetx_a"]
    assert set(left) <= {"queued", "done"}, "a worker that was stopped gave its network back"
    tiny("launch", "local", "--cpu", "--slots", "1")
    assert tiny.states()["anynetx_a"] == {"done": 2}
    assert "Nothing is queued" in tiny("launch", "local", "--cpu")
