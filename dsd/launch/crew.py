"""Worker processes of one machine: one a device, started again with back-off when it ends."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dsd.store.engine import Store
from dsd.store.fleet import networks_ended

MOST_DEATHS = 5  # in a row, of one slot's workers, without a network ended between them
LONGEST_REST_S = 60.0
STARTING_S = 15.0  # until a new worker has claimed its first network
PATIENCE_S = 25.0  # for workers that were asked to leave; Slurm's own is 30 s
REFUSALS = (2, 3)  # exit codes of a worker that would say the same if it were started again


@dataclass
class Slot:
    """A device's place for one worker at a time; `launched` is its name in the database."""

    device: Sequence[str]
    launched: str
    process: subprocess.Popen[bytes] | None = None
    begun: float = float("-inf")
    ends: int = 0  # workers that have ended since one of them has last ended a network
    deaths: int = 0  # those among them that died
    ended: int = 0  # networks that its workers have ended
    rests_until: float = 0.0
    closed: bool = False  # gets no worker any more

    def rest(self, ended: int, died: bool) -> float:
        """Seconds until it may have another worker: 1, 2, 4 ... 60 while nothing is ended."""
        if ended > self.ended:
            self.ends = self.deaths = 0
        self.ended = ended
        self.ends += 1
        self.deaths += died
        wait = min(LONGEST_REST_S, 2.0 ** (self.ends - 1))
        self.rests_until = time.monotonic() + wait
        return wait


@dataclass
class Crew:
    """Workers that run `dsd worker`, one for each of `devices`, with the same `arguments`.

    `devices` are the arguments that tell them apart, such as ("--gpu", "0"). What they print goes
    to `log`, or where this process prints without one. `place` names the crew in the database
    ("local 4711"); `environment` is added to this process's: the database's URL stands there, as
    others can read a command line and it may hold a password.
    """

    arguments: Sequence[str]
    devices: Sequence[Sequence[str]]
    log: Path | None = None
    place: str = field(default_factory=lambda: f"local {os.getpid()}")
    environment: Mapping[str, str] = field(default_factory=dict)
    say: Callable[[str], None] = lambda line: None
    killed: int = 0  # workers that did not leave when they were asked to

    def __post_init__(self) -> None:
        self.slots = [Slot(d, f"{self.place}.{i}") for i, d in enumerate(self.devices)]

    @property
    def working(self) -> list[Slot]:
        """Slots with a living worker."""
        return [slot for slot in self.slots if slot.process is not None]

    @property
    def closed(self) -> bool:
        """Whether no slot may have another worker."""
        return all(slot.closed for slot in self.slots)

    def fill(self, claimable: int) -> None:
        """Start workers on devices without one, as many as there are networks to claim."""
        now = time.monotonic()
        room = claimable - sum(now - slot.begun < STARTING_S for slot in self.working)
        free = [slot for slot in self.slots if slot.process is None and not slot.closed]
        for slot in [slot for slot in free if now >= slot.rests_until][: max(0, room)]:
            self._start(slot)

    def collect(self, store: Store) -> bool:
        """Take note of workers that have ended; whether one died. May raise DatabaseUnavailable."""
        died = False
        for slot in self.working:
            code = slot.process.poll() if slot.process else None
            if code is None:
                continue
            ended = networks_ended(store, slot.launched)  # before it is forgotten: this may raise
            slot.process = None
            died |= code != 0
            self._judge(slot, code, slot.rest(ended, code != 0))
        return died

    def stop(self) -> None:
        """Ask all to leave, and see that they do: those that do not in time are killed."""
        for slot in self.working:
            if slot.process:
                slot.process.terminate()
        deadline = time.monotonic() + PATIENCE_S
        self.killed += sum(not _left_by(slot, deadline) for slot in self.working)

    def _judge(self, slot: Slot, code: int, rest: float) -> None:
        if code in REFUSALS or slot.deaths >= MOST_DEATHS:
            slot.closed = True
            self.say(f"{slot.launched} gets no more workers: {self.last_words(code)}")
        elif code:
            self.say(f"{slot.launched}: its worker died ({_how(code)}); the next starts in "
                     f"{rest:.0f} s")  # fmt: skip

    def last_words(self, code: int = 1) -> str:
        """The log's last line, or how the last worker ended."""
        if self.log is None:
            return _how(code)
        lines = self.log.read_text(encoding="utf-8", errors="replace").split("\n")
        said = (line.strip() for line in reversed(lines) if line.strip())
        return next(said, "nothing was said").removeprefix("Error: ")

    def _start(self, slot: Slot) -> None:
        command = [sys.executable, "-m", "dsd", "worker", *slot.device, *self.arguments]
        # It leaves when this process is gone.
        command += ["--parent", str(os.getpid()), "--launched", slot.launched]
        # One thread each: workers share the cores, so threads of one would wait for another's.
        one_thread = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        slot.begun = time.monotonic()
        output = self.log.open("ab") if self.log else None
        try:
            slot.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                env={**os.environ, **one_thread, **self.environment}, start_new_session=True,
            )  # fmt: skip
        finally:
            if output:
                output.close()


def _left_by(slot: Slot, deadline: float) -> bool:
    """Whether the slot's worker has left by then; it is gone afterwards."""
    process, slot.process = slot.process, None
    if process is None:
        return True
    try:
        process.wait(max(0.1, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return False
    return True


def _how(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
