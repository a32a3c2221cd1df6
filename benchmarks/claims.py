"""The queue and the readers: claims a second with many processes, and commands on a large database.

    python benchmarks/claims.py                  # PostgreSQL, too, where DSD_BENCH_PG is a URL
    python benchmarks/claims.py --runs 500 --skip-large

A claim and its finish are the whole work of a process here; a worker does one of each in minutes.
The large database has 100,000 networks in two populations and 1,000,000 epochs.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from sqlalchemy import text

import dsd
from dsd.store import queue
from dsd.store.connect import journal_mode
from dsd.store.engine import Store, open_store, writing
from dsd.store.results import frame
from dsd.store.schema import Base


def work(url: str, start: float, lease_s: float, done: multiprocessing.Queue) -> None:
    """Claim and finish until nothing is left."""
    store = open_store(url)
    owner = queue.register_worker(store, "benchmark")
    time.sleep(max(0.0, start - time.time()))
    first = time.perf_counter()
    taken = 0
    while held := queue.claim(store, owner, lease_s=lease_s):
        assert queue.finish(store, held, error_last=50.0, error_lowest=50.0)
        taken += 1
    done.put((taken, first, time.perf_counter()))


def claims(url: str, processes: int, runs: int) -> float:
    """Claims and finishes a second of so many processes together."""
    store = open_store(url)
    empty(store)
    fill(store, url, runs)
    done: multiprocessing.Queue = multiprocessing.Queue()
    start = time.time() + 3.0 + processes / 8
    crew = [
        multiprocessing.Process(target=work, args=(url, start, 60.0, done))
        for _ in range(processes)
    ]
    for process in crew:
        process.start()
    told = [done.get() for _ in crew]
    for process in crew:
        process.join()
    table = frame(store)
    assert sum(taken for taken, _, _ in told) == runs == int((table["state"] == "done").sum())
    assert (table["attempts"] == 1).all(), "a run was handed out twice"
    store.close()
    return runs / (max(end for _, _, end in told) - min(begin for _, begin, _ in told))


def empty(store: Store) -> None:
    with writing(store) as connection:
        for table in reversed(Base.metadata.sorted_tables):
            connection.execute(table.delete())


def fill(store: Store, url: str, runs: int) -> None:
    lab = dsd.open(url, regime="imagenet_400mf")
    lab.keep(lab.draw("anynetx_a", runs))
    lab.store.close()
    lab.reader.close()


def large(url: str, networks: int = 100_000) -> None:
    """Two populations of finished networks, ten epochs each."""
    for space in ("anynetx_d", "anynetx_e"):
        lab = dsd.open(url, regime="imagenet_400mf")
        lab.keep(lab.draw(space, networks // 2))
    done = (
        "UPDATE runs SET state = 'done', owner = :owner, attempts = 1, started = 0, finished = id, "
        "seconds = 100, error_last = 30 + (id * 7919 % 100003) / 5000.0, "
        "error_lowest = 30 + (id * 7919 % 100003) / 5000.0"
    )
    numbers = " UNION ".join(f"SELECT {epoch} AS e" for epoch in range(1, 11))
    epochs = (
        "INSERT INTO epochs (run_id, attempt, epoch, train_loss, test_error, recorded) "
        f"SELECT id, 1, e, 1.0, error_last, 0 FROM runs, ({numbers}) AS numbers"
    )
    owner = queue.register_worker(lab.store, "benchmark")
    with writing(lab.store) as connection:
        connection.execute(text(done), {"owner": owner})
        connection.execute(text(epochs))
    lab.store.close()


def command(*arguments: str) -> float:
    """Seconds of a whole `dsd` process."""
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-m", "dsd", *arguments], check=True, capture_output=True)
    return time.perf_counter() - begin


def said(name: str, values: list[float], unit: str) -> None:
    low, middle, high = min(values), statistics.median(values), max(values)
    print(f"  {name:<42}{low:>10,.2f}{middle:>10,.2f}{high:>10,.2f}  {unit}", flush=True)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--runs", type=int, default=2000)
    options.add_argument("--repeats", type=int, default=3)
    options.add_argument("--processes", type=int, nargs="+", default=[1, 8, 32])
    options.add_argument("--skip-large", action="store_true")
    given = options.parse_args()
    import sqlite3

    journal = journal_mode(sqlite3.sqlite_version_info)
    print(f"SQLite {sqlite3.sqlite_version}, journal {journal}; {os.cpu_count()} cores")
    print(f"  {'':<42}{'min':>10}{'median':>10}{'max':>10}")
    with tempfile.TemporaryDirectory(dir=".") as folder:
        urls = {
            "SQLite": str(Path(folder) / "dsd.db"),
            "PostgreSQL": os.environ.get("DSD_BENCH_PG"),
        }
        for system, url in urls.items():
            for processes in given.processes if url else ():
                speeds = [claims(str(url), processes, given.runs) for _ in range(given.repeats)]
                said(f"{system}, {processes} processes", speeds, "claim + finish a second")
        if given.skip_large:
            return
        path = str(Path(folder) / "large.db")
        large(path)
        regime = ("--db", path, "--regime", "imagenet_400mf")
        for arguments in (("status",), ("edf", "anynetx_d"), ("edf", "anynetx_d", "anynetx_e")):
            times = [command(*regime, *arguments) for _ in range(given.repeats + 2)]
            said(f"dsd {' '.join(arguments)}, 100,000 networks", times, "s, whole process")


if __name__ == "__main__":
    main()
