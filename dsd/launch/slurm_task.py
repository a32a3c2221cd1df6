"""What one task of a Slurm job runs: a crew on the GPUs that it was given, until nothing waits.

submitit carries a `Task` to the node, and requeues the job after a time limit's or a preemption's
signal. The database's password is never in it: the job's environment or ~/.pgpass has it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from dsd.errors import DsdError
from dsd.launch.crew import REFUSALS, Crew
from dsd.launch.local import AWAY_S, Leave, leaving_on_sigterm, train_all
from dsd.store.engine import DatabaseUnavailable, Store, open_store
from dsd.store.location import database_url, describe, identity
from dsd.store.populations import resolve


@dataclass
class Task:
    """The arguments of `dsd worker`, those that tell its devices apart, and the database.

    `db` is its URL without a password, `named` are the populations (all if none), `linger_s` is how
    long the task waits for runs of others that may come back.
    """

    db: str
    named: Sequence[str]
    arguments: Sequence[str]
    devices: Sequence[Sequence[str]]
    linger_s: float
    crew: Crew | None = field(default=None, init=False)

    def __call__(self, number: int) -> None:
        """Work; exits with 3 where this node cannot. SIGTERM ends it in good order."""
        job = _job()
        try:
            with leaving_on_sigterm():
                self._work(job)
        except Leave:
            late = self.crew.killed if self.crew else 0
            _say(f"SIGTERM: {late} workers had to be killed, their leases run out" if late
                 else "SIGTERM: every network was given back")  # fmt: skip
            if _preempted():
                signal.raise_signal(signal.SIGUSR2)  # submitit requeues the job, and exits
        except DsdError as error:
            _say(f"Error: {error}")
            sys.exit(REFUSALS[-1])
        else:
            _say("nothing is left to do")

    def checkpoint(self, number: int) -> Any:
        """On a time limit's or a preemption's signal: give all networks back, requeue the job."""
        from submitit.helpers import DelayedSubmission

        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # which a requeued job is sent next
        if self.crew:
            self.crew.stop()
        return DelayedSubmission(replace(self), number)

    def _work(self, job: str) -> None:
        url = os.environ.setdefault("DSD_DB", self.db)
        if identity(database_url(url)) != identity(database_url(self.db)):
            raise DsdError(f"DSD_DB on {os.uname().nodename} names {describe(database_url(url))}; "
                           f"this job was launched for {self.db}.")  # fmt: skip
        store = _opened(url)
        ids = [row.id for name in self.named for row in resolve(store, name, "")]
        self.crew = Crew(self.arguments, self.devices, place=f"slurm {job}", say=_say)
        _say(f"{len(self.devices)} workers on {os.uname().nodename}, "
             f"CUDA_VISIBLE_DEVICES={os.environ.get('CUDA_VISIBLE_DEVICES', '')}")  # fmt: skip
        train_all(store, ids or None, self.crew, lambda: None, self.linger_s)


def _opened(url: str) -> Store:
    """The database; one that is away is waited for. A schema of another version is refused."""
    end = time.monotonic() + AWAY_S
    while True:
        try:
            open_store(url, write=False).close()  # a worker makes no tables, nor upgrades them
            return open_store(url)
        except DatabaseUnavailable:
            if time.monotonic() > end:
                raise
            time.sleep(2)


def _job() -> str:
    """This task as squeue calls it: 12_3, or 12 for a job that is no array."""
    job, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{job}_{task}" if job else os.environ.get("SLURM_JOB_ID", "")


def _preempted() -> bool:
    """Whether Slurm takes the node away for another job, which `scancel` would not say."""
    command = ["scontrol", "--oneliner", "show", "job", os.environ.get("SLURM_JOB_ID", "")]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        said = subprocess.run(command, capture_output=True, text=True, timeout=30).stdout
        when = [word for word in said.split() if word.startswith("PreemptTime=")]
        return bool(when) and when[0] != "PreemptTime=None"
    return False


def _say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)
