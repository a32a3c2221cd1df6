"""`dsd worker`: train what is queued."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dsd.cli.options import log_option, pass_lab, reader_option
from dsd.cli.slots import Shift, SlotsType, one_will_do, said, slots_for, train_in_slots

if TYPE_CHECKING:
    from dsd.lab import Lab
    from dsd.settings import Settings
    from dsd.train.stop import Stop


@click.command()
@click.option(
    "--gpu",
    type=click.IntRange(0),
    metavar="K",
    help="Train on GPU K (CUDA, ROCm; 0: Apple's MPS).",
)
@click.option("--cpu", is_flag=True, help="Train on CPU cores.")
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
def worker(
    lab: Lab,
    gpu: int | None,
    cpu: bool,
    slots: int | None,
    no_mps: bool,
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
    crew: bool,
    tickets: int | None,
) -> None:
    """Train queued networks and record every epoch: one on each core, or one on a GPU at a time.

    With --slots several networks share a GPU, each in its own process; auto finds how many pay. A
    terminal shows one process live; elsewhere, and with --plain, there is a line for each network.

    \b
        dsd worker --gpu 0
        dsd worker --gpu 0 --slots auto
        dsd worker --cpu --exit-when-empty --log worker.jsonl
    """
    from dsd.store.engine import open_store
    from dsd.store.populations import resolve
    from dsd.train.stop import stop_on_signals

    if gpu is not None and cpu:
        raise click.UsageError("--gpu and --cpu exclude each other.")
    lab.reader.close()  # says what to run where there is no database; a worker makes none
    store = open_store(lab.settings.db, pooled=False)
    wanted = [row.id for ref in references for row in resolve(store, ref, lab.settings.regime_name)]
    gpu = None if cpu else _gpu(gpu, slots)
    folder = lab.settings.checkpoints if checkpoints is None else checkpoints
    switches = {"--deterministic": deterministic, "--compile": compiled, "--no-graphs": no_graphs}
    shift = Shift(
        lab, store, wanted or None, ["--cpu"] if gpu is None else ["--gpu", str(gpu)],
        slots_for(slots, gpu is not None, max_runs),
        [*_settings(lab.settings), "--checkpoints", folder, "--max-attempts", str(max_attempts),
         *(["--keep-weights", keep_weights] if keep_weights else []),
         *(["--log", str(log)] if log else []), *(key for key, on in switches.items() if on),
         *(part for name in references for part in ("--space", name))],
        max_runs, max_attempts, exit_when_empty, launched, folder,
    )  # fmt: skip
    with stop_on_signals() as stop:
        _leave_with(parent, stop)
        if shift.slots != 1 and not one_will_do(shift):
            train_in_slots(shift, stop, not no_mps)
        else:
            how = (not no_graphs, compiled, deterministic)
            _train(shift, stop, keep_weights, how, log, not (plain or parent), crew, tickets)
    raise SystemExit(stop.exit_code)


def _settings(known: Settings) -> list[str]:
    """What a worker is told of the laboratory; the database's URL goes by the environment."""
    return ["--data", known.data, "--regime", known.regime, "--reader", known.reader]


def _gpu(given: int | None, slots: int | None) -> int | None:
    """The GPU's number; None where there is none, and none was asked for."""
    if given is not None:
        return given
    import torch

    from dsd.train.device import pick_device

    if slots in (None, 1):
        device = pick_device()
        return None if device.type == "cpu" else device.index or 0
    return 0 if torch.cuda.device_count() else None  # without touching it: MPS comes first


def _train(
    shift: Shift, stop: Stop, keep_weights: str | None, how: tuple[bool, bool, bool],
    log: Path | None, live: bool, crew: bool, tickets: int | None,
) -> None:  # fmt: skip
    """Train in this process, one network after the other."""
    from dsd.cli.watch import watched
    from dsd.tickets import Tickets
    from dsd.train.device import pick_device
    from dsd.train.how import How
    from dsd.train.reader import reader_for
    from dsd.train.shared import borrowed
    from dsd.train.weights import Keep
    from dsd.train.worker import work

    settings = shift.lab.settings
    kind, *number = shift.device
    device = pick_device(int(number[0]) if number else None, kind == "--cpu")
    reader = reader_for(settings.reader, device)
    say = said if crew else click.echo
    if not crew:
        say(f"worker on {device}, database {settings.database}, data in {settings.data}")
    weights = keep_weights or settings.weights
    with watched(shift.lab, shift.populations, log, live, say) as (hear, pulse):
        ended = work(
            shift.store, folder=Path(settings.data), device=device,
            checkpoints=Path(shift.checkpoints) if shift.checkpoints else None,
            populations=shift.populations,
            keep=Keep(Path(weights) if weights else None, every=bool(keep_weights)),
            how=How(*how), reader=reader, max_runs=shift.max_runs,
            exit_when_empty=shift.exit_when_empty, max_attempts=shift.max_attempts,
            launched=shift.launched, crew=crew,
            tickets=None if tickets is None else Tickets(tickets),
            lent=borrowed(os.environ, stop.set), hear=hear, pulse=pulse, stop=stop,
        )  # fmt: skip
    if not crew:
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
