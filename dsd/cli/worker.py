"""`dsd worker`: train what is queued."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dsd.cli.options import log_option, pass_lab, reader_option

if TYPE_CHECKING:
    import torch

    from dsd.lab import Lab
    from dsd.store.engine import Store
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
def worker(lab: Lab, **given: Any) -> None:
    """Train queued networks one after another and record every epoch.

    A terminal shows what is trained, how far it is and how far the queue is; elsewhere, and with
    --plain, there is a line for each network.

    \b
        dsd worker --gpu 0
        dsd worker --gpus 0,1,2,3
        dsd worker --cpu --exit-when-empty --log worker.jsonl
    """
    asked = Asked(**given)
    asked.check()

    from dsd.store.engine import open_store
    from dsd.store.populations import resolve
    from dsd.train.stop import stop_on_signals

    devices = _devices(asked)
    lab.reader.close()  # says what to run where there is no database; a worker makes none
    store = open_store(lab.settings.db, pooled=False)
    chosen = (resolve(store, name, lab.settings.regime_name) for name in asked.references)
    wanted = [row.id for rows in chosen for row in rows]
    with stop_on_signals() as stop:
        _leave_with(asked.parent, stop)
        _train(lab, store, wanted or None, devices, asked, stop)
    raise SystemExit(stop.exit_code)


@dataclass(frozen=True)
class Asked:
    """The options, as they were given."""

    gpu: int | None
    gpus: str | None
    cpu: bool
    ranks: int | None
    references: tuple[str, ...]
    max_runs: int | None
    max_attempts: int
    checkpoints: str | None
    keep_weights: str | None
    deterministic: bool
    compiled: bool
    no_graphs: bool
    exit_when_empty: bool
    log: Path | None
    plain: bool
    parent: int | None
    launched: str

    def check(self) -> None:
        """Refuse what excludes each other."""
        if self.gpu is not None and self.cpu:
            raise click.UsageError("--gpu and --cpu exclude each other.")
        if self.gpus is not None and (self.cpu or self.gpu is not None):
            raise click.UsageError("--gpus excludes --gpu and --cpu.")
        if self.ranks is not None and not self.cpu:
            raise click.UsageError("--ranks goes with --cpu; --gpus 0,1 has a rank on each GPU.")
        if self.compiled and self.together:
            raise click.UsageError(
                "--compile is for one device: leave it out, or --gpus and --ranks."
            )

    @property
    def together(self) -> bool:
        """Whether several devices train one network."""
        return self.gpus is not None or (self.ranks or 1) > 1


def _devices(asked: Asked) -> list[torch.device]:
    """A device for each rank. Raises UsageError, DsdError."""
    from dsd.train.device import pick_device, pick_devices

    if asked.gpus is not None:
        return pick_devices(asked.gpus)
    return [pick_device(asked.gpu, asked.cpu)] * (asked.ranks or 1)


def _train(
    lab: Lab, store: Store, populations: list[int] | None, devices: list[torch.device],
    asked: Asked, stop: Stop,
) -> None:  # fmt: skip
    """Train in this process, one network after the other."""
    from dsd.cli.watch import watched
    from dsd.train.how import How
    from dsd.train.reader import reader_for
    from dsd.train.team import Team
    from dsd.train.weights import Keep
    from dsd.train.worker import work

    settings = lab.settings
    folder, device = Path(settings.data), devices[0]
    reader = reader_for(settings.reader, device)
    places = ", ".join(map(str, devices))
    click.echo(f"worker on {places}, database {settings.database}, data in {folder}")
    kept = settings.checkpoints if asked.checkpoints is None else asked.checkpoints
    weights = asked.keep_weights or settings.weights
    keep = Keep(Path(weights) if weights else None, every=bool(asked.keep_weights))
    live = not asked.plain and asked.parent is None
    with watched(lab, populations, asked.log, live) as (hear, pulse):
        ended = work(
            store, folder=folder, device=device, team=Team(devices, folder, reader),
            checkpoints=Path(kept) if kept else None, populations=populations, keep=keep,
            how=How(not asked.no_graphs, asked.compiled, asked.deterministic), reader=reader,
            max_runs=asked.max_runs, exit_when_empty=asked.exit_when_empty,
            max_attempts=asked.max_attempts, launched=asked.launched,
            hear=hear, pulse=pulse, stop=stop,
        )  # fmt: skip
    click.echo(f"{ended} network{'s'[: ended != 1]} trained")


def _leave_with(parent: int | None, stop: Stop) -> None:
    """Set `stop` once the process that started this one is gone."""

    def watch() -> None:
        while not stop.wait(1.0):
            if os.getppid() != parent:
                stop.set()

    if parent is not None:
        threading.Thread(target=watch, daemon=True).start()
