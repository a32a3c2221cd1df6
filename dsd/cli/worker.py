"""`dsd worker`: train what is queued."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dsd.cli.options import log_option, pass_lab, reader_option
from dsd.cli.slots import Shift, SlotsType, one_will_do, said, slots_for, train_in_slots

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
@click.option("--cpu", is_flag=True, help="Train on CPU cores.")
@click.option("--ranks", type=click.IntRange(1), metavar="N",
              help="With --cpu: train each network on N cores together.")  # fmt: skip
@click.option("--slots", type=SlotsType(), metavar="K|auto",
              help="Networks trained at the same time.  [1 on a GPU; one per core]")  # fmt: skip
@click.option("--no-mps", is_flag=True, help="Share a GPU by turns, not through NVIDIA's MPS.")
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
@click.option("--crew", is_flag=True, hidden=True, help="Others of its starter share the device.")
@click.option("--tickets", type=int, hidden=True, help="File that counts what they may take.")
@pass_lab
def worker(lab: Lab, **given: Any) -> None:
    """Train queued networks and record every epoch: one on each core, or one on a GPU at a time.

    With --slots several networks share a GPU, each in its own process; auto finds how many pay.
    With --gpus several GPUs share a network. A terminal shows what is trained, how far it is and
    how far the queue is; elsewhere, and with --plain, there is a line for each network.

    \b
        dsd worker --gpu 0
        dsd worker --gpu 0 --slots auto
        dsd worker --gpus 0,1,2,3
        dsd worker --cpu --exit-when-empty --log worker.jsonl
    """
    asked = Asked(**given)
    asked.check()

    from dsd.store.engine import open_store
    from dsd.store.populations import resolve
    from dsd.train.stop import stop_on_signals

    lab.reader.close()  # says what to run where there is no database; a worker makes none
    store = open_store(lab.settings.db, pooled=False)
    chosen = (resolve(store, name, lab.settings.regime_name) for name in asked.references)
    wanted = [row.id for rows in chosen for row in rows]
    shift = _shift(lab, store, wanted or None, asked)
    with stop_on_signals() as stop:
        _leave_with(asked.parent, stop)
        if shift.slots != 1 and not one_will_do(shift):
            train_in_slots(shift, stop, not asked.no_mps, not asked.plain and asked.parent is None)
        else:
            _train(shift, asked, stop)
    raise SystemExit(stop.exit_code)


@dataclass(frozen=True)
class Asked:
    """The options, as they were given."""

    gpu: int | None
    gpus: str | None
    cpu: bool
    ranks: int | None
    slots: int | None
    no_mps: bool
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
    crew: bool
    tickets: int | None

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
        if self.together and self.slots not in (None, 1):
            raise click.UsageError(
                "--slots trains several networks on a device, --gpus and --ranks one on several: "
                "give one of them."
            )
        if self.gpus is not None:
            from dsd.train.device import pick_devices

            pick_devices(self.gpus)  # refuses what is not there

    @property
    def together(self) -> bool:
        """Whether several devices train one network."""
        return self.gpus is not None or (self.ranks or 1) > 1


def _shift(lab: Lab, store: Store, populations: list[int] | None, asked: Asked) -> Shift:
    """What is to be done, in this process or in several. Raises UsageError, DsdError."""
    settings = lab.settings
    gpu = None if asked.cpu or asked.gpus is not None else _gpu(asked)
    slots = 1 if asked.together else slots_for(asked.slots, gpu is not None, asked.max_runs)
    if gpu is not None and slots != 1:
        _check_several(gpu)
    folder = settings.checkpoints if asked.checkpoints is None else asked.checkpoints
    switches = {"--deterministic": asked.deterministic, "--compile": asked.compiled,
                "--no-graphs": asked.no_graphs}  # fmt: skip
    arguments = [
        "--data", settings.data, "--regime", settings.regime, "--reader", settings.reader,
        "--checkpoints", folder, "--max-attempts", str(asked.max_attempts),
        *(["--keep-weights", asked.keep_weights] if asked.keep_weights else []),
        *(["--log", str(asked.log)] if asked.log else []),
        *(key for key, on in switches.items() if on),
        *(part for name in asked.references for part in ("--space", name)),
    ]  # fmt: skip
    device = ["--cpu"] if gpu is None else ["--gpu", str(gpu)]
    return Shift(
        lab, store, populations, device, slots, arguments,
        asked.max_runs, asked.max_attempts, asked.exit_when_empty, asked.launched, folder,
    )  # fmt: skip


def _check_several(gpu: int) -> None:
    """Refuse several networks at a time where processes cannot share the GPU's memory."""
    import torch

    from dsd.train.device import pick_device

    if torch.cuda.device_count():  # without touching it: MPS comes first
        return
    device = pick_device(gpu)
    raise click.UsageError(f"{device} trains one network at a time: leave --slots out.")


def _gpu(asked: Asked) -> int | None:
    """The GPU's number; None where there is none, and none was asked for."""
    if asked.gpu is not None:
        return asked.gpu
    import torch

    from dsd.train.device import pick_device

    if asked.slots in (None, 1):
        device = pick_device()
        return None if device.type == "cpu" else device.index or 0
    return 0 if torch.cuda.device_count() else None  # without touching it: MPS comes first


def _devices(shift: Shift, asked: Asked) -> list[torch.device]:
    """A device for each rank. Raises UsageError, DsdError."""
    from dsd.train.device import pick_device, pick_devices

    if asked.gpus is not None:
        return pick_devices(asked.gpus)
    kind, *number = shift.device
    device = pick_device(int(number[0]) if number else None, kind == "--cpu")
    return [device] * (asked.ranks or 1)


def _train(shift: Shift, asked: Asked, stop: Stop) -> None:
    """Train in this process, one network after the other."""
    from dsd.cli.watch import watched
    from dsd.tickets import Tickets
    from dsd.train.how import How
    from dsd.train.reader import reader_for
    from dsd.train.shared import borrowed
    from dsd.train.team import Team
    from dsd.train.weights import Keep
    from dsd.train.worker import work

    settings, devices = shift.lab.settings, _devices(shift, asked)
    folder, device = Path(settings.data), devices[0]
    reader = reader_for(settings.reader, device)
    say = said if asked.crew else click.echo
    if not asked.crew:
        places = ", ".join(map(str, devices))
        say(f"worker on {places}, database {settings.database}, data in {folder}")
    weights = asked.keep_weights or settings.weights
    live = not asked.plain and asked.parent is None
    with watched(shift.lab, shift.populations, asked.log, live, say) as (hear, pulse):
        ended = work(
            shift.store, folder=folder, device=device, team=Team(devices, folder, reader),
            checkpoints=Path(shift.checkpoints) if shift.checkpoints else None,
            keep=Keep(Path(weights) if weights else None, every=bool(asked.keep_weights)),
            how=How(not asked.no_graphs, asked.compiled, asked.deterministic), reader=reader,
            populations=shift.populations, max_runs=shift.max_runs,
            exit_when_empty=shift.exit_when_empty, max_attempts=shift.max_attempts,
            launched=shift.launched, crew=asked.crew,
            tickets=None if asked.tickets is None else Tickets(asked.tickets),
            lent=borrowed(os.environ, stop.set), hear=hear, pulse=pulse, stop=stop,
        )  # fmt: skip
    if not asked.crew:
        say(f"{ended} network{'s'[: ended != 1]} trained")


def _leave_with(parent: int | None, stop: Stop) -> None:
    """Set `stop` once the process that started this one is gone."""

    def watch() -> None:
        while not stop.at_once:
            time.sleep(1.0)
            if os.getppid() != parent:
                stop.set()

    if parent is not None:
        threading.Thread(target=watch, daemon=True).start()
