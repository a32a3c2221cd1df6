"""Claim a network, train it, and again, until there are no more or someone says stop."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from dsd.store import queue
from dsd.store.engine import Store
from dsd.tickets import Tickets
from dsd.train.checkpoint import first_line
from dsd.train.crowd import Crowd, make_room
from dsd.train.data import load
from dsd.train.device import provenance
from dsd.train.events import Hear, Voice, aloud
from dsd.train.how import How
from dsd.train.patience import patiently
from dsd.train.pulse import Pulse
from dsd.train.shared import Lent
from dsd.train.source import Source
from dsd.train.stop import Stop
from dsd.train.team import Team
from dsd.train.trainer import Trainer
from dsd.train.weights import Keep

POLL_S, LONGEST_POLL_S = 2.0, 30.0  # between looks into an empty queue, the first and the later
NO_WEIGHTS = Keep()
AS_USUAL = How()


def work(
    store: Store, *, folder: Path, device: torch.device, checkpoints: Path | None = None,
    keep: Keep = NO_WEIGHTS, how: How = AS_USUAL, reader: str = "torchvision",
    team: Team | None = None, populations: Sequence[int] | None = None,
    max_runs: int | None = None, exit_when_empty: bool = False, lease_s: float = 60.0,
    max_attempts: int = 3, launched: str = "", crew: bool = False,
    tickets: Tickets | None = None, lent: Lent | None = None,
    hear: Hear = aloud(print), pulse: Pulse | None = None, stop: Stop | None = None,  # noqa: B008
) -> int:  # fmt: skip
    """Train queued networks until `stop` is set, `max_runs` are taken or, if asked, none is left.

    Returns how many ended with an error to compare (trained or diverged). A network that crashes or
    needs too much memory is recorded as such, and the worker goes on. A network in mid-training is
    given back, its attempt not counted, when the worker is asked to stop; with a folder of
    `checkpoints` whoever claims it goes on from its last one there. `keep` says whose final
    weights are kept, and where; `reader`, torchvision or dali, reads image folders. `hear` is told
    all that happens, `pulse` counts steps. A `team` trains a network on several devices, `device`
    the first. In a `crew` others may train on this device: `tickets` count what they may take
    together, `lent` are the images that they share. Raises RankLost where a rank was killed,
    DatasetMissing, with the queue untouched, when the images of every waiting network are missing
    in `folder`, and NoRoom where the others leave a network too little memory: it is given back.
    """
    stop, team = stop or Stop(), team or Team((device,), folder)
    voice = Voice(hear, launched)
    source = Source(store, folder, populations, voice, reader, team.count,
                    load=lent.load if lent else load, tickets=tickets)  # fmt: skip
    source.populations(required=True)
    team.prepare(how.deterministic)
    queue.rescue_dead(store, max_attempts)
    origin = {**provenance(device), **how.asked(), **team.provenance()}
    crowd = Crowd(store, launched, team.name, crew)
    worker = Trainer(store, source, device, checkpoints, keep, how, lease_s, voice,
                     pulse or Pulse(), stop, origin, team, crowd, lent, max_attempts)  # fmt: skip
    taken = ended = 0
    idle_s = 0.0
    with entered(store, voice, team.name, launched) as owner, team:
        while not stop.is_set() and taken != max_runs:
            claim = patiently(lambda: source.claim(owner, lease_s, max_attempts))
            if claim is not None:
                taken += 1
                idle_s = 0.0
                ended += worker.run(claim)
                make_room(device)
            elif exit_when_empty:
                patiently(source.say_held_back)
                break
            else:
                idle_s = _wait(source, voice, idle_s, stop)
    return ended


def _wait(source: Source, voice: Voice, idle_s: float, stop: Stop) -> float:
    """Wait for networks, ever longer; how long it was."""
    if not idle_s:
        voice.tell("waiting", "Nothing to train: waiting for more (Ctrl-C leaves).")
        patiently(source.say_held_back)
    # Rarer with time, each worker by itself: a thousand idle ones are no burden.
    idle_s = min(LONGEST_POLL_S, 1.25 * idle_s or POLL_S)
    stop.wait(idle_s * random.uniform(0.8, 1.2))
    return idle_s


@contextmanager
def entered(store: Store, voice: Voice, device: str, launched: str) -> Iterator[str]:
    """A worker's time in the database and in its log, from its first word to its last one."""
    voice.worker = queue.register_worker(store, device, launched)
    voice.tell("started", f"Training on {device}.", device=device)
    why = None
    try:
        yield voice.worker
    except BaseException as error:
        why = f"{type(error).__name__}: {first_line(error)}"
        raise
    finally:
        voice.tell("stopped", message=why)
        queue.retire_worker(store, voice.worker)
