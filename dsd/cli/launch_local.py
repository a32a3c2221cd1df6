"""`dsd launch local`: a crew of workers on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from dsd.cli.launch_options import work_of, worker_options
from dsd.cli.options import log_option, pass_lab
from dsd.cli.slots import AUTO, SlotsType

if TYPE_CHECKING:
    from dsd.lab import Lab


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
@log_option("--events")
@click.option("--plain", is_flag=True, help="Plain lines on a terminal, too.")
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
    events: Path | None,
    plain: bool,
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
    from dsd.cli.worker_table import crew_table
    from dsd.launch.crew import Crew
    from dsd.launch.local import leaving_on_sigterm, train_all

    devices = _devices(gpus, cpu, slots)
    work = work_of(lab, references, max_attempts, checkpoints)
    if not work.left:
        click.echo("Nothing is queued.")
        return
    logged = ["--log", str(events)] if events else []
    crew = Crew([*work.arguments, *logged], devices, log, environment={"DSD_DB": lab.settings.db},
                say=lambda line: click.echo(line, err=True))  # fmt: skip
    click.echo(f"Training {work.left} networks with {len(devices)} workers (log: {log}); "
               "Ctrl-C stops them.")  # fmt: skip

    def above() -> object:
        return crew_table(lab.reader, crew)

    with leaving_on_sigterm(), progress(lab, work.rows, above, plain) as tick:
        train_all(lab.store, work.ids, crew, tick)


def _devices(gpus: str, cpu: bool, slots: int | None) -> list[list[str]]:
    """The arguments of each worker. Raises UsageError."""
    from dsd.errors import UsageError

    if bool(gpus) == cpu:
        raise UsageError("Name the devices: either --gpus all (or 0,1), or --cpu.")
    if cpu:
        from dsd.train.parallel import cores

        return [["--cpu"]] * (slots or cores())
    each = "1" if slots is None else "auto" if slots == AUTO else str(slots)
    # One worker for each GPU: it holds the images once, and keeps a process in each of its slots.
    return [["--gpu", str(number), "--slots", each] for number in _gpus(gpus)]


def _gpus(given: str) -> list[int]:
    from dsd.errors import DsdError
    from dsd.train.device import gpu_numbers, gpus

    there = len(gpus())
    if not there:
        raise DsdError("No GPU that torch can use on this machine; --cpu trains on its cores.")
    return gpu_numbers(given, there)
