"""`dsd launch ray`: workers on the nodes of a Ray cluster."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import click

from dsd.cli.options import pass_lab, reader_option

if TYPE_CHECKING:
    from dsd.lab import Lab
    from dsd.settings import Settings


@click.command()
@click.option("--address", default="local", show_default=True,
              envvar=["DSD_LAUNCH_RAY_ADDRESS", "RAY_ADDRESS"], metavar="auto|HOST:PORT|ray://...",
              help="The cluster (also RAY_ADDRESS); local starts one on this machine.",
              )  # fmt: skip
@click.option("--workers", required=True, type=click.IntRange(1), metavar="N", help="How many.")
@click.option("--gpus-per-worker", default=1.0, show_default=True, metavar="1|0.25|0",
              type=click.FloatRange(0, 1), help="0.25: four workers share a GPU; 0: on the CPU.",
              )  # fmt: skip
@click.option("--cpus-per-worker", default=1, show_default=True, type=click.IntRange(1),
              metavar="K", help="Cores that Ray sets aside for each.")  # fmt: skip
@click.option("--space", "references", multiple=True, metavar="POPULATION",
              help="Only these populations (space[@regime][#seed]); repeatable.")  # fmt: skip
@reader_option
@pass_lab
def ray(
    lab: Lab, address: str, workers: int, gpus_per_worker: float, cpus_per_worker: int,
    references: tuple[str, ...],
) -> None:  # fmt: skip
    """Train all that is queued with N workers on a Ray cluster.

    A worker, an actor or a node that dies gives its networks back, and another goes on with them.
    Ctrl-C stops all in good order; the same command goes on from there.

    \b
        dsd launch ray --workers 2 --gpus-per-worker 0
        dsd launch ray --address auto --workers 64
    """
    from dsd.cli.progress import progress
    from dsd.launch.ray import LOCAL, Fleet, Need, check_shared, connected, nodes, train_all
    from dsd.store.populations import populations, resolve
    from dsd.store.queue import pending

    known = lab.settings.regime_name
    chosen = [row for name in references for row in resolve(lab.reader, name, known)]
    rows = chosen or populations(lab.reader)
    ids = [row.id for row in rows]
    left = pending(lab.reader, ids)
    if not left:
        click.echo("Nothing is queued.")
        return
    need = Need(cpus_per_worker, gpus_per_worker)
    check_shared(lab.store, address)
    with connected(address), _leaving_on_sigterm():
        count = len(nodes())
        check_shared(lab.store, address, count)
        room = need.room()
        if not room and address == LOCAL:
            raise click.UsageError(_no_room(need.gpus))
        click.echo(f"Training {left} networks with {workers} workers on Ray ({count} "
                   f"node{'s'[: count != 1]}, room for {room}); Ctrl-C stops them.")  # fmt: skip
        arguments = [*need.device, "--checkpoints", _checkpoints(lab.settings)]
        arguments += ["--reader", lab.settings.reader]
        arguments += [part for row in chosen for part in ("--space", row.name)]
        fleet = Fleet(need, workers, arguments, _environment(lab.settings), click.echo)
        with progress(lab, rows) as tick:
            train_all(lab.store, ids, fleet, tick)


def _no_room(gpus: float) -> str:
    if gpus:
        return "Ray finds no GPU on this machine; --gpus-per-worker 0 trains on its cores."
    return "This machine has fewer cores than one worker asks for: lower --cpus-per-worker."


def _environment(settings: Settings) -> dict[str, str]:
    """What the workers are told. A password goes this way alone, never through an argument."""
    from dsd.store.location import database_url, sqlite_file

    file = sqlite_file(database_url(settings.db))
    told = {key: value for key, value in os.environ.items() if key.startswith("DSD_")}
    told |= {key: os.environ[key] for key in ("PGPASSWORD",) if key in os.environ}
    told |= {"DSD_DB": str(file or settings.db), "DSD_REGIME": settings.regime_name}
    return told | {"DSD_DATA": str(Path(settings.data).absolute())}


def _checkpoints(settings: Settings) -> str:
    return str(Path(settings.checkpoints).absolute()) if settings.checkpoints else ""


@contextmanager
def _leaving_on_sigterm() -> Iterator[None]:
    """SIGTERM ends the command as Ctrl-C does, with 143: what is stopped in `finally` is stopped.

    Ray sets a handler of its own when it connects, so this comes after.
    """
    from dsd.launch.local import on_sigterm

    def leave(number: int, frame: FrameType | None) -> None:
        sys.exit(128 + signal.SIGTERM)

    with on_sigterm(leave):
        yield
