"""A Slurm job array of crews, through submitit: its script, its submission, its jobs by name.

The job's name carries the database's identity; nothing else is needed to find it again.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import URL

from dsd.errors import DsdError, UsageError
from dsd.launch.slurm_task import Task
from dsd.store.location import describe, identity, sqlite_file

FOR_EVER = 1_000_000  # times that a job may reach its time limit and come back
CORES = 8  # of each GPU, to read its images
# Options of sbatch without which jobs would not be found again, told in time, or come back.
OWN = ("array", "job-name", "open-mode", "output", "requeue", "signal")
# A batch job that a signal kills is not requeued. This shell function starts its task again.
RESTARTS = """\
srun() {  # a task that is killed (137) starts again; its networks were given back
    local code
    while command srun "$@"; code=$?; [ "$code" -eq 137 ]; do sleep 10; done
    return "$code"
}"""


@dataclass(frozen=True)
class Ask:
    """What is asked of Slurm: `workers` tasks with `gpus` and `cpus` each, at most `parallel` at
    a time, for `minutes`; `notice_s` before its time limit a task is told. `more` goes to sbatch
    as it is. Logs and submitit's files lie in `logs`, a folder that all nodes see."""

    workers: int
    minutes: int
    logs: Path
    gpus: int = 1
    cpus: int = 1
    parallel: int | None = None
    partition: str | None = None
    notice_s: int = 90
    more: Mapping[str, str] = field(default_factory=dict)

    def parameters(self, name: str) -> dict[str, Any]:
        """As submitit calls them."""
        asked: dict[str, Any] = {
            "job_name": name, "partition": self.partition, "time": self.minutes,
            "cpus_per_task": self.cpus, "gpus_per_node": self.gpus or None,
            "array_parallelism": self.parallel or self.workers, "signal_delay_s": self.notice_s,
            "setup": [RESTARTS], "stderr_to_stdout": True, "wckey": None,
            # srun would give the task one core whatever the job has (since Slurm 22.05).
            "srun_args": ["--open-mode=append", f"--cpus-per-task={self.cpus}"],
            "additional_parameters": {"requeue": True, **self.more},
        }  # fmt: skip
        return {key: value for key, value in asked.items() if value is not None or key == "wckey"}


def job_name(url: URL) -> str:
    """The name of all jobs that work on a database."""
    return f"dsd-{identity(url)}"


def check_shared(url: URL, workers: int) -> None:
    """Raises UsageError where several nodes would have to share an SQLite file."""
    file = sqlite_file(url)
    if file is None or workers == 1:
        return
    raise UsageError(
        f"{describe(url)} is an SQLite file, which serves one machine, and {workers} workers may "
        "run on several. Move the data to a PostgreSQL server: "
        f"`dsd --db postgresql://user@host/name db merge {file}`, then give that --db here, too."
    )


def script(ask: Ask, name: str) -> str:
    """The batch script that `submit` hands to sbatch. Needs submitit, not Slurm."""
    _submitit()
    from submitit.slurm.slurm import _make_sbatch_string

    folder = str(ask.logs.absolute())
    command = f"{shlex.quote(sys.executable)} -u -m submitit.core._submit {shlex.quote(folder)}"
    count = ask.workers if ask.workers > 1 else None
    return _make_sbatch_string(command, folder, map_count=count, **ask.parameters(name))


def submit(ask: Ask, name: str, task: Task, db: str) -> str:
    """Submit the array; its job id. `db`, the URL, travels in the jobs' environment.

    Raises DsdError with what sbatch says.
    """
    submitit = _submitit()
    if shutil.which("sbatch") is None:
        raise DsdError("No Slurm on this machine (sbatch): run this on a login node of the "
                       "cluster; --dry-run prints the script anywhere.")  # fmt: skip
    ask.logs.mkdir(parents=True, exist_ok=True)
    executor = submitit.SlurmExecutor(str(ask.logs.absolute()), max_num_timeout=FOR_EVER)
    executor.update_parameters(**ask.parameters(name))
    try:
        with _exported("DSD_DB", db):
            jobs = executor.map_array(task, range(ask.workers))
    except (subprocess.CalledProcessError, RuntimeError) as error:
        said = [line for line in str(error).splitlines() if "error:" in line]
        raise DsdError(f"sbatch refused: {said[-1] if said else error}") from None
    return str(jobs[0].job_id.partition("_")[0])


@dataclass(frozen=True)
class Job:
    """One line of squeue: an array task, or those of an array that wait together."""

    id: str
    state: str
    nodes: str
    reason: str


def jobs(name: str) -> list[Job]:
    """This user's jobs of that name. Raises DsdError where Slurm does not answer."""
    asked = ["squeue", "--me", "--name", name, "--noheader", "--format", "%i|%T|%N|%r"]
    lines = (line.split("|", 3) for line in _slurm(*asked).splitlines() if line.strip())
    return [Job(*(part.strip() for part in line)) for line in lines]


def stop(name: str, patience_s: float) -> list[Job]:
    """Ask all jobs of that name to leave: they give back what they train, and end. Those that
    still run after `patience_s` seconds are returned."""
    _slurm("scancel", "--me", "--name", name, "--state", "PENDING")
    # To the steps, not to the batch shell: it ends when its task has ended.
    _slurm("scancel", "--me", "--name", name, "--state", "RUNNING", "--signal", "TERM")
    end = time.monotonic() + patience_s
    while (left := jobs(name)) and time.monotonic() < end:
        time.sleep(1)
    return left


def cores(gpus: int, partition: str | None) -> int:
    """Cores for a task with so many GPUs: CORES each, but no more than its share of a node.

    That is of the partition's nodes, where Slurm is here to tell of them.
    """
    shares = []
    with contextlib.suppress(DsdError):
        for line in _slurm("sinfo", "--Node", "--noheader", "--format", "%P|%c|%G").splitlines():
            name, cpus, devices = line.strip().split("|", 2)
            there = sum(map(int, re.findall(r"gpu(?::[^:,(]+)?:(\d+)", devices)))
            if there >= gpus and (name.rstrip("*") == partition if partition else "*" in name):
                shares.append(int(cpus) * gpus // there)
    return max(1, min([CORES * gpus, *shares]))


def minutes(text: str) -> int:
    """Slurm's notation of a time, in minutes rounded up: 90, 1:30:00, 2-12 or 2-12:30.

    Raises UsageError.
    """
    found = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", text.strip())
    if not found:
        raise UsageError(f"--time {text}: 90 (minutes), 1:30:00 or 2-12:30:00 would work.")
    days, *given = found.groups()
    parts = [int(part) for part in given if part is not None]
    if days is not None:
        hours, mins, secs = [*parts, 0, 0][:3]
    else:
        hours, mins, secs = {1: (0, *parts, 0), 2: (0, *parts), 3: tuple(parts)}[len(parts)]
    total = math.ceil((int(days or 0) * 86400 + hours * 3600 + mins * 60 + secs) / 60)
    if not total:
        raise UsageError(f"--time {text} is no time at all.")
    return total


def _slurm(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    except FileNotFoundError:
        raise DsdError(f"No Slurm on this machine ({command[0]}).") from None
    except subprocess.TimeoutExpired:
        raise DsdError(f"Slurm does not answer ({command[0]}).") from None
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise DsdError(f"{command[0]}: {said[-1]}")
    return done.stdout


def _submitit() -> Any:
    try:
        import submitit
    except ModuleNotFoundError:
        raise DsdError("Slurm needs submitit: pip install 'dsd[slurm]'") from None
    return submitit


@contextmanager
def _exported(name: str, value: str) -> Iterator[None]:
    """An environment variable for the programs that are started within."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        os.environ.pop(name)
        if before is not None:
            os.environ[name] = before


def devices(cpu: bool, gpus: int) -> Sequence[Sequence[str]]:
    """The devices of one task: Slurm shows it its own GPUs only, numbered from 0."""
    return [["--cpu"]] if cpu else [["--gpu", str(number)] for number in range(gpus)]
