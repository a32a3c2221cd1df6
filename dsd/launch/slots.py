"""Several workers on one device, kept at work as one `dsd worker` would be."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from dsd.errors import DsdError
from dsd.launch.climb import Climb, per_hour, together
from dsd.launch.local import LOOK_S, TICK_S, Watch
from dsd.store.crew_epochs import epochs_since, moment, peak_memory
from dsd.store.fleet import networks_ended
from dsd.tickets import Tickets

SPARE = 1.25  # times the largest peak so far must be free for another network,
CONTEXT = 1 << 30  # and so many bytes: a CUDA context, or Python and torch


class Asked(Protocol):
    """Whether this process shall leave (`dsd.train.stop.Stop`); `at_once`: in mid-epoch, too."""

    at_once: bool

    def is_set(self) -> bool:
        """Whether it shall."""

    def wait(self, seconds: float) -> bool:
        """Until it shall, but not longer than so many seconds."""


class Refused(DsdError):
    """A worker said that it cannot work here, and starting it again would not help."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.exit_code = code


@dataclass
class Limit:
    """How many networks may be taken in all: `most`, counted out to the workers as tickets."""

    most: int
    tickets: Tickets
    before: int  # that workers of this place had ended when this began

    @property
    def left(self) -> int:
        """How many may still be taken."""
        return self.tickets.left()

    def recount(self, watch: Watch) -> None:
        """With nobody at work: one that was taken and has not ended may be taken again."""
        ended = networks_ended(watch.store, watch.crew.place)
        self.tickets.put(self.most + self.before - ended)


@dataclass
class Tuner:
    """Finds out how many slots pay, while they work; `free` tells the device's free bytes."""

    climb: Climb
    free: Callable[[], float]
    say: Callable[[str], None]
    since: float | None = None
    due: float = field(default_factory=time.monotonic)

    def look(self, watch: Watch) -> None:
        """Resize the crew when its epochs say so."""
        crew = watch.crew
        if not self.climb.climbing or time.monotonic() < self.due:
            return
        self.due = time.monotonic() + LOOK_S
        if self.since is None or crew.width < crew.wanted:
            self.since = moment(watch.store)  # what it did with fewer, for want of memory, is void
            return
        before = self.climb.slots
        epochs = epochs_since(watch.store, crew.place, self.since)
        room = self.free() > SPARE * peak_memory(watch.store, crew.place) + CONTEXT
        now = self.climb.look(epochs, room)
        if now != before:
            self.since = moment(watch.store)
            crew.resize(now)
        if now != before or not self.climb.climbing:
            rate = per_hour(together(epochs, before), before)
            stays = "" if self.climb.climbing else ", which stays"
            self.say(f"{before} at a time: {rate:,.1f} networks an hour; now {now}{stays}.")


def keep_at_work(
    watch: Watch,
    stop: Asked,
    *,
    exit_when_empty: bool,
    limit: Limit | None = None,
    tuner: Tuner | None = None,
    idle: Callable[[], None] = lambda: None,
) -> None:
    """Keep a worker in each slot until `stop` is set, `limit` is reached or, if asked, none waits.

    `idle` is called when there is nothing to do. Raises Refused where this machine cannot train
    what waits, DsdError where no worker stays, DatabaseUnavailable when the database is away for
    ten minutes. Whatever ends this, an interrupt too, stops the workers first.
    """
    crew, was_idle = watch.crew, False
    try:
        while not stop.is_set():
            watch.look()
            if crew.refusal:
                raise Refused(crew.reason, crew.refusal)
            if crew.closed:
                raise DsdError(f"No worker stays: {crew.last_words()}")
            if not crew.working:
                if limit:
                    watch.patiently(lambda: limit.recount(watch))
                over = exit_when_empty and watch.begun and not watch.offered
                if over or (limit and not limit.left):
                    break
            idles = not crew.working and not watch.offered
            if idles and not was_idle:
                watch.patiently(idle)
            was_idle = idles
            if tuner:
                watch.patiently(lambda: tuner.look(watch))
            stop.wait(TICK_S)
        if stop.is_set() and not stop.at_once:
            _let_epochs_end(watch, stop)
    finally:
        crew.stop()


def _let_epochs_end(watch: Watch, stop: Asked) -> None:
    """Ask the workers to leave after their epoch, and wait for it, unless asked again."""
    watch.crew.ask()
    while not stop.at_once and any(
        slot.process and slot.process.poll() is None for slot in watch.crew.working
    ):
        time.sleep(TICK_S)
