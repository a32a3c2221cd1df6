"""`dsd worker`: train what is queued."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dsd.cli.options import log_option, pass_lab, reader_option

if TYPE_CHECKING:
    import torch

    from dsd.lab import Lab
    from dsd.train.stop import Stop


@click.command()
@click.option(
    "--gpu",
    type=click.IntRange(0),
    metavar="K",
    help="Train on GPU K (CUDA, ROCm; 0: Apple's MPS).",
)
@click.option("--gpus", metavar="all|0,1",
              help="Train each network on all of these GPUs together.")  # fmt: skip
@click.option("--cpu", is_flag=True, help="Train on one CPU core.")
@click.option("--ranks", type=click.IntRange(1), metavar="N",
              help="With --cpu: train each network on N cores together.")  # fmt: skip
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
@click.option("--deterministic", is_flag=True,
              help="Only kernels that give the same bits every time; slower on a GPU.")  # fmt: skip
@click.option("--compile", "compiled", is_flag=True,
              help="Through torch.compile: pays from about five minutes a network on.",
              )  # fmt: skip
@click.option("--no-graphs", is_flag=True, help="No CUDA graphs: start every kernel by itself.")
@reader_option
@click.option("--exit-when-empty", is_flag=True, help="Leave when nothing is queued.")
@log_option("--log", "--events", "log")
@click.option("--plain", is_flag=True, help="Plain lines on a terminal, too.")
@click.option("--parent", type=int, hidden=True, help="Leave when this process is gone.")
@click.option("--launched", default="", hidden=True, help="Who started it, for `launch status`.")
@pass_lab
def worker(
    lab: Lab,
    gpu: int | None,
    gpus: str | None,
    cpu: bool,
    ranks: int | None,
    references: tuple[str, ...],
    max_runs: int | None,
    max_attempts: int,
    checkpoints: str | None,
    keep_weights: str | None,
    deterministic: bool,
    compiled: bool,
    no_graphs: bool,
    exit_when_empty: bool,
    log: Path | None,
    plain: bool,
    parent: int | None,
    launched: str,
) -> None:
    """Train queued networks one after another and record every epoch.

    A terminal shows what is trained, how far it is and how far the queue is; elsewhere, and with
    --plain, there is a line for each network.

    \b
        dsd worker --gpu 0
        dsd worker --gpus 0,1,2,3
        dsd worker --cpu --exit-when-empty --log worker.jsonl
    """
    devices = _devices(gpu, gpus, cpu, ranks, compiled)

    from dsd.cli.watch import watched
    from dsd.store.engine import open_store
    from dsd.store.populations import resolve
    from dsd.train.how import How
    from dsd.train.reader import reader_for
    from dsd.train.stop import stop_on_signals
    from dsd.train.team import Team
    from dsd.train.weights import Keep
    from dsd.train.worker import work

    device, folder = devices[0], Path(lab.settings.data)
    reader = reader_for(lab.settings.reader, device)
    team = Team(devices, folder, reader)
    lab.reader.close()  # says what to run where there is no database; a worker makes none
    store = open_store(lab.settings.db, pooled=False)
    wanted = [row.id for ref in references for row in resolve(store, ref, lab.settings.regime_name)]
    places = ", ".join(map(str, devices))
    click.echo(f"worker on {places}, database {lab.settings.database}, data in {folder}")
    kept = lab.settings.checkpoints if checkpoints is None else checkpoints
    weights = keep_weights or lab.settings.weights
    keep = Keep(Path(weights) if weights else None, every=bool(keep_weights))
    live = not plain and parent is None
    with stop_on_signals() as stop, watched(lab, wanted or None, log, live) as (hear, pulse):
        _leave_with(parent, stop)
        ended = work(
            store, folder=folder, device=device, team=team,
            checkpoints=Path(kept) if kept else None, populations=wanted or None,
            keep=keep, how=How(not no_graphs, compiled, deterministic), reader=reader,
            max_runs=max_runs,
            exit_when_empty=exit_when_empty, max_attempts=max_attempts, launched=launched,
            hear=hear, pulse=pulse, stop=stop,
        )  # fmt: skip
    click.echo(f"{ended} network{'s'[: ended != 1]} trained")
    raise SystemExit(stop.exit_code)


def _devices(
    gpu: int | None, gpus: str | None, cpu: bool, ranks: int | None, compiled: bool
) -> list[torch.device]:
    """A device for each rank. Raises UsageError, DsdError."""
    if gpu is not None and cpu:
        raise click.UsageError("--gpu and --cpu exclude each other.")
    if gpus is not None and (cpu or gpu is not None):
        raise click.UsageError("--gpus excludes --gpu and --cpu.")
    if ranks is not None and not cpu:
        raise click.UsageError("--ranks goes with --cpu; --gpus 0,1 has a rank on each GPU.")
    if compiled and (gpus is not None or (ranks or 1) > 1):
        raise click.UsageError("--compile is for one device: leave it out, or --gpus and --ranks.")
    from dsd.train.device import pick_device, pick_devices

    return pick_devices(gpus) if gpus is not None else [pick_device(gpu, cpu)] * (ranks or 1)


def _leave_with(parent: int | None, stop: Stop) -> None:
    """Set `stop` once the process that started this one is gone."""

    def watch() -> None:
        while not stop.wait(1.0):
            if os.getppid() != parent:
                stop.set()

    if parent is not None:
        threading.Thread(target=watch, daemon=True).start()
