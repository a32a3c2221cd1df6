"""`dsd worker --slots`: the option, and several workers behind one command."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dsd.cli.screen import on_terminal

if TYPE_CHECKING:
    from dsd.lab import Lab
    from dsd.launch.crew import Crew
    from dsd.launch.slots import Tuner
    from dsd.store.engine import Store
    from dsd.train.stop import Stop

AUTO = 0
MOST = 16  # slots that `auto` tries on a GPU


class SlotsType(click.ParamType):
    """A number from 1, or auto (as AUTO)."""

    name = "K|auto"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """The number."""
        if isinstance(value, int):
            return value
        text = str(value)
        if text == "auto":
            return AUTO
        if text.isdecimal() and int(text) > 0:
            return int(text)
        self.fail(f"'{text}' is neither a number from 1 nor auto.", param, ctx)


@dataclass(frozen=True)
class Shift:
    """What several workers are to do: the options of the `dsd worker` that stands for them."""

    lab: Lab
    store: Store
    populations: Sequence[int] | None
    device: Sequence[str]  # --cpu, or --gpu and its number
    slots: int
    arguments: Sequence[str]
    max_runs: int | None
    max_attempts: int
    exit_when_empty: bool
    launched: str
    checkpoints: str

    @property
    def most(self) -> int:
        """Slots, as many as there may ever be."""
        return self.slots or MOST


def slots_for(given: int | None, on_gpu: bool, max_runs: int | None) -> int:
    """Slots: all cores, or one on a GPU, unless given; AUTO where a GPU is to be tried out."""
    from dsd.train.parallel import cores

    if given is None or (given == AUTO and not on_gpu):
        given = 1 if on_gpu else cores()
    return min(given, max_runs) if given and max_runs else 1 if max_runs == 1 else given


def one_will_do(shift: Shift) -> bool:
    """Whether a single process does it as quickly: nothing, or one network, is there to train."""
    from dsd.store.queue import open_runs

    return shift.exit_when_empty and open_runs(shift.store, shift.populations)[0] < 2


def train_in_slots(shift: Shift, stop: Stop, use_mps: bool, live: bool) -> None:
    """Keep the workers at work; says at the end how many networks they trained.

    Where it shall be `live` and stdout is a terminal, a table shows them.
    """
    from dsd.launch.local import Watch
    from dsd.launch.slots import Limit, keep_at_work
    from dsd.store.fleet import networks_ended
    from dsd.store.steer import held_back
    from dsd.tickets import Tickets

    place = shift.launched or f"worker {os.getpid()}"
    before = {True: networks_ended(shift.store, place), False: _trained(shift.store, place)}
    limit = None
    if shift.max_runs:
        limit = Limit(shift.max_runs, Tickets.of(shift.max_runs), before[True])
    settings = shift.lab.settings
    click.echo(f"worker on {' '.join(shift.device).strip('-')}, {_many(shift)}, database "
               f"{settings.database}, data in {settings.data}")  # fmt: skip
    with _device(shift, use_mps) as environment:
        crew = _crew(shift, place, environment, limit.tickets.file if limit else None)
        tuner = _tuner(shift, crew)
        watch = Watch(shift.store, shift.populations, crew, shift.max_attempts,
                      longest_s=30.0, foreign_s=300.0)  # fmt: skip
        if limit:
            watch.most = lambda: limit.left

        def idle() -> None:
            if not shift.exit_when_empty:
                click.echo("Nothing to train: waiting for more (Ctrl-C leaves).")
            held = held_back(shift.store, shift.populations)
            if held:
                click.echo(f"Networks that wait in paused populations: {held} (`dsd resume`).")

        with _table(shift, crew) if live and on_terminal() else contextlib.nullcontext():
            keep_at_work(watch, stop, exit_when_empty=shift.exit_when_empty, limit=limit,
                         tuner=tuner, idle=idle)  # fmt: skip
    ended = _trained(shift.store, place) - before[False]
    click.echo(f"{ended} network{'s'[: ended != 1]} trained")


@contextmanager
def _table(shift: Shift, crew: Crew) -> Iterator[None]:
    """Draws the crew's workers and how far the queue is."""
    from dsd.cli.progress import progress
    from dsd.cli.watch import ticking
    from dsd.cli.worker_table import crew_table

    reader = shift.lab.reader
    with (
        progress(shift.lab, shift.populations, lambda: crew_table(reader, crew)) as tick,
        ticking(tick),
    ):
        yield


def _trained(store: Store, place: str) -> int:
    from dsd.store.fleet import networks_ended

    return networks_ended(store, place, ("done", "diverged"))


def _crew(shift: Shift, place: str, environment: dict[str, str], tickets: int | None) -> Crew:
    from dsd.launch.crew import Crew
    from dsd.launch.relay import Relay
    from dsd.train.stop import AT_THE_END

    arguments = [*shift.arguments, "--exit-when-empty"]
    if tickets is not None:
        arguments += ["--tickets", str(tickets)]
    debug = {"DSD_DEBUG": "1"} if "--debug" in sys.argv else {}
    return Crew(
        arguments, [shift.device] * shift.most, relay=Relay(said, frozenset([AT_THE_END])),
        place=place, environment={"DSD_DB": shift.lab.settings.db, **debug, **environment},
        files=[] if tickets is None else [tickets], wanted=shift.slots or 1,
        say=lambda line: click.echo(line, err=True),
    )  # fmt: skip


def _tuner(shift: Shift, crew: Crew) -> Tuner | None:
    from dsd.launch.climb import Climb
    from dsd.launch.slots import Tuner

    if shift.slots != AUTO:
        return None
    return Tuner(Climb(crew.wanted, shift.most), _free(shift.device), click.echo)


def _free(device: Sequence[str]) -> Callable[[], float]:
    """Free bytes of the device."""
    import torch

    return lambda: float(torch.cuda.mem_get_info(int(device[1]))[0])


@contextmanager
def _device(shift: Shift, use_mps: bool) -> Iterator[dict[str, str]]:
    """The workers' environment, with the images of a GPU held for all of them."""
    if shift.device[0] == "--cpu":  # which maps its images from files
        yield {}
        return
    from dsd.launch.mps import mps

    with mps(use_mps) as how:
        import torch

        from dsd.train.device import pick_device
        from dsd.train.shared import holding

        device = pick_device(int(shift.device[1]))
        torch.cuda.set_device(device)
        click.echo(f"{_many(shift)} share GPU {device.index} {how}")
        with holding(Path(shift.lab.settings.data), device) as environment:
            yield environment


def _many(shift: Shift) -> str:
    if shift.slots == AUTO:
        return f"up to {shift.most} slots"
    return f"{shift.slots} slots"


def said(line: str) -> None:
    """Print a line. Whoever read them may be gone; training goes on."""
    with contextlib.suppress(OSError):
        click.echo(line)
