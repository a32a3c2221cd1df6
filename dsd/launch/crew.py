"""Worker processes of one machine: one a slot, started again with back-off when it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dsd.launch.relay import ERROR, Relay
from dsd.store.engine import Store
from dsd.store.fleet import networks_ended

MOST_DEATHS = 5  # in a row, of one slot's workers, without a network ended between them
LONGEST_REST_S = 60.0
STARTING_S = 15.0  # until a new worker has claimed its first network
PATIENCE_S = 25.0  # for workers that were asked to leave; Slurm's own is 30 s
NOTHING_HERE = 3
REFUSALS = (
    2,
    NOTHING_HERE,
)  # exit codes of a worker that would say the same if it were started again
NO_ROOM = 75  # that of one whose network needs memory that others on its device hold
OUT_OF_MEMORY = (NO_ROOM, -signal.SIGKILL)  # the kernel kills one where the machine has no more


@dataclass
class Slot:
    """A place for one worker at a time on a device; `launched` is its name in the database."""

    device: Sequence[str]
    launched: str
    process: subprocess.Popen[bytes] | None = None
    begun: float = float("-inf")
    ends: int = 0  # workers that have ended since one of them has last ended a network
    deaths: int = 0  # those among them that died
    ended: int = 0  # networks that its workers have ended
    rests_until: float = 0.0
    closed: bool = False  # gets no worker any more
    leaving: bool = False  # its worker was asked to make room
    offered: int = 0  # networks that could be claimed when its worker was started
    heard: threading.Thread | None = None  # what passes on its worker's lines

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
    to `log` or to `relay`, or where this process prints without either. `place` names the crew in
    the database ("local 4711"); `environment` is added to this process's: the database's URL stands
    there, as others can read a command line and it may hold a password. `files` are descriptors
    that the workers inherit.

    No more than `wanted` are at work at a time. Where they share a device whose memory does not
    suffice, `width` is fewer for a while: one more again when as many networks have ended as there
    are slots. A network that needs a device for itself is thus alone after a few trials.
    """

    arguments: Sequence[str]
    devices: Sequence[Sequence[str]]
    log: Path | None = None
    relay: Relay | None = None
    place: str = field(default_factory=lambda: f"local {os.getpid()}")
    environment: Mapping[str, str] = field(default_factory=dict)
    files: Sequence[int] = ()
    wanted: int = 0  # all slots, if none are said
    say: Callable[[str], None] = lambda line: None
    killed: int = 0  # workers that did not leave when they were asked to
    refusal: int = 0  # exit code of a worker that said it cannot work here
    reason: str = ""  # why the last worker that died or refused did so
    useful: bool = False  # whether a worker has done what there was for it
    fruitless: int = 0  # networks on offer when a worker was started that then found none

    def __post_init__(self) -> None:
        self.slots = [Slot(d, f"{self.place}.{i}") for i, d in enumerate(self.devices)]
        self.width = self.wanted = self.wanted or len(self.slots)
        self.regained = 0  # networks that had ended when the width last changed

    @property
    def working(self) -> list[Slot]:
        """Slots with a living worker."""
        return [slot for slot in self.slots if slot.process is not None]

    @property
    def closed(self) -> bool:
        """Whether no slot may have another worker."""
        return all(slot.closed for slot in self.slots)

    @property
    def alike(self) -> bool:
        """Whether all share one device."""
        return len({tuple(device) for device in self.devices}) == 1

    def resize(self, wanted: int) -> None:
        """So many at work from now on; the last started leave at the end of their epoch."""
        self.width = self.wanted = wanted
        staying = sorted((s for s in self.working if not s.leaving), key=lambda s: s.begun)
        for slot in staying[wanted:]:
            slot.leaving = True
            if slot.process:
                slot.process.send_signal(signal.SIGINT)

    def fill(self, claimable: int) -> None:
        """Start workers on devices without one, as many as there are networks to claim."""
        now = time.monotonic()
        room = claimable - sum(now - slot.begun < STARTING_S for slot in self.working)
        room = min(room, self.width - len(self.working))
        free = [slot for slot in self.slots if slot.process is None and not slot.closed]
        for slot in [slot for slot in free if now >= slot.rests_until][: max(0, room)]:
            slot.offered = claimable
            self._start(slot)

    def collect(self, store: Store) -> bool:
        """Take note of workers that have ended; whether one died. May raise DatabaseUnavailable."""
        died, self.fruitless = False, 0
        for slot in self.working:
            code = slot.process.poll() if slot.process else None
            if code is None:
                continue
            ended = networks_ended(store, slot.launched)  # before it is forgotten: this may raise
            slot.process = None
            died |= code not in (0, NO_ROOM)
            self._ended(slot, code, ended, store)
        self._regain(store)
        return died

    def _ended(self, slot: Slot, code: int, ended: int, store: Store) -> None:
        if slot.heard:
            slot.heard.join(1.0)
        left, slot.leaving = slot.leaving, False
        self.useful |= code == 0
        if self.relay and self.useful and code == NOTHING_HERE:  # what is left is for others
            code = 0
        if code == 0 and ended == slot.ended and not left:
            self.fruitless = max(self.fruitless, slot.offered)
        if code and not left:
            self.reason = (self.relay and self.relay.errors.pop(slot.launched, "")) or _how(code)
        narrowed = code in OUT_OF_MEMORY and self._narrow(store)
        if left or (code == NO_ROOM and narrowed):
            slot.ended = ended
        else:
            self._judge(slot, code, slot.rest(ended, code != 0))

    def _narrow(self, store: Store) -> bool:
        """Whether there is to be one fewer for a while, as others share the device."""
        if not self.alike or self.width == 1:
            return False
        self.width = max(1, min(self.width - 1, len(self.working)))
        self.regained = networks_ended(store, self.place)
        self.say(f"{self.width} at a time for now: {self.reason}")
        return True

    def _regain(self, store: Store) -> None:
        if self.width == self.wanted:
            return
        ended = networks_ended(store, self.place)
        if ended - self.regained >= self.width:
            self.width, self.regained = self.width + 1, ended

    def stop(self) -> None:
        """Ask all to leave, and see that they do: those that do not in time are killed."""
        for slot in self.working:
            if slot.process:
                slot.process.terminate()
        deadline = time.monotonic() + PATIENCE_S
        self.killed += sum(not _left_by(slot, deadline) for slot in self.working)

    def ask(self) -> None:
        """Ask all to leave at the end of their epoch."""
        for slot in self.working:
            if slot.process:
                slot.leaving = True
                slot.process.send_signal(signal.SIGINT)

    def _judge(self, slot: Slot, code: int, rest: float) -> None:
        if code in REFUSALS:
            self.refusal = code
        if code in REFUSALS or slot.deaths >= MOST_DEATHS:
            slot.closed = True
            if not (self.refusal and self.relay):  # whoever relays says it, and ends
                self.say(f"{slot.launched} gets no more workers: {self.last_words()}")
        elif code:
            self.say(f"{slot.launched}: its worker died ({self.reason}); the next starts in "
                     f"{rest:.0f} s")  # fmt: skip

    def last_words(self) -> str:
        """The log's last line, or why the last worker ended."""
        if self.log is None:
            return self.reason
        lines = self.log.read_text(encoding="utf-8", errors="replace").split("\n")
        said = (line.strip() for line in reversed(lines) if line.strip())
        return next(said, "nothing was said").removeprefix(ERROR)

    def _start(self, slot: Slot) -> None:
        command = [sys.executable, "-m", "dsd", "worker", *slot.device]
        command += ["--slots", "1"] * ("--slots" not in slot.device)
        # It leaves when this process is gone.
        command += [*self.arguments, "--parent", str(os.getpid())]
        command += ["--launched", slot.launched, "--crew"]
        # One thread each: workers share the cores, so threads of one would wait for another's.
        one_thread = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        slot.begun = time.monotonic()
        pipe = subprocess.PIPE if self.relay else None
        output = self.log.open("ab") if self.log else None
        try:
            slot.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output or pipe,
                stderr=output or (subprocess.STDOUT if pipe else None), pass_fds=self.files,
                env={**os.environ, **one_thread, **self.environment}, start_new_session=True,
            )  # fmt: skip
            if self.relay and slot.process.stdout:
                slot.heard = self.relay.listen(slot.launched, slot.process.stdout)
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
    killed = ", as where memory is short" if code == -signal.SIGKILL else ""
    return f"signal {-code}{killed}" if code < 0 else f"exit code {code}"
