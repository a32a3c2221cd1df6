"""A crew kept at work until nothing waits, whatever happens to workers and database meanwhile."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

from dsd.errors import DsdError
from dsd.launch.crew import Crew
from dsd.store.engine import DatabaseUnavailable, Store
from dsd.store.queue import open_runs
from dsd.store.workers import rescue_dead

TICK_S = 0.25
LOOK_S = 1.0  # between looks into the database, where nothing has happened
AWAY_S = 600.0  # as long as a worker waits for a database


class Leave(SystemExit):
    """SIGTERM asked this process to leave; it has done as it was told, and exits with 0."""

    def __init__(self) -> None:
        super().__init__(0)


@contextmanager
def leaving_on_sigterm() -> Iterator[None]:
    """Within, SIGTERM raises Leave, once, and Ctrl-C KeyboardInterrupt. In the main thread only.

    A script's background job begins with SIGINT ignored; whoever sends it means it, as to a worker.
    """

    def leave(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise Leave

    with on_sigterm(leave):
        yield


@contextmanager
def on_sigterm(leave: Callable[[int, FrameType | None], object]) -> Iterator[None]:
    """Within, SIGTERM calls `leave`, and SIGINT raises KeyboardInterrupt even where it was ignored.

    In the main thread only.
    """
    handlers = {signal.SIGTERM: leave, signal.SIGINT: signal.default_int_handler}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def train_all(
    store: Store,
    populations: Sequence[int] | None,
    crew: Crew,
    tick: Callable[[], None],
    linger_s: float = math.inf,
) -> None:
    """Keep a worker on each device of the crew until no run of these populations waits.

    `tick` is called a few times a second. While nothing can be claimed the crew waits for runs that
    others are at work on, as these may come back, but not longer than `linger_s`. Raises DsdError
    when no device may have another worker, and DatabaseUnavailable when the database is away for
    ten minutes. Whatever ends this, an interrupt too, stops the workers first.
    """
    watch = Watch(store, populations, crew)
    try:
        watch.look()
        while watch.left and watch.idle_s < linger_s:
            if crew.closed:
                raise DsdError(f"No worker stays{_where(crew)}: {crew.last_words()}")
            watch.look()
            watch.patiently(tick)
            time.sleep(TICK_S)
    finally:
        crew.stop()
    watch.patiently(tick)


@dataclass
class Watch:
    """What is left to do, looked up about once a second and whenever a worker has ended.

    Idle, it is looked up ever more rarely, up to every `longest_s` seconds. `foreign` are networks
    that cannot be trained here (their images are missing): workers found none to claim, though they
    wait. They are offered again after `foreign_s` seconds.
    """

    store: Store
    populations: Sequence[int] | None
    crew: Crew
    max_attempts: int = 3
    longest_s: float = LOOK_S
    foreign_s: float = 0.0
    most: Callable[[], float] = lambda: math.inf  # networks that may still be taken
    rest_s: float = LOOK_S
    foreign: int = 0
    foreign_until: float = 0.0
    left: int = 1
    claimable: int = 0
    idle_since: float = field(default_factory=time.monotonic)
    seen: float = field(default_factory=time.monotonic)
    due: float = 0.0
    begun: bool = False

    @property
    def idle_s(self) -> float:
        """For how long there has been nothing to do for this crew."""
        busy = self.crew.working or self.claimable
        return 0.0 if busy else time.monotonic() - self.idle_since

    def look(self) -> None:
        """Collect workers that have ended, look what is left, start workers for it."""
        self.patiently(self._look)

    def patiently(self, action: Callable[[], None]) -> None:
        """Do it, unless the database is away: then it is done at one of the next looks."""
        try:
            action()
        except DatabaseUnavailable:
            if time.monotonic() - self.seen > AWAY_S:
                raise

    def _look(self) -> None:
        at_work = len(self.crew.working)
        if self.crew.collect(self.store) or not self.begun:
            rescue_dead(self.store, self.max_attempts)
            self.begun = True
        ended = len(self.crew.working) < at_work
        if not ended and time.monotonic() < self.due:
            return
        self.claimable, running = open_runs(self.store, self.populations)
        self.seen = time.monotonic()
        self.left = self.claimable + running
        self._leave_out()
        busy = bool(self.crew.working or self.claimable > self.foreign)
        self.rest_s = LOOK_S if busy else min(self.longest_s, 1.25 * self.rest_s)
        self.due = time.monotonic() + self.rest_s
        if self.crew.working or self.claimable:
            self.idle_since = time.monotonic()
        self.crew.fill(self.offered)

    @property
    def offered(self) -> int:
        """Networks for which workers are started."""
        return int(min(max(0, self.claimable - self.foreign), self.most()))

    def _leave_out(self) -> None:
        now = time.monotonic()
        if self.crew.fruitless:
            self.foreign, self.foreign_until = self.crew.fruitless, now + self.foreign_s
        self.foreign = min(self.foreign, self.claimable) if now < self.foreign_until else 0


def _where(crew: Crew) -> str:
    return f" ({crew.log})" if crew.log else ""
