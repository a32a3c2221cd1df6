"""`dsd launch`: workers started, watched and stopped together."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dsd.cli.launch_ray import ray
from dsd.cli.options import SuggestingGroup, pass_lab

if TYPE_CHECKING:
    from dsd.lab import Lab


@click.group(cls=SuggestingGroup)
def launch() -> None:
    """Start, watch and stop workers together."""


launch.add_command(ray)


@launch.command()
@click.option("--gpus", default="", metavar="all|0,1", help="A worker on each of these GPUs.")
@click.option("--cpu", is_flag=True, help="A worker on each core.")
@click.option("--slots", type=click.IntRange(1), metavar="K",
              help="Workers on each GPU, or in all on the CPU.  [1; one per core]")  # fmt: skip
@click.option("--space", "references", multiple=True, metavar="POPULATION",
              help="Only these populations (space[@regime][#seed]); repeatable.")  # fmt: skip
@click.option("--log", default="dsd-workers.log", show_default=True,
              type=click.Path(dir_okay=False, path_type=Path),
              help="What the workers print.")  # fmt: skip
@pass_lab
def local(
    lab: Lab, gpus: str, cpu: bool, slots: int | None, references: tuple[str, ...], log: Path
) -> None:
    """Train all that is queued with one worker per GPU or core of this machine.

    A worker that dies gives its network back and is replaced. Ctrl-C stops all in good order; the
    same command goes on from there.

    \b
        dsd launch local --cpu
        dsd launch local --gpus all --slots 2
    """
    from dsd.cli.progress import progress
    from dsd.launch.local import Crew, train_all
    from dsd.store.populations import populations, resolve
    from dsd.store.queue import pending

    devices = _devices(gpus, cpu, slots)
    known = lab.settings.regime_name
    chosen = [row for name in references for row in resolve(lab.reader, name, known)]
    rows = chosen or populations(lab.reader)
    ids = [row.id for row in rows]
    left = pending(lab.reader, ids)
    if not left:
        click.echo("Nothing is queued.")
        return
    named = [part for row in chosen for part in ("--space", row.name)]
    settings = lab.settings
    shared = ["--db", settings.db, "--data", settings.data, "--regime", settings.regime]
    crew = Crew(["--exit-when-empty", *shared, *named], devices, log)
    click.echo(f"Training {left} networks with {len(devices)} workers (log: {log}); "
               "Ctrl-C stops them.")  # fmt: skip
    with progress(lab, rows) as tick:
        train_all(lab.store, ids, crew, tick)


def _devices(gpus: str, cpu: bool, slots: int | None) -> list[list[str]]:
    """The arguments of each worker. Raises UsageError."""
    from dsd.errors import UsageError

    if bool(gpus) == cpu:
        raise UsageError("Name the devices: either --gpus all (or 0,1), or --cpu.")
    if cpu:
        return [["--cpu"]] * (slots or cores())
    return [["--gpu", str(number)] for number in _gpus(gpus) for _ in range(slots or 1)]


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


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
