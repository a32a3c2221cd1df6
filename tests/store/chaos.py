"""What goes wrong on real machines, done to real processes that use the real queue.

Each case fills a database, lets worker processes train (waiting stands for training), harms them or
the database, and counts what became of every run. `benchmarks/queue_chaos.py` runs them many times.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from dsd.store.engine import Store, open_store, reading
from dsd.store.integrity import check
from dsd.store.populations import save_sample
from dsd.store.schema import LateResult, Run
from tests.store.conftest import make_sample
from tests.store.server import Server, running_server

WORKER = """
import json, random, sys, time
from sqlalchemy import func, select
from dsd.store import queue
from dsd.store.engine import open_store, reading
from dsd.store.schema import Run
from dsd.train.heartbeat import heartbeat
from dsd.train.patience import patiently
from dsd.train.stop import stop_on_signals

url, lease, total, pace = sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])

def known():
    with reading(store) as connection:
        return connection.execute(select(func.count()).select_from(Run)).scalar_one()

def train(held, lost):
    for epoch in (1, 2, 3):
        time.sleep(random.uniform(0, pace))
        if stop.is_set():
            queue.release(store, held)
            return False
        told = {"epoch": epoch, "test_error": 50.0 - epoch}
        if lost.is_set() or not patiently(lambda: queue.record_epoch(store, held, told)):
            return False
    result = {"error_last": held.run_id / 1000, "error_lowest": 0.0}
    return patiently(lambda: queue.finish(store, held, **result))

with stop_on_signals() as stop:
    store = patiently(lambda: open_store(url))
    owner = patiently(lambda: queue.register_worker(store, "chaos"))
    while not stop.is_set():
        held = patiently(lambda: queue.claim(store, owner, lease_s=lease, max_attempts=10**6))
        if held is None:
            if patiently(known) >= total and patiently(lambda: queue.pending(store)) == 0:
                break
            time.sleep(0.05)
            continue
        with heartbeat(lambda: queue.beat(store, held, lease), lease / 3) as lost:
            if train(held, lost):
                print(json.dumps([held.run_id, held.attempt]), flush=True)
"""
LEASE_S = 2.0


@dataclass(frozen=True)
class Counts:
    """What became of the runs; `lost` and `twice` are to be 0, `whole` true."""

    runs: int
    handed_out: int
    finished: int
    late: int
    lost: int
    twice: int
    whole: bool


class Crew:
    """Worker processes; what each accepted is read from its output in the end."""

    def __init__(self, url: str, total: int, pace: float = 0.03, lease_s: float = LEASE_S) -> None:
        self.given = [url, str(lease_s), str(total), str(pace)]
        self.logs = tempfile.TemporaryDirectory(prefix="dsd-chaos-")
        self.workers: list[subprocess.Popen[bytes]] = []
        self.started = 0

    def start(self, count: int, *before: str) -> None:
        """More workers, each under the command `before` if there is one."""
        for _ in range(count):
            self.started += 1
            log = Path(self.logs.name) / f"{self.started}.log"
            with log.open("wb") as out, log.with_suffix(".err").open("wb") as error:
                command = [*before, sys.executable, "-c", WORKER, *self.given]
                self.workers.append(subprocess.Popen(command, stdout=out, stderr=error))

    def living(self) -> list[subprocess.Popen[bytes]]:
        return [worker for worker in self.workers if worker.poll() is None]

    def wait(self, seconds: float = 120.0) -> None:
        """Until all have left. Raises TimeoutError, after killing them."""
        end = time.monotonic() + seconds
        while self.living() and time.monotonic() < end:
            time.sleep(0.02)
        late = self.living()
        for worker in late:
            worker.kill()
        if late:
            raise TimeoutError(f"{len(late)} workers did not end; the last said: {self.errors()}")

    def errors(self) -> str:
        said = [path.read_text()[-500:] for path in Path(self.logs.name).glob("*.err")]
        return " | ".join(text for text in said if text)

    def accepted(self) -> list[int]:
        """Ids of the runs whose finish some worker was told to be accepted."""
        texts = [path.read_text() for path in Path(self.logs.name).glob("*.log")]
        return [json.loads(line)[0] for text in texts for line in text.splitlines() if line]


def fill(url: str, runs: int) -> Store:
    store = open_store(url)
    save_sample(store, make_sample(runs))
    return store


def count(store: Store, crew: Crew) -> Counts:
    with reading(store) as connection:
        runs = connection.execute(select(Run.id, Run.state, Run.attempts)).all()
        late = connection.execute(select(func.count()).select_from(LateResult)).scalar_one()
    told = crew.accepted()
    finished = sum(run.state == "done" for run in runs)
    return Counts(
        runs=len(runs),
        handed_out=sum(run.attempts for run in runs),
        finished=finished,
        late=late,
        lost=len(runs) - finished,
        twice=len(told) - len(set(told)),
        whole=not [wrong for _, wrong in check(store) if wrong],
    )


def wait_until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("waited in vain")
        time.sleep(0.02)


def some_done(store: Store, least: int) -> Callable[[], bool]:
    def looked() -> bool:
        with reading(store) as connection:
            done = select(func.count()).where(Run.state == "done")
            return bool(connection.execute(done).scalar_one() >= least)

    return looked


def start_at_once(url: str, rng: random.Random) -> Counts:
    """32 workers start on a database that none of them finds: one of them makes it."""
    crew = Crew(url, 64)
    crew.start(32)
    time.sleep(rng.uniform(0, 2))
    store = fill(url, 64)
    crew.wait()
    return count(store, crew)


def _signals(url: str, rng: random.Random, number: signal.Signals) -> Counts:
    store, crew = fill(url, 60), Crew(url, 60)
    crew.start(4)
    for _ in range(5):
        time.sleep(rng.uniform(0.2, 0.8))
        victims = crew.living()
        if victims:
            rng.choice(victims).send_signal(number)
            crew.start(1)
    crew.wait()
    return count(store, crew)


def killed(url: str, rng: random.Random) -> Counts:
    """SIGKILL at random moments: a lease runs out and another takes the run."""
    return _signals(url, rng, signal.SIGKILL)


def terminated(url: str, rng: random.Random) -> Counts:
    """SIGTERM at random moments: the run is given back."""
    return _signals(url, rng, signal.SIGTERM)


def stopped(url: str, rng: random.Random) -> Counts:
    """SIGSTOP for longer than the lease: who wakes up has lost its run and is told so."""
    store, crew = fill(url, 40), Crew(url, 40, lease_s=0.6)
    crew.start(4)
    for _ in range(3):
        time.sleep(rng.uniform(0.3, 0.8))
        victims = crew.living()
        if victims:
            victim = rng.choice(victims)
            victim.send_signal(signal.SIGSTOP)
            time.sleep(1.5)
            victim.send_signal(signal.SIGCONT)
    crew.wait()
    return count(store, crew)


def readers(url: str, rng: random.Random) -> Counts:
    """Dashboards that read without a pause hold up nobody."""
    store, crew = fill(url, 60), Crew(url, 60)
    program = "import sys\nfrom dsd.store.engine import open_store\nfrom dsd.store.results import "
    program += "frame, status\nstore = open_store(sys.argv[1], write=False)\n"
    program += "while True:\n    status(store), frame(store)"
    watching = [subprocess.Popen([sys.executable, "-c", program, url]) for _ in range(2)]
    crew.start(4)
    try:
        crew.wait()
        assert all(one.poll() is None for one in watching), "a reader failed"
    finally:
        for one in watching:
            one.kill()
            one.wait()
    return count(store, crew)


def locked(url: str, rng: random.Random, seconds: float = 3.0) -> Counts:
    """Another program holds the SQLite file's lock for a while."""
    store, crew = fill(url, 40), Crew(url, 40, lease_s=5.0)
    crew.start(4)
    wait_until(some_done(store, 5))
    holder = sqlite3.connect(str(store.url.database), timeout=60, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    time.sleep(seconds)
    holder.execute("ROLLBACK")
    holder.close()
    crew.wait(120 + seconds)
    return count(store, crew)


def locked_for_a_minute(url: str, rng: random.Random) -> Counts:
    """The same for longer than SQLite waits."""
    return locked(url, rng, 65.0)


@contextlib.contextmanager
def small_disk(megabytes: int = 4) -> Iterator[Path]:
    """A file system of its own, where this user may mount one. Raises PermissionError."""
    folder = tempfile.mkdtemp(prefix="dsd-disk-")
    made = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", folder], capture_output=True
    )
    if not made or made.returncode:
        os.rmdir(folder)
        raise PermissionError("this user may not mount a small disk")
    try:
        yield Path(folder)
    finally:
        subprocess.run(["umount", "-l", folder], check=True)
        os.rmdir(folder)


def disk_full(url: str, rng: random.Random) -> Counts:
    """The disk fills while workers record, and has room again later."""
    with small_disk() as disk:
        path = str(disk / "dsd.db")
        store, crew = fill(path, 40), Crew(path, 40, lease_s=5.0)
        crew.start(4)
        wait_until(some_done(store, 5))
        ballast = disk / "ballast"
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        time.sleep(rng.uniform(1.0, 2.0))
        ballast.unlink()
        crew.wait()
        found = count(store, crew)
        store.close()
        return found


def server_crash(url: str, rng: random.Random) -> Counts:
    """PostgreSQL is killed in the middle, twice, and comes back."""
    folders = tempfile.TemporaryDirectory(prefix="dsd-pg-", dir="/tmp")
    with folders as folder, running_server(folder, options="-c max_connections=60") as server:
        server.command("CREATE DATABASE chaos")
        return _crash(server, rng)


def _crash(server: Server, rng: random.Random) -> Counts:
    store, crew = fill(server.url("chaos"), 60), Crew(server.url("chaos"), 60, 0.05, 10.0)
    crew.start(4)
    for least in (5, 15):
        wait_until(some_done(store, least))
        server.kill()
        time.sleep(rng.uniform(0.2, 1.0))
        server.start()
    crew.wait()
    return count(store, crew)


def clocks(url: str, rng: random.Random) -> Counts:
    """Machines whose clocks are an hour apart: leases go by the database's clock.

    On SQLite all workers share one machine and its clock; a process that sees another may take a
    run over early, which costs time, and its fence still lets one result in.
    """
    faketime = shutil.which("faketime")
    if faketime is None:
        raise FileNotFoundError("faketime is not installed")
    store, crew = fill(url, 40), Crew(url, 40)
    crew.start(2)
    crew.start(1, faketime, "-f", "+1h")
    crew.start(1, faketime, "-f", "-1h")
    crew.wait()
    return count(store, crew)


CASES: dict[str, Callable[[str, random.Random], Counts]] = {
    "start at once": start_at_once,
    "killed": killed,
    "terminated": terminated,
    "stopped": stopped,
    "readers": readers,
    "clocks": clocks,
}
SQLITE_ONLY: dict[str, Callable[[str, random.Random], Counts]] = {
    "disk full": disk_full,
    "locked": locked,
    "locked for a minute": locked_for_a_minute,
}
SERVER_ONLY: dict[str, Callable[[str, random.Random], Counts]] = {"server crash": server_crash}


def accounted(found: Counts) -> dict[str, Any]:
    """What must hold after every case."""
    return {"lost": found.lost, "twice": found.twice, "whole": found.whole}
