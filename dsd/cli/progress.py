"""How a population's training looks while it runs: one live line, or plain lines in a log."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from dsd.cli.text import duration

if TYPE_CHECKING:
    from dsd.lab import Lab
    from dsd.store.populations import PopulationRow

EVERY_S = 1.0
LINE_EVERY_S = 15.0


@dataclass(frozen=True)
class Moment:
    """What is known at one moment: networks ended and all, speed, the best error so far."""

    ended: int
    total: int
    running: int
    images_per_s: float | None
    best: float | None

    @property
    def text(self) -> str:
        """Speed and best so far, in words."""
        if self.ended == self.total:
            return f"done, {self.best_text}"
        speed = f"{self.images_per_s:,.0f} images/s" if self.images_per_s else "starting"
        return f"{speed}, {self.best_text}"

    @property
    def best_text(self) -> str:
        """The best error so far, in words."""
        return f"best {self.best:.1f}%" if self.best is not None else "no error yet"


@contextmanager
def progress(
    lab: Lab, rows: Sequence[PopulationRow], above: Callable[[], object] | None = None
) -> Iterator[Callable[[], None]]:
    """A function to call often; it looks into the database once a second.

    On a terminal what `above` returns, a table of rich's, stands above the bar.
    """
    from rich.console import Console

    look = _observer(lab, rows)
    console = Console()
    shown = _bar(look, console, above) if console.is_terminal else _lines(look)
    with shown as tick:
        yield tick


def _observer(lab: Lab, rows: Sequence[PopulationRow]) -> Callable[[], Moment]:
    from dsd.store.results import scores, status

    def look() -> Moment:
        table, now = scores(lab.store, rows), status(lab.store)
        waiting = table["state"].isin(["queued", "running"])
        best = table["error_last"].min()
        running = int((table["state"] == "running").sum())
        return Moment(
            int((~waiting).sum()), len(table), running, now.images_per_s,
            None if best != best else float(best),
        )  # fmt: skip

    return look


@contextmanager
def _bar(
    look: Callable[[], Moment], console: object, above: Callable[[], object] | None
) -> Iterator[Callable[[], None]]:
    from rich.console import Group
    from rich.live import Live
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (
        TextColumn("networks"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[eta]}"),
        TextColumn("{task.fields[words]}"),
    )  # fmt: skip
    bar = Progress(*columns, console=console)  # type: ignore[arg-type]
    task = bar.add_task("", total=None, eta="", words="starting")
    with Live(bar, console=console, refresh_per_second=4) as live:  # type: ignore[arg-type]
        clock = _Clock()

        def tick() -> None:
            if clock.due(EVERY_S):
                show(look())

        def show(moment: Moment) -> None:
            bar.update(task, completed=moment.ended, total=moment.total,
                       eta=clock.left(moment), words=moment.text)  # fmt: skip
            if above:
                live.update(Group(above(), bar))  # type: ignore[arg-type]

        yield tick
        show(look())


@contextmanager
def _lines(look: Callable[[], Moment]) -> Iterator[Callable[[], None]]:
    clock = _Clock()

    def tick() -> None:
        moment = clock.due(LINE_EVERY_S) and look()
        if moment and moment.ended < moment.total:
            click.echo(f"{moment.ended}/{moment.total} networks, {clock.left(moment)}{moment.text}")

    yield tick


class _Clock:
    """When to look again, and how long the rest takes at the speed since the start."""

    def __init__(self) -> None:
        self.start = time.monotonic()
        self.last = float("-inf")
        self.first_ended: int | None = None

    def due(self, every: float) -> bool:
        """Whether `every` seconds have passed since the last time it was due."""
        now = time.monotonic()
        if now - self.last < every:
            return False
        self.last = now
        return True

    def left(self, moment: Moment) -> str:
        """The time left, in words; empty until a network has ended."""
        if self.first_ended is None:
            self.first_ended = moment.ended
        ended = moment.ended - self.first_ended
        if not ended or moment.ended >= moment.total:
            return ""
        each = (time.monotonic() - self.start) / (ended + moment.running / 2)
        return f"about {duration(each * (moment.total - moment.ended))} left, "
