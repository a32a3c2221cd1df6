"""`dsd worker`: train what is queued."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dsd.cli.options import pass_lab, reader_option

if TYPE_CHECKING:
    from dsd.lab import Lab
    from dsd.train.stop import Stop


@click.command()
@click.option("--gpu", type=click.IntRange(0), metavar="K", help="Train on CUDA device K.")
@click.option("--cpu", is_flag=True, help="Train on one CPU core.")
@click.option("--space", "references", multiple=True, metavar="POPULATION",
              help="Only these populations (space[@regime][#seed]); repeatable.")  # fmt: skip
@click.option("--max-runs", type=click.IntRange(1), help="Leave after this many networks.")
@click.option("--max-attempts", default=3, show_default=True, type=click.IntRange(1),
              help="Starts of one network before it counts as failed.")  # fmt: skip
@click.option("--checkpoints", metavar="DIR",
              help="Folder of networks in mid-training.  [dsd.toml, else checkpoints]",
              )  # fmt: skip
@click.option("--keep-weights", metavar="DIR",
              help="Keep the final weights of every network there.  [a selection's, in weights]",
              )  # fmt: skip
@reader_option
@click.option("--exit-when-empty", is_flag=True, help="Leave when nothing is queued.")
@click.option("--parent", type=int, hidden=True, help="Leave when this process is gone.")
@click.option("--launched", default="", hidden=True, help="Who started it, for `launch status`.")
@pass_lab
def worker(
    lab: Lab,
    gpu: int | None,
    cpu: bool,
    references: tuple[str, ...],
    max_runs: int | None,
    max_attempts: int,
    checkpoints: str | None,
    keep_weights: str | None,
    exit_when_empty: bool,
    parent: int | None,
    launched: str,
) -> None:
    """Train queued networks one after another and record every epoch.

    \b
        dsd worker --gpu 0
        dsd worker --cpu --exit-when-empty
    """
    from dsd.store.engine import open_store
    from dsd.store.populations import resolve
    from dsd.train.device import pick_device
    from dsd.train.reader import reader_for
    from dsd.train.stop import stop_on_signals
    from dsd.train.weights import Keep
    from dsd.train.worker import work

    if gpu is not None and cpu:
        raise click.UsageError("--gpu and --cpu exclude each other.")
    device = pick_device(gpu, cpu)
    reader = reader_for(lab.settings.reader, device)
    lab.reader.close()  # says what to run where there is no database; a worker makes none
    store = open_store(lab.settings.db, pooled=False)
    wanted = [row.id for ref in references for row in resolve(store, ref, lab.settings.regime_name)]
    click.echo(f"worker on {device}, database {lab.settings.database}, data in {lab.settings.data}")
    folder = lab.settings.checkpoints if checkpoints is None else checkpoints
    weights = keep_weights or lab.settings.weights
    keep = Keep(Path(weights) if weights else None, every=bool(keep_weights))
    with stop_on_signals() as stop:
        _leave_with(parent, stop)
        ended = work(
            store, folder=Path(lab.settings.data), device=device,
            checkpoints=Path(folder) if folder else None, populations=wanted or None,
            keep=keep, reader=reader, max_runs=max_runs,
            exit_when_empty=exit_when_empty, max_attempts=max_attempts, launched=launched,
            say=click.echo, stop=stop,
        )  # fmt: skip
    click.echo(f"{ended} network{'s'[: ended != 1]} trained")
    raise SystemExit(stop.exit_code)


def _leave_with(parent: int | None, stop: Stop) -> None:
    """Set `stop` once the process that started this one is gone."""

    def watch() -> None:
        while not stop.wait(1.0):
            if os.getppid() != parent:
                stop.set()

    if parent is not None:
        threading.Thread(target=watch, daemon=True).start()
