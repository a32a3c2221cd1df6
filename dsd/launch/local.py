"""Worker processes on this machine: started, watched, restarted when one dies, stopped together."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dsd.errors import DsdError
from dsd.store.engine import Store
from dsd.store.queue import pending
from dsd.store.workers import rescue_dead

MOST_DEATHS = 5
PATIENCE_S = 20.0


@dataclass
class Crew:
    """Worker processes that run `dsd worker`, one for each of `devices`, output in `log`.

    `devices` are the arguments that tell them apart, such as ("--gpu", "0"); `arguments` are the
    same for all.
    """

    arguments: Sequence[str]
    devices: Sequence[Sequence[str]]
    log: Path
    processes: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)
    deaths: int = 0

    def start(self) -> None:
        """One more worker, on a device without one. It leaves when this process is gone."""
        free = next(i for i in range(len(self.devices)) if i not in self.processes)
        command = [sys.executable, "-m", "dsd", "worker", *self.devices[free], *self.arguments]
        parent = ["--parent", str(os.getpid())]
        # One thread each: workers share the cores, so threads of one would wait for another's.
        one_thread = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        with self.log.open("ab") as log:
            self.processes[free] = subprocess.Popen(
                [*command, *parent], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, **one_thread}, start_new_session=True,
            )  # fmt: skip

    def collect(self) -> int:
        """Forget workers that have ended; how many of them died."""
        ended = {i: one for i, one in self.processes.items() if one.poll() is not None}
        self.processes = {i: one for i, one in self.processes.items() if i not in ended}
        return sum(one.returncode != 0 for one in ended.values())

    def stop(self) -> None:
        """Ask all to leave, and see that they do."""
        for process in self.processes.values():
            process.terminate()
        deadline = time.monotonic() + PATIENCE_S
        for process in self.processes.values():
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.processes.clear()


def train_all(
    store: Store, populations: Sequence[int], crew: Crew, tick: Callable[[], None]
) -> None:
    """Keep a worker on each device of the crew until no run of these populations waits.

    `tick` is called a few times a second. A worker that dies gives its network back and is
    replaced; after five deaths without a finished network between them the log's last line is
    raised as DsdError. An interrupt stops the workers before it goes on.
    """
    rescue_dead(store)
    left = pending(store, populations)
    try:
        while left:
            died = crew.collect()
            if died:
                rescue_dead(store)
            now = pending(store, populations)
            crew.deaths = 0 if now < left else crew.deaths + died
            left = now
            if crew.deaths >= MOST_DEATHS:
                raise DsdError(f"Workers keep dying; {crew.log} ends: {_last_line(crew.log)}")
            while left and len(crew.processes) < min(len(crew.devices), left):
                crew.start()
            tick()
            time.sleep(0.25)
    finally:
        crew.stop()
    tick()


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "nothing was said")
