"""`dsd worker` on a terminal: its lines, and below them what it trains and how far the queue is."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dsd.cli.progress import progress
from dsd.cli.screen import on_terminal
from dsd.cli.worker_table import LiveTable, Row, live_row

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

    from dsd.lab import Lab
    from dsd.store.fleet import WorkerAt
    from dsd.train.events import Event, Hear
    from dsd.train.pulse import Pulse

TICK_S = 0.25


@contextmanager
def watched(
    lab: Lab,
    populations: Sequence[int] | None,
    log: Path | None,
    live: bool,
    say: Callable[[str], None] = click.echo,
) -> Iterator[tuple[Hear, Pulse]]:
    """Whom a worker in this process tells what happens, and what counts its steps.

    Events that have words are printed, all are logged to `log`. Where it shall be `live` and stdout
    is a terminal, a thread of its own draws what the database and the pulse say: training waits for
    neither. Raises UsageError for a log that cannot be written.
    """
    from dsd.store.location import database_url, hidden
    from dsd.train.events import aloud, everybody
    from dsd.train.journal import open_journal
    from dsd.train.pulse import Pulse

    url, pulse = database_url(lab.settings.db), Pulse()
    listeners = [open_journal(log, partial(hidden, url), say)] if log else []
    hear = everybody(*listeners, aloud(say))
    if live and on_terminal():
        with _display(lab, populations, pulse) as meet:
            yield everybody(meet, hear), pulse
    else:
        yield hear, pulse


@contextmanager
def _display(lab: Lab, populations: Sequence[int] | None, pulse: Pulse) -> Iterator[Hear]:
    """Draws what it hears of this process's worker, and how far the queue is."""
    own = Own(pulse)
    with progress(lab, populations, lambda: own) as tick, ticking(tick):
        yield own.hear


@contextmanager
def ticking(tick: Callable[[], None]) -> Iterator[None]:
    """Call it a few times a second; a database that is away is looked into again later."""
    from dsd.store.engine import DatabaseUnavailable

    over = threading.Event()

    def run() -> None:
        while not over.wait(TICK_S):
            try:
                tick()
            except DatabaseUnavailable:
                continue

    thread = threading.Thread(target=run, name="display", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@dataclass
class Own:
    """This process's worker: what it told last, and its pulse when the row is drawn."""

    pulse: Pulse
    at: WorkerAt = field(default_factory=lambda: _nobody())
    times: list[float] = field(default_factory=list)  # seconds of its network's epochs
    heard: float = 0.0

    def hear(self, event: Event) -> None:
        """Take note of what the worker does now."""
        from dsd.store.pace import epochs_of

        claim, about = event.claim, event.about
        if event.name == "started":
            self.at = replace(self.at, device=about["device"])
        elif event.name == "claimed" and claim:
            self.pulse.epoch()
            self.times.clear()
            epochs = epochs_of(claim.regime_text, claim.regime_name)
            self.at = replace(self.idle("alive"), network=claim.label, epochs=epochs)
        elif event.name == "resumed":
            self.at = replace(self.at, epoch=about["epoch"])
        elif event.name == "epoch":
            self.times.append(about["seconds"])
            self.heard = time.monotonic()
            left = (about["epochs"] - about["epoch"]) * sum(self.times) / len(self.times)
            self.at = replace(
                self.at, epoch=about["epoch"], images_per_s=about["images_per_s"],
                loss=about["train_loss"], error=about["test_error"], eta_seconds=left,
            )  # fmt: skip
        elif event.name == "ended":
            self.at = replace(self.at, ended=self.at.ended + 1)
        elif event.name in ("waiting", "stopped"):
            self.pulse.epoch()
            self.at = self.idle(event.name)

    def idle(self, state: str) -> WorkerAt:
        """The worker without a network."""
        return replace(_nobody(), state=state, device=self.at.device, ended=self.at.ended)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if self.at.state != "stopped":
            yield LiveTable([self.row()])

    def row(self) -> Row:
        """The worker's row, with the steps of the epoch that is trained now."""
        at, launched, steps = self.at, self.pulse.launched, self.pulse.steps
        left = at.eta_seconds and max(0.0, at.eta_seconds - (time.monotonic() - self.heard))
        speed = self.pulse.images_per_s or at.images_per_s
        step = "test" if launched >= steps > 0 else f"{launched:,}/{steps:,}" if launched else ""
        step = step.rjust(len(f"{steps:,}/{steps:,}"))
        row = live_row(replace(at, images_per_s=speed, eta_seconds=left), step=step)
        done = at.epoch + (min(1.0, launched / steps) if steps else 0.0)
        return replace(row, share=min(1.0, done / at.epochs) if at.epochs else None)


def _nobody() -> WorkerAt:
    """A worker of which nothing is known yet."""
    from dsd.store.fleet import WorkerAt

    return WorkerAt("", "", "", 0, "", "starting", 0.0, "", 0, 0, None, 0)
