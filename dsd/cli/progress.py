"""How training looks while it runs: a live display on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from dsd.cli.screen import on_terminal, screen
from dsd.cli.text import duration

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

    from dsd.lab import Lab
    from dsd.store.pace import Pace
    from dsd.store.populations import PopulationRow

DRAW_EVERY_S = 1.0
LOOK_EVERY_S = 2.0
LOOK_SHARE = 0.01  # of the time, at most, is spent looking into a large or distant database
LINE_EVERY_S = 15.0
LEAST_BAR = 26  # characters for the bar, its name and the gaps
ECHO = 4  # characters left free at the display's end: a terminal echoes ^C there, twice perhaps


@contextmanager
def progress(
    lab: Lab,
    rows: Sequence[PopulationRow | int] | None,
    above: Callable[[], object] | None = None,
    plain: bool = False,
) -> Iterator[Callable[[], None]]:
    """A function to call often; every two seconds or so it looks how far the populations are.

    `rows` are these populations, or all. On a terminal, unless it shall be `plain`, what `above`
    returns, which rich can draw, stands above the bar; what is printed meanwhile, above both.
    """
    from dsd.store.pace import pace

    def look() -> Pace:
        return pace(lab.reader, rows)

    with _live(look, above) if not plain and on_terminal() else _lines(look) as tick:
        yield tick


@contextmanager
def _live(
    look: Callable[[], Pace], above: Callable[[], object] | None
) -> Iterator[Callable[[], None]]:
    from rich.console import Group

    from dsd.store.engine import DatabaseUnavailable

    draws, looks = Clock(DRAW_EVERY_S), Clock(LOOK_EVERY_S)
    shown: list[Any] = []

    def look_again() -> None:
        begin = time.monotonic()
        shown[:] = [*([above()] if above else []), QueueLine(look())]
        looks.rest = max(LOOK_EVERY_S, (time.monotonic() - begin) / LOOK_SHARE)

    def tick() -> None:
        if draws.due():
            try:
                if looks.due():
                    look_again()
            finally:
                draw(Group(*shown))

    with screen() as draw:
        yield tick
        with contextlib.suppress(DatabaseUnavailable):
            look_again()
        draw(Group(*shown))


@contextmanager
def _lines(look: Callable[[], Pace]) -> Iterator[Callable[[], None]]:
    clock = Clock(LINE_EVERY_S)

    def tick() -> None:
        if clock.due():
            now = look()
            if now.ended < now.total:
                click.echo(", ".join([f"{now.ended}/{now.total} networks", *words(now).values()]))

    yield tick


@dataclass(frozen=True)
class QueueLine:
    """The queue's bar and what is known of it, as much as there is room for."""

    now: Pace

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.progress_bar import ProgressBar
        from rich.table import Table

        said, room = words(self.now), options.max_width - ECHO
        for name in ("speed", "hourly", "best"):
            if len("  ".join(said.values())) > room - LEAST_BAR - len(self.count):
                said.pop(name, None)
        grid = Table.grid(padding=(0, 2, 0, 0), expand=True)
        grid.width = room
        for ratio in (None, 1, None, None):
            grid.add_column(ratio=ratio, no_wrap=True, overflow="ellipsis")
        bar = ProgressBar(max(1, self.now.total), self.now.ended)
        grid.add_row("queue", bar, self.count, "  ".join(said.values()))
        yield grid

    @property
    def count(self) -> str:
        """Networks that have ended, of all."""
        return f"{self.now.ended}/{self.now.total} networks"


def words(now: Pace) -> dict[str, str]:
    """Time left, networks an hour, speed and the best error so far, in words."""
    best = f"best {now.best:.1f}%" if now.best is not None else "no error yet"
    if now.ended == now.total:
        return {"left": "done", "best": best}
    hourly = now.networks_per_hour
    said = {
        "left": _left(now),
        "hourly": f"{hourly:,.{int(hourly < 10)}f}/h" if hourly else "",
        "speed": f"{now.images_per_s:,.0f} images/s" if now.images_per_s else "",
        "best": best,
    }
    return {name: text for name, text in said.items() if text}


def _left(now: Pace) -> str:
    if now.eta_seconds is None:
        return "no estimate yet" if now.running else ""
    return f"about {duration(now.eta_seconds)} left"


class Clock:
    """When it is time again."""

    def __init__(self, rest: float) -> None:
        self.rest = rest
        self.last = float("-inf")

    def due(self) -> bool:
        """Whether `rest` seconds have passed since the last time it was due."""
        now = time.monotonic()
        if now - self.last < self.rest:
            return False
        self.last = now
        return True
