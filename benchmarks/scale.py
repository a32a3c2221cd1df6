"""How many workers one PostgreSQL carries: real claims, beats, epochs, finishes; no training.

    python benchmarks/scale.py                              # 1,000 and 10,000 workers
    python benchmarks/scale.py --workers 1000 --seconds 300 --epoch 60
    python benchmarks/scale.py --through pgbouncer          # behind PgBouncer in transaction mode

A server of its own (fsync on, its defaults otherwise) and a few processes of this machine, which
play the workers: each worker's next word is an event with a time; when it is due a thread says it
through the functions that `dsd worker` calls. In between, where a worker would train, nothing
happens. At the start all of them hold a network, each at a random point of its training; their
registration is one bulk statement and not measured. The generator shares the cores with the server:
"behind" says how late words were said (99th percentile); where that grows the machine was too small
to play so many, whatever the server could do.

--scale S lets S seconds of the fleet pass in one: so many words a second as S times the workers.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).parent.parent)  # not this folder, whose queue.py is another one

import argparse
import heapq
import multiprocessing
import os
import random
import tempfile
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import psutil
import torch
from sqlalchemy import text

import dsd
from dsd.regime import Regime
from dsd.store import queue
from dsd.store.claims import Claim
from dsd.store.engine import Store, open_store, reading, writing
from dsd.store.schema import Base
from dsd.train.data import load
from dsd.train.source import Source
from tests.store.server import Server, pgbouncer, running_server

LEASE_S = 60.0
CLAIM_S, BEHIND_S = 0.25, 1.0  # 99th percentiles of a fleet that is carried
EARLY_S = 5.0  # between the last process's start and the first event


@dataclass(frozen=True)
class Fleet:
    """So many workers; an epoch takes `epoch_s`, a network `epochs` of them; a beat each lease/3.

    `scale` seconds of theirs pass in one second.
    """

    workers: int
    epoch_s: float
    epochs: int
    scale: float = 1.0
    beat_s: float = LEASE_S / 3

    @property
    def pace(self) -> float:
        """Seconds of the clock that an epoch takes."""
        return self.epoch_s / self.scale

    @property
    def words_per_s(self) -> float:
        """Transactions that write, a second of the clock: what they say by arithmetic."""
        run = self.epoch_s * self.epochs
        return self.workers * self.scale * (2 / run + 1 / self.epoch_s + 1 / self.beat_s)


@dataclass
class Told:
    """Seconds that each word took, by its kind, and how late it was said."""

    took: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    late: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


class Play:
    """The workers of one process: events in a heap, threads that say them when they are due."""

    def __init__(
        self, store: Store, fleet: Fleet, claims: list[Claim], start: float, end: float
    ) -> None:
        self.store, self.fleet, self.end = store, fleet, end
        self.source = Source(store, Path("."), None, lambda line: None)
        regime = Regime.from_text(claims[0].regime_text, claims[0].regime_name)
        self.images = load(regime, Path("."), torch.device("cpu")).fingerprint
        self.told, self.lock, self.events = Told(), threading.Condition(), []
        self.rng = random.Random(claims[0].run_id)
        self.holds: dict[int, int] = {}
        for number, claim in enumerate(claims):
            done = self.rng.random() * fleet.epochs
            self.begin(number, claim, start, done)

    def begin(self, number: int, claim: Claim, now: float, done: float) -> None:
        """A worker takes up a network of which `done` epochs are behind it."""
        fleet = self.fleet
        self.holds[number] = claim.run_id
        beat = fleet.beat_s / fleet.scale
        self.add(now + (self.rng.random() if done else 1.0) * beat, "beat", number, claim, 0)
        epoch = int(done) + 1
        self.add(now + (epoch - done) * fleet.pace, "epoch", number, claim, epoch)

    def follow(self, due: float, kind: str, number: int, claim: Claim, epoch: int, to: Any) -> None:
        """What comes next, as in a worker: a beat whenever it is time, all else in turn."""
        if kind == "beat" and self.holds[number] == claim.run_id:
            self.add(due + self.fleet.beat_s / self.fleet.scale, "beat", number, claim, 0)
        elif kind == "epoch" and epoch < self.fleet.epochs:
            self.add(due + self.fleet.pace, "epoch", number, claim, epoch + 1)
        elif kind == "epoch":
            self.holds[number] = 0
            self.add(time.time(), "finish", number, claim, 0)
        elif kind == "finish":
            self.add(time.time(), "claim", number, claim, 0)
        elif kind == "claim" and to:
            self.begin(number, to, time.time(), 0.0)

    def add(self, due: float, kind: str, number: int, claim: Claim, epoch: int) -> None:
        if due < self.end:
            heapq.heappush(self.events, (due, self.rng.random(), kind, number, claim, epoch))

    def run(self, threads: int) -> Told:
        crew = [threading.Thread(target=self.say_all) for _ in range(threads)]
        for thread in crew:
            thread.start()
        for thread in crew:
            thread.join()
        return self.told

    def say_all(self) -> None:
        while True:
            with self.lock:
                if not self.events or self.events[0][0] >= self.end:
                    return
                wait = self.events[0][0] - time.time()
                if wait > 0:
                    self.lock.wait(min(wait, 0.05))
                    continue
                due, _, kind, number, claim, epoch = heapq.heappop(self.events)
            self.say(due, kind, number, claim, epoch)

    def say(self, due: float, kind: str, number: int, claim: Claim, epoch: int) -> None:
        begin = time.perf_counter()
        late = time.time() - due
        try:
            answer = self.word(kind, claim, epoch)
        except Exception as error:
            answer = None
            self.told.failed.append(f"{kind}: {error}")
        took = time.perf_counter() - begin
        with self.lock:
            self.told.took[kind].append(took)
            self.told.late.append(late)
            if not answer and (kind != "beat" or self.holds[number] == claim.run_id):
                self.told.failed.append(f"{kind} of run {claim.run_id} was answered {answer}")
            self.follow(due, kind, number, claim, epoch, answer)
            self.lock.notify()

    def word(self, kind: str, claim: Claim, epoch: int) -> Any:
        if kind == "claim":
            return self.source.claim(claim.owner, LEASE_S, 3)
        if kind == "beat":
            return queue.beat(self.store, claim, LEASE_S)
        if kind == "epoch":
            seen = {"epoch": epoch, "train_loss": 2.5, "train_error": 55.5,
                    "test_error": 50.0 - epoch, "test_error5": 25.0,
                    "seconds": self.fleet.epoch_s, "images_per_s": 1059.0,
                    "lr": 0.05, "peak_memory": 3e9}  # fmt: skip
            return queue.record_epoch(self.store, claim, seen)
        origin = {"dsd": dsd.__version__, "commit": "0" * 40, "torch": "2.14.1", "cuda": "13.0",
                  "device": "GPU 0 (Tesla V100-SXM2-16GB)", "host": "node-0001", "pid": "12345",
                  "dataset": self.images, "precision": "fp32", "seed": claim.run_id}  # fmt: skip
        return queue.finish(
            self.store, claim, error_last=45.0, error_lowest=44.5, provenance=origin
        )


def played(url: str, pooled: bool, fleet: Fleet, claims: list[Claim], start: float, end: float,
           threads: int, answers: Any) -> None:  # fmt: skip
    """One process of the generator."""
    store = open_store(url, pooled=pooled)
    with reading(store), writing(store):
        pass  # what a worker pays once is not measured
    answers.put(Play(store, fleet, claims, start, end).run(threads))
    store.close()


def fill(store: Store, url: str, networks: int) -> None:
    """An empty database with one population of so many networks."""
    with writing(store) as connection:
        for table in reversed(Base.metadata.sorted_tables):
            connection.execute(table.delete())
    lab = dsd.open(url, regime="fashion")
    lab.sample("anynetx_a", networks)
    lab.store.close()
    lab.reader.close()
    with store.write.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))


def hand_out(store: Store, workers: int) -> list[Claim]:
    """So many registered workers, each with a claim, in two statements."""
    like = queue.register_worker(store, "GPU 0 (Tesla V100-SXM2-16GB)")
    first = queue.claim(store, like)
    assert first is not None
    register = (
        "INSERT INTO workers SELECT owner || '-' || n, host, boot, 0, '', device, versions, "
        "started, heartbeat, stopped, images_per_s FROM workers, generate_series(1, :n) AS n"
    )
    claim = (
        "WITH taken AS (SELECT id, row_number() OVER (ORDER BY id) AS n FROM runs "
        "WHERE state = 'queued' ORDER BY id LIMIT :n) UPDATE runs SET state = 'running', "
        "owner = :owner || '-' || taken.n, attempts = 1, "
        "started = extract(epoch FROM now()), lease_until = extract(epoch FROM now()) + 60 "
        "FROM taken WHERE taken.id = runs.id RETURNING runs.id, runs.owner, runs.network"
    )
    with writing(store) as connection:
        connection.execute(text(register), {"n": workers})
        rows = connection.execute(text(claim), {"n": workers, "owner": like}).all()
    told = (first.arch_text, first.regime_name, first.regime_text, first.seed, "a network")
    return [Claim(row.id, 1, row.owner, row.network, *told) for row in rows]


class Watch:
    """What the server does meanwhile: CPU seconds of all its processes, commits, connections."""

    def __init__(self, server: Server, name: str) -> None:
        self.server, self.name = server, name
        pid = int(Path(f"{server.folder}/data/postmaster.pid").read_text().split()[0])
        self.postmaster = psutil.Process(pid)
        self.connections: list[int] = []
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.count)

    def __enter__(self) -> Watch:
        self.before = (time.perf_counter(), self.cpu(), self.commits())
        self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.over.set()
        self.thread.join()
        after = (time.perf_counter(), self.cpu(), self.commits())
        self.seconds, self.cpu_s, self.committed = (
            b - a for a, b in zip(self.before, after, strict=True)
        )

    def cpu(self) -> float:
        """CPU seconds of the living processes and of the backends that have ended."""
        total = 0.0
        for process in [self.postmaster, *self.postmaster.children()]:
            with_ended = process == self.postmaster
            try:
                used = process.cpu_times()
            except psutil.NoSuchProcess:
                continue
            total += used.user + used.system
            total += (used.children_user + used.children_system) if with_ended else 0.0
        return total

    def commits(self) -> int:
        return int(self.ask("SELECT xact_commit FROM pg_stat_database WHERE datname = %s"))

    def count(self) -> None:
        query = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()"
        )
        while not self.over.wait(0.5):
            self.connections.append(int(self.ask(query)))

    def ask(self, query: str) -> Any:
        import psycopg

        with psycopg.connect(f"host={self.server.folder} user=dsd dbname=postgres") as connection:
            return connection.execute(query, (self.name,)).fetchone()[0]  # type: ignore[arg-type,index]


def measure(server: Server, url: str, fleet: Fleet, given: argparse.Namespace) -> bool:
    """Play one fleet and print what it cost; whether it was carried."""
    direct = open_store(server.url("scale"))
    run_s = fleet.epoch_s * fleet.epochs
    needed = fleet.workers * (1.5 + 1.2 * given.seconds * fleet.scale / run_s)
    fill(direct, server.url("scale"), int(needed) + 100)
    claims = hand_out(direct, fleet.workers)
    answers: Any = multiprocessing.Queue()
    start = time.time() + EARLY_S + 3.0 * given.processes
    spread = [claims[i :: given.processes] for i in range(given.processes)]
    when = (start, start + given.seconds)
    told_to = [(url, given.pooled, fleet, part, *when, given.threads, answers) for part in spread]
    crew = [multiprocessing.Process(target=played, args=one) for one in told_to]
    for process in crew:
        process.start()
    time.sleep(max(0.0, start - time.time()))
    with Watch(server, "scale") as watch:
        told = [answers.get() for _ in crew]
    for process in crew:
        process.join()
    direct.close()
    return report(fleet, told, watch)


def report(fleet: Fleet, told: list[Told], watch: Watch) -> bool:
    took = {k: np.concatenate([one.took[k] for one in told if one.took[k]]) for k in
            ("claim", "beat", "epoch", "finish") if any(one.took[k] for one in told)}  # fmt: skip
    said = sum(map(len, took.values()))
    behind = float(np.percentile(np.concatenate([one.late for one in told]), 99))
    failed = [line for one in told for line in one.failed]
    share = watch.cpu_s / watch.seconds
    print(f"{fleet.workers:,} workers, epochs of {fleet.epoch_s:g} s, {fleet.epochs} a network, "
          f"beats every {fleet.beat_s:g} s, time scale {fleet.scale:g}, "
          f"{watch.seconds:.0f} s of the clock")  # fmt: skip
    print(f"  words {said / watch.seconds:,.1f}/s (arithmetic: {fleet.words_per_s:,.1f}); "
          f"transactions {watch.committed / watch.seconds:,.1f}/s; server {share:.2f} cores, "
          f"{1000 * watch.cpu_s / max(said, 1):.2f} ms a word; connections "
          f"{np.mean(watch.connections):.1f}, at most {max(watch.connections)}; "
          f"behind {1000 * behind:.0f} ms; {len(failed)} failed")  # fmt: skip
    for kind, values in took.items():
        cut = " ".join(f"{1000 * q:>8.1f}" for q in np.percentile(values, [50, 95, 99, 100]))
        print(f"  {kind:<8}{len(values):>8}   ms, 50 95 99% max:{cut}", flush=True)
    for line in sorted(set(failed))[:3]:
        print(f"  {line[:150]}")
    quick = float(np.percentile(took["claim"], 99)) < CLAIM_S if "claim" in took else False
    carried = quick and not failed and behind < BEHIND_S
    verdict = "carried" if carried else "NOT carried"
    if behind >= BEHIND_S:
        verdict = "not shown: the generator fell behind"
    one = fleet.words_per_s / fleet.workers / fleet.scale
    most = 0.7 / share * said / watch.seconds / one
    print(f"  {verdict}; at this cost a word 70% of one core serves {most:,.0f} such workers")
    return carried


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--workers", type=int, nargs="+", default=[1000, 10000])
    options.add_argument("--epoch", type=float, default=360.0, help="seconds of an epoch")
    options.add_argument("--epochs", type=int, default=10, help="epochs of a network")
    options.add_argument("--scale", type=float, default=1.0)
    options.add_argument("--seconds", type=float, default=120.0)
    options.add_argument("--processes", type=int, default=3)
    options.add_argument("--threads", type=int, default=6)
    options.add_argument("--through", choices=["direct", "pgbouncer"], default="direct")
    options.add_argument("--pooled", action="store_true", help="keep connections open")
    given = options.parse_args()
    print(f"{os.cpu_count()} cores, load before {os.getloadavg()[0]:.1f}; {given.through}, "
          f"{'pooled' if given.pooled else 'a connection a transaction'}")  # fmt: skip
    with (
        tempfile.TemporaryDirectory(prefix="dsd-scale-", dir="/var/tmp") as folder,
        running_server(folder, options="") as server,
    ):
        server.command("CREATE DATABASE scale")
        carried = []
        for workers in given.workers:
            fleet = Fleet(workers, given.epoch, given.epochs, given.scale)
            if given.through == "direct":
                carried += [workers] * measure(server, server.url("scale"), fleet, given)
            else:
                with pgbouncer(server, "scale") as url:
                    carried += [workers] * measure(server, url, fleet, given)
        print(f"largest fleet carried: {max(carried, default=0):,} workers "
              f"(as {max(carried, default=0) * given.scale:,.0f} unscaled)")  # fmt: skip


if __name__ == "__main__":
    main()
