"""Real processes: many at once, killed ones, forked ones."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, update

from dsd.store import process, queue
from dsd.store.engine import Store, open_store, reading, writing
from dsd.store.populations import save_sample
from dsd.store.results import frame, status
from dsd.store.schema import Run, Worker

WORK = """
import json, sys
from dsd.store import queue
from dsd.store.engine import open_store
store = open_store(sys.argv[1])
owner, done = queue.register_worker(store, "cpu"), []
while held := queue.claim(store, owner):
    assert queue.finish(store, held, error_last=held.run_id / 10, error_lowest=0.0)
    done.append([held.run_id, held.attempt])
print(json.dumps(done))
"""

HOLD = """
import sys, time
from dsd.store import queue
from dsd.store.engine import open_store
store = open_store(sys.argv[1])
held = queue.claim(store, queue.register_worker(store, "cpu"), lease_s=3600)
print(held.run_id, flush=True)
time.sleep(60)
"""

CREATE = """
import sys
from dsd.store.engine import open_store
from dsd.store import queue
print("ready", flush=True)
sys.stdin.readline()
print(queue.register_worker(open_store(sys.argv[1]), "cpu"))
"""


def start(program: str, *given: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", program, *given]
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    return subprocess.Popen(command, text=True, **pipes)


def output(running: subprocess.Popen[str]) -> str:
    out, err = running.communicate(timeout=60)
    assert running.returncode == 0, err
    return out


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("runs_in_all", "count"), [(300, 4), pytest.param(2000, 8, marks=pytest.mark.slow)]
)
def test_processes_hand_out_each_run_once(
    store: Store, url: str, draw: Any, runs_in_all: int, count: int
) -> None:
    save_sample(store, draw(runs_in_all))
    workers = [start(WORK, url) for _ in range(count)]
    done = [json.loads(output(worker)) for worker in workers]
    runs = [run for one in done for run in one]
    assert len(runs) == runs_in_all
    assert {tuple(run) for run in runs} == {(i, 1) for i in range(1, runs_in_all + 1)}
    assert sum(bool(one) for one in done) > 1, "more than one of them worked"
    assert set(frame(store)["state"]) == {"done"}


@pytest.mark.timeout(120)
def test_a_killed_process_gives_back_what_it_held(store: Store, url: str, draw: Any) -> None:
    save_sample(store, draw(2))
    mine = queue.register_worker(store, "cpu")
    held = queue.claim(store, mine, lease_s=3600)
    victim = start(HOLD, url)
    assert victim.stdout is not None
    run = int(victim.stdout.readline())
    assert queue.rescue_dead(store) == 0, "both live"
    assert queue.claim(store, mine) is None
    victim.kill()
    os.waitid(os.P_PID, victim.pid, os.WEXITED | os.WNOWAIT)  # dead, but still a zombie
    assert queue.rescue_dead(store) == 1
    assert queue.rescue_dead(store) == 0
    victim.communicate()
    taken = queue.claim(store, mine)
    assert taken is not None
    assert held is not None
    assert (taken.run_id, taken.attempt) == (run, 2)
    assert held.run_id != run
    assert [worker.owner for worker in status(store).workers] == [mine]


def test_a_run_whose_worker_dies_each_time_ends_as_failed(
    store: Store, url: str, draw: Any
) -> None:
    save_sample(store, draw(1))
    for rescued in (1, 2):
        victim = start(HOLD, url)
        assert victim.stdout is not None
        assert victim.stdout.readline()
        victim.kill()
        victim.communicate()
        assert queue.rescue_dead(store, max_attempts=2) == 1, rescued
    assert queue.pending(store) == 0
    (row,) = frame(store).to_dict("records")
    assert row["state"] == "failed"
    assert "Gave up after attempt 2" in row["message"]


def test_other_machines_and_earlier_boots_are_left_to_their_leases(store: Store, draw: Any) -> None:
    save_sample(store, draw(1))
    owner = queue.register_worker(store, "cpu")
    assert queue.claim(store, owner)
    for elsewhere in ({"host": "elsewhere"}, {"boot": "earlier"}):
        with writing(store) as connection:
            gone = {"host": process.host(), "boot": process.boot(), "process_start": "0"}
            connection.execute(update(Worker).values({**gone, **elsewhere}))
        assert queue.rescue_dead(store) == 0
    with writing(store) as connection:
        connection.execute(update(Worker).values(boot=process.boot()))
    assert queue.rescue_dead(store) == 1, "the same pid, started at another time"


@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_processes_create_the_database_at_once(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    server = kind == "postgresql"
    url = request.getfixturevalue("empty_postgresql_url") if server else str(tmp_path / "new.db")
    count = 4 if server else 8
    creators = [start(CREATE, url) for _ in range(count)]
    assert all(one.stdout and one.stdout.readline() == "ready\n" for one in creators)
    for one in creators:
        assert one.stdin
        one.stdin.write("go\n")
        one.stdin.flush()
    assert len({output(one) for one in creators}) == count
    store = open_store(url, write=False)
    with reading(store) as connection:
        assert connection.execute(select(func.count()).select_from(Worker)).scalar_one() == count
    assert [path.name for path in tmp_path.iterdir()] == ([] if server else ["new.db"])
    store.close()


def test_a_forked_child_opens_connections_of_its_own(store: Store, draw: Any) -> None:
    save_sample(store, draw(2))
    owner = queue.register_worker(store, "cpu")
    with writing(store) as connection:
        parents = connection.connection.dbapi_connection
    child = os.fork()
    if child == 0:
        with writing(store) as connection:
            own = connection.connection.dbapi_connection is not parents
        os._exit(0 if own and queue.claim(store, owner) else 1)
    assert os.waitpid(child, 0)[1] == 0
    with writing(store) as connection:
        assert connection.connection.dbapi_connection is parents
    assert queue.claim(store, owner) is not None
    with reading(store) as connection:
        assert connection.execute(select(func.sum(Run.attempts))).scalar_one() == 2


@pytest.mark.timeout(60)
def test_a_writer_killed_in_mid_transaction_leaves_no_trace(sqlite_url: str, draw: Any) -> None:
    store = open_store(sqlite_url)
    save_sample(store, draw(5))
    program = """
import os, signal, sys
from sqlalchemy import text
from dsd.store.engine import open_store, writing
with writing(open_store(sys.argv[1])) as connection:
    connection.exec_driver_sql("PRAGMA cache_size = 1")  # so that the file itself changes
    connection.execute(text("UPDATE runs SET attempts = 9, message = hex(zeroblob(100000))"))
    os.kill(os.getpid(), signal.SIGKILL)
"""
    victim = start(program, sqlite_url)
    victim.communicate(timeout=30)
    assert victim.returncode == -signal.SIGKILL
    assert Path(f"{sqlite_url}-journal").stat().st_size > 0, "a hot journal is there"
    reader = open_store(sqlite_url, write=False)
    assert list(frame(reader)["attempts"]) == [0] * 5
    with reading(reader) as connection:
        assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"


def test_process_start_tells_the_living_from_the_dead() -> None:
    assert process.process_start(os.getpid())
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    child.wait()
    assert process.process_start(child.pid) is None
