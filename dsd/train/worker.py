"""Claim a network, train it, record it, and again: the loop trains, this writes down."""

from __future__ import annotations

import os
import random
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from dsd.errors import DsdError
from dsd.net.arch import Arch
from dsd.net.build import build
from dsd.regime import Regime
from dsd.store import queue
from dsd.store.engine import DatabaseUnavailable, Store
from dsd.store.queue import Claim
from dsd.tickets import Tickets
from dsd.train.checkpoint import Checkpoint, Unusable, first_line
from dsd.train.crowd import Crowd, NoRoom, make_room
from dsd.train.data import Dataset, load
from dsd.train.device import device_name, prepare, provenance
from dsd.train.heartbeat import heartbeat
from dsd.train.loop import Diverged, Epoch, Session, Stopped
from dsd.train.patience import patiently
from dsd.train.seeds import run_seed
from dsd.train.shared import Lent
from dsd.train.source import Source
from dsd.train.stop import Stop
from dsd.train.weights import Keep

POLL_S, LONGEST_POLL_S = 2.0, 30.0  # between looks into an empty queue, the first and the later
SLOW_EPOCH_S = 30.0  # an epoch that takes longer is worth a line of its own
NO_WEIGHTS = Keep()
OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "out of memory")


def work(
    store: Store,
    *,
    folder: Path,
    device: torch.device,
    checkpoints: Path | None = None,
    keep: Keep = NO_WEIGHTS,
    populations: Sequence[int] | None = None,
    max_runs: int | None = None,
    exit_when_empty: bool = False,
    lease_s: float = 60.0,
    max_attempts: int = 3,
    launched: str = "",
    crew: bool = False,
    tickets: Tickets | None = None,
    lent: Lent | None = None,
    say: Callable[[str], None] = print,
    stop: Stop | None = None,
) -> int:
    """Train queued networks until `stop` is set, `max_runs` are taken or, if asked, none is left.

    Returns how many ended with an error to compare (trained or diverged). A network that crashes or
    needs too much memory is recorded as such, and the worker goes on. A network in mid-training is
    given back, its attempt not counted, when the worker is asked to stop; with a folder of
    `checkpoints` whoever claims it goes on from its last one there. `keep` says whose final
    weights are kept, and where. In a `crew` others may train on this device: `tickets` count what
    they may take together, `lent` are the images that they share. Raises DatasetMissing,
    with the queue untouched, when the images of every waiting network are missing in `folder`, and
    NoRoom where the others leave a network too little memory: it is given back.
    """
    stop = stop or Stop()
    source = Source(store, folder, populations, say, load=lent.load if lent else load,
                    tickets=tickets)  # fmt: skip
    source.populations(required=True)
    prepare(device)
    queue.rescue_dead(store, max_attempts)
    owner = queue.register_worker(store, device_name(device), launched)
    origin = provenance(device)
    crowd = Crowd(store, launched, device_name(device), crew)
    worker = Worker(store, source, device, checkpoints, keep, lease_s, say, stop, origin, crowd,
                    lent, max_attempts)  # fmt: skip
    say(f"Training on {device_name(device)}.")
    taken = ended = 0
    idle_s = 0.0
    try:
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
                idle_s = _wait(source, idle_s, stop)
    finally:
        queue.retire_worker(store, owner)
    return ended


def _wait(source: Source, idle_s: float, stop: Stop) -> float:
    """Wait for networks, ever longer; how long it was."""
    if not idle_s:
        source.say("Nothing to train: waiting for more (Ctrl-C leaves).")
        patiently(source.say_held_back)
    # Rarer with time, each worker by itself: a thousand idle ones are no burden.
    idle_s = min(LONGEST_POLL_S, 1.25 * idle_s or POLL_S)
    stop.wait(idle_s * random.uniform(0.8, 1.2))
    return idle_s


@dataclass(frozen=True)
class Worker:
    """One process that trains one network after the other."""

    store: Store
    source: Source
    device: torch.device
    checkpoints: Path | None
    keep: Keep
    lease_s: float
    say: Callable[[str], None]
    stop: Stop
    origin: dict[str, str]
    crowd: Crowd
    lent: Lent | None = None
    max_attempts: int = 3

    def run(self, claim: Claim) -> bool:
        """Train one claimed network and record how it ended; whether it has an error now."""
        begin, beside = time.perf_counter(), self.crowd.size()
        with heartbeat(
            lambda: queue.beat(self.store, claim, self.lease_s), self.lease_s / 3
        ) as lost:
            try:
                regime = Regime.from_text(claim.regime_text, claim.regime_name)
                dataset = self.source.dataset(regime, self.device)
            except BaseException:  # the images are at fault: the network is not to suffer for it
                queue.release(self.store, claim)
                raise
            try:
                errors, kept = self.train(claim, regime, dataset, lost)
            except Stopped:
                return self.leave(claim, lost)
            except DatabaseUnavailable:
                raise
            except Diverged as error:
                return self.diverged(claim, regime, dataset, error, beside)
            except Exception as error:
                if self.leaving():  # what it ran into may come of that
                    return self.leave(claim, lost)
                self.judge(claim, error, beside)
                self.forget(claim, regime)
                return self.failed(claim, error)
            except BaseException:
                queue.release(self.store, claim)
                raise
            seconds = time.perf_counter() - begin
            self.say(f"{claim.label}: error {errors[-1]:.1f}% ({seconds:.1f} s)")
            last, lowest = errors[-1], min(errors)
            return self.finish(claim, regime, dataset, "done", last, lowest, beside, kept)

    def train(
        self, claim: Claim, regime: Regime, dataset: Dataset, lost: threading.Event
    ) -> tuple[list[float], Path | None]:
        """Train the network, from its checkpoint if it has one.

        Returns the test errors in percent, and the file of its weights if they are kept.
        """
        checkpoint = self.checkpoint(claim, regime)
        session, done = self.session(claim, regime, dataset, lost, checkpoint)
        epochs: list[Epoch] = []
        for epoch in session.epochs(done):
            if self.lent and self.lent.lost.is_set():  # its images may have been anything
                raise Stopped
            self.record(claim, epoch, lost)
            epochs.append(epoch)
            if len(epochs) <= len(done) or epoch.epoch == regime.train.epochs:
                continue
            if checkpoint:
                checkpoint.save(session, epochs, at_once=self.stop.is_set())
            if self.stop.is_set():
                raise Stopped
            if epoch.seconds > SLOW_EPOCH_S:
                of = f"epoch {epoch.epoch}/{regime.train.epochs}"
                self.say(f"{claim.label}: {of}, error {epoch.test_error:.1f}%")
        errors = [epoch.test_error for epoch in epochs]
        return errors, self.keep.weights(claim, session.model, errors[-1], self.say)

    def session(
        self, claim: Claim, regime: Regime, dataset: Dataset, lost: threading.Event,
        checkpoint: Checkpoint | None,
    ) -> tuple[Session, list[Epoch]]:  # fmt: skip
        """The network ready to train, with the epochs it has behind it."""
        seed = self.seed(claim, regime)
        torch.manual_seed(seed)
        model = build(Arch.from_json(claim.arch_text))

        def stopped() -> bool:
            return lost.is_set() or self.stop.at_once

        session = Session.start(model, regime, dataset, self.device, seed, stopped)
        try:
            done = checkpoint.restore(session) if checkpoint else []
        except Unusable:  # what it left in the model must not be trained on
            return self.session(claim, regime, dataset, lost, None)
        if done:
            self.say(f"{claim.label}: goes on after epoch {done[-1].epoch}")
        return session, done

    def checkpoint(self, claim: Claim, regime: Regime) -> Checkpoint | None:
        """Where this run's training is kept between epochs."""
        if self.checkpoints is None:
            return None
        seed = self.seed(claim, regime)
        return Checkpoint.of(self.checkpoints, claim.digest, regime.digest, seed, self.say)

    def forget(self, claim: Claim, regime: Regime) -> None:
        """The run has ended: its checkpoint is of no more use."""
        checkpoint = self.checkpoint(claim, regime)
        if checkpoint:
            checkpoint.remove()

    def record(self, claim: Claim, epoch: Epoch, lost: threading.Event) -> None:
        """Store an epoch. Raises Stopped if the lease is lost."""
        if not patiently(lambda: queue.record_epoch(self.store, claim, asdict(epoch))):
            lost.set()
            raise Stopped

    def finish(
        self, claim: Claim, regime: Regime, dataset: Dataset, state: str, last: float,
        lowest: float, beside: int, weights: Path | None = None,
    ) -> bool:  # fmt: skip
        """Store a result and where it comes from; False if the lease was lost meanwhile.

        `beside` is how many networks trained on the device when it began; the most count.
        """
        origin = {
            **self.origin,
            "dataset": dataset.fingerprint,
            "precision": regime.train.precision,
            "seed": self.seed(claim, regime),
            **({"slots": str(max(beside, self.crowd.size()))} if self.crowd.known else {}),
            **({"weights": str(weights)} if weights else {}),
        }
        kept = patiently(
            lambda: queue.finish(
                self.store, claim, state=state, error_last=last, error_lowest=lowest,
                provenance=origin,
            )
        )  # fmt: skip
        self.forget(claim, regime)
        if weights and not kept:
            weights.unlink(missing_ok=True)  # no run's result says that they are its own
        return kept

    def diverged(
        self, claim: Claim, regime: Regime, dataset: Dataset, error: Diverged, beside: int
    ) -> bool:
        """A network that diverged is one at chance level: to drop it would flatter its space."""
        chance = 100 * (1 - 1 / regime.classes)
        self.say(f"{claim.label}: diverged, recorded at chance level {chance:g}%: {error}")
        return self.finish(claim, regime, dataset, "diverged", chance, chance, beside)

    def leaving(self, wait_s: float = 0.5) -> bool:
        """Whether this worker leaves in mid-epoch, be it because the images' holder is gone."""
        return self.stop.at_once or bool(self.lent and self.lent.lost.wait(wait_s))

    def judge(self, claim: Claim, error: Exception, beside: int) -> None:
        """Raises what an error says of others on the device, where it says nothing of the network.

        NoRoom where memory is short and others hold some of it: the network is given back. Under
        MPS one process's CUDA error reaches all: each attempt counts, and no network fails by it.
        """
        others = max(beside, self.crowd.size()) - 1
        if not others:
            return
        if is_out_of_memory(error):
            queue.release(self.store, claim)
            raise NoRoom(f"{claim.label}: out of memory beside {others} other"
                         f"{'s'[: others != 1]}: given back") from error  # fmt: skip
        if "CUDA error" in str(error) and "CUDA_MPS_PIPE_DIRECTORY" in os.environ:
            queue.give_up(self.store, claim.owner, self.max_attempts)
            raise DsdError(f"{claim.label}: {first_line(error)}, of it or of another in MPS. "
                           "It is tried again.") from error  # fmt: skip

    def failed(self, claim: Claim, error: Exception) -> bool:
        """Record what went wrong. Raises DsdError where it leaves the device unusable."""
        state = "out-of-memory" if is_out_of_memory(error) else "failed"
        message = f"{type(error).__name__}: {error}".splitlines()[0]
        trace = traceback.format_exc()
        self.say(f"{claim.label}: {state}: {message}")
        patiently(lambda: queue.fail(self.store, claim, state=state, message=message, trace=trace))
        if state == "failed" and "CUDA error" in str(error):
            raise DsdError(f"{claim.label} broke the GPU's context ({message}). Start again.")
        return False

    def leave(self, claim: Claim, lost: threading.Event) -> bool:
        """Give the network back, unless another worker has it already."""
        if lost.is_set():
            self.say(f"{claim.label}: left: it was cancelled, or another worker has it")
        else:
            queue.release(self.store, claim)
            self.say(f"{claim.label}: given back to the queue")
        return False

    def seed(self, claim: Claim, regime: Regime) -> int:
        """The seed of this run's initial weights and of its random streams."""
        return run_seed(claim.seed, claim.digest, regime.digest)


def is_out_of_memory(error: Exception) -> bool:
    """Whether the device, or the machine, had no more memory to give."""
    if isinstance(error, MemoryError | torch.cuda.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(part in str(error) for part in OUT_OF_MEMORY)
