"""`dsd launch local`: a crew of workers on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from dsd.cli.launch_options import work_of, worker_options
from dsd.cli.options import pass_lab
from dsd.cli.slots import AUTO, SlotsType, cores

if TYPE_CHECKING:
    from rich.table import Table

    from dsd.lab import Lab
    from dsd.launch.crew import Crew


@click.command()
@click.option("--gpus", default="", metavar="all|0,1", help="A worker on each of these GPUs.")
@click.option("--cpu", is_flag=True, help="A worker on each core.")
@click.option("--slots", type=SlotsType(), metavar="K|auto",
              help="Networks at a time on each GPU, or in all on the CPU.  [1; one per core]",
              )  # fmt: skip
@worker_options
@click.option("--log", default="dsd-workers.log", show_default=True,
              type=click.Path(dir_okay=False, path_type=Path),
              help="What the workers print.")  # fmt: skip
@pass_lab
def local(
    lab: Lab,
    gpus: str,
    cpu: bool,
    slots: int | None,
    references: tuple[str, ...],
    max_attempts: int,
    checkpoints: str | None,
    log: Path,
) -> None:
    """Train all that is queued with one worker per GPU or core of this machine.

    A worker that dies gives its network back and is replaced, after a rest that grows while
    nothing is trained. Ctrl-C (or SIGTERM, or `dsd launch stop local`) stops all in good order;
    the same command goes on from there.

    \b
        dsd launch local --cpu
        dsd launch local --gpus all --slots 2
    """
    from dsd.cli.progress import progress
    from dsd.launch.crew import Crew
    from dsd.launch.local import leaving_on_sigterm, train_all

    devices = _devices(gpus, cpu, slots)
    work = work_of(lab, references, max_attempts, checkpoints)
    if not work.left:
        click.echo("Nothing is queued.")
        return
    crew = Crew(work.arguments, devices, log, environment={"DSD_DB": lab.settings.db},
                say=lambda line: click.echo(line, err=True))  # fmt: skip
    click.echo(f"Training {work.left} networks with {len(devices)} workers (log: {log}); "
               "Ctrl-C stops them.")  # fmt: skip
    with leaving_on_sigterm(), progress(lab, work.rows, lambda: _table(lab, crew)) as tick:
        train_all(lab.store, work.ids, crew, tick)


def _table(lab: Lab, crew: Crew) -> Table:
    """A row for each of the crew's workers, as the database knows them."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from dsd.cli.launch_status import cells
    from dsd.store.fleet import by_slot, workers_at

    known = by_slot(workers_at(lab.reader, f"{crew.place}.", here=True))
    grid = Table("worker", "device", "network", "epoch", "images/s", "ended", "state",
                 box=SIMPLE_HEAD, pad_edge=False, show_edge=False)  # fmt: skip
    for number, slot in enumerate(crew.slots):
        one = known.get(slot.launched)
        mine = one if one and slot.process and slot.process.pid == one.pid else None
        within = [w for name, w in known.items() if name.startswith(f"{slot.launched}.")]
        ended = str(sum(w.ended for w in [*within, *([one] if one else [])]))
        waits = "closed" if slot.closed else "rests" if slot.deaths else "waits"
        state = "starting" if slot.process else waits
        device = " ".join(slot.device[:2]).strip("-")
        living = [w for w in within if w.state != "stopped"] if slot.process else []
        rows = [cells(w) for w in ([mine] if mine else living)]
        for shown in rows or [(device, "", "", "", ended, state)]:
            grid.add_row(str(number), *shown)
    return grid


def _devices(gpus: str, cpu: bool, slots: int | None) -> list[list[str]]:
    """The arguments of each worker. Raises UsageError."""
    from dsd.errors import UsageError

    if bool(gpus) == cpu:
        raise UsageError("Name the devices: either --gpus all (or 0,1), or --cpu.")
    if cpu:
        return [["--cpu"]] * (slots or cores())
    each = "1" if slots is None else "auto" if slots == AUTO else str(slots)
    # One worker for each GPU: it holds the images once, and keeps a process in each of its slots.
    return [["--gpu", str(number), "--slots", each] for number in _gpus(gpus)]


def _gpus(given: str) -> list[int]:
    import torch

    from dsd.errors import DsdError, UsageError

    there = torch.cuda.device_count()
    if not there:
        raise DsdError("No GPU that torch can use on this machine; --cpu trains on its cores.")
    if given == "all":
        return list(range(there))
    numbers = [int(part) if part.isdigit() else -1 for part in given.split(",")]
    if not all(0 <= number < there for number in numbers):
        raise UsageError(f"--gpus {given}: this machine has {there}; all, or numbers from 0 to "
                         f"{there - 1} between commas, would work.")  # fmt: skip
    return numbers
