"""Claim a network, train it, record it, and again: the loop trains, this writes down."""

from __future__ import annotations

import random
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import torch

from dsd.errors import DsdError
from dsd.net.arch import Arch
from dsd.net.build import build
from dsd.regime import Regime
from dsd.store import queue
from dsd.store.engine import DatabaseUnavailable, Store
from dsd.store.queue import Claim
from dsd.train.checkpoint import Checkpoint, Unusable, first_line
from dsd.train.data import Dataset
from dsd.train.ddp import RankLost
from dsd.train.device import provenance
from dsd.train.events import Hear, Voice, aloud
from dsd.train.heartbeat import heartbeat
from dsd.train.how import How
from dsd.train.loop import Diverged, Epoch, Session, Stopped
from dsd.train.patience import patiently
from dsd.train.pulse import Pulse
from dsd.train.seeds import run_seed
from dsd.train.source import Source
from dsd.train.stop import Stop
from dsd.train.team import Team
from dsd.train.weights import Keep

POLL_S, LONGEST_POLL_S = 2.0, 30.0  # between looks into an empty queue, the first and the later
SLOW_EPOCH_S = 30.0  # an epoch that takes longer is worth a line of its own
NO_WEIGHTS = Keep()
AS_USUAL = How()
OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "out of memory")


def work(
    store: Store,
    *,
    folder: Path,
    device: torch.device,
    checkpoints: Path | None = None,
    keep: Keep = NO_WEIGHTS,
    how: How = AS_USUAL,
    reader: str = "torchvision",
    team: Team | None = None,
    populations: Sequence[int] | None = None,
    max_runs: int | None = None,
    exit_when_empty: bool = False,
    lease_s: float = 60.0,
    max_attempts: int = 3,
    launched: str = "",
    hear: Hear = aloud(print),  # noqa: B008
    pulse: Pulse | None = None,
    stop: Stop | None = None,
) -> int:
    """Train queued networks until `stop` is set, `max_runs` are taken or, if asked, none is left.

    Returns how many ended with an error to compare (trained or diverged). A network that crashes or
    needs too much memory is recorded as such, and the worker goes on. A network in mid-training is
    given back, its attempt not counted, when the worker is asked to stop; with a folder of
    `checkpoints` whoever claims it goes on from its last one there. `keep` says whose final
    weights are kept, and where; `reader`, torchvision or dali, reads image folders. `hear` is told
    all that happens, `pulse` counts steps. A `team` trains a network on several devices, `device`
    the first. Raises RankLost where one of its ranks was killed, and DatasetMissing, with the queue
    untouched, when the images of every waiting network are missing in `folder`.
    """
    stop, team = stop or Stop(), team or Team((device,), folder)
    voice = Voice(hear, launched)
    source = Source(store, folder, populations, voice, reader, team.count)
    source.populations(required=True)
    team.prepare(how.deterministic)
    queue.rescue_dead(store, max_attempts)
    origin = {**provenance(device), **how.asked(), **team.provenance()}
    worker = Worker(store, source, device, checkpoints, keep, how, lease_s, voice,
                    pulse or Pulse(), stop, origin, team, max_attempts)  # fmt: skip
    taken = ended = 0
    idle_s = 0.0
    with entered(store, voice, team.name, launched) as owner, team:
        while not stop.is_set() and taken != max_runs:
            claim = patiently(lambda: source.claim(owner, lease_s, max_attempts))
            if claim is not None:
                taken += 1
                idle_s = 0.0
                ended += worker.run(claim)
            elif exit_when_empty:
                patiently(source.say_held_back)
                break
            else:
                if not idle_s:
                    voice.tell("waiting", "Nothing to train: waiting for more (Ctrl-C leaves).")
                    patiently(source.say_held_back)
                # Rarer with time, each worker by itself: a thousand idle ones are no burden.
                idle_s = min(LONGEST_POLL_S, 1.25 * idle_s or POLL_S)
                stop.wait(idle_s * random.uniform(0.8, 1.2))
    return ended


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


@dataclass(frozen=True)
class Outcome:
    """How a network ended that has an error (in percent), and the same in words."""

    state: str
    last: float
    lowest: float
    line: str
    message: str | None = None
    weights: Path | None = None


@dataclass(frozen=True)
class Worker:
    """One process that trains one network after the other."""

    store: Store
    source: Source
    device: torch.device
    checkpoints: Path | None
    keep: Keep
    how: How
    lease_s: float
    voice: Voice
    pulse: Pulse
    stop: Stop
    origin: dict[str, str]
    team: Team
    max_attempts: int

    def run(self, claim: Claim) -> bool:
        """Train one claimed network and record how it ended; whether it has an error now."""
        begin = time.perf_counter()
        self.voice.tell("claimed", "", claim)
        with heartbeat(
            lambda: queue.beat(self.store, claim, self.lease_s), self.lease_s / 3
        ) as lost:
            chosen: dict[str, str] = {}  # how this network is trained here
            try:
                regime = Regime.from_text(claim.regime_text, claim.regime_name)
                dataset = self.source.dataset(regime, self.device)
            except BaseException:  # the images are at fault: the network is not to suffer for it
                self.give_back(claim)
                raise
            try:
                with self.team.watched(partial(self.give_up, claim, regime)):
                    errors, kept = self.train(claim, regime, dataset, lost, chosen)
            except Stopped:
                return self.leave(claim, lost)
            except DatabaseUnavailable:
                raise
            except Diverged as error:
                return self.diverged(claim, regime, dataset, chosen, error)
            except Exception as error:
                return self.broken(claim, regime, self.team.cause(error))
            except BaseException:
                self.give_back(claim)
                raise
            line = f"error {errors[-1]:.1f}% ({time.perf_counter() - begin:.1f} s)"
            done = Outcome("done", errors[-1], min(errors), line, weights=kept)
            return self.finish(claim, regime, dataset, chosen, done)

    def train(
        self, claim: Claim, regime: Regime, dataset: Dataset, lost: threading.Event,
        chosen: dict[str, str],
    ) -> tuple[list[float], Path | None]:  # fmt: skip
        """Train the network, from its checkpoint if it has one.

        Returns the test errors in percent, and the file of its weights if they are kept; `chosen`
        gets what was chosen for it on this device.
        """
        checkpoint = self.checkpoint(claim, regime)
        session, done = self.session(claim, regime, dataset, lost, checkpoint)
        self.team.introduce(session, claim.arch_text, self.how, len(done), checkpoint)
        epochs: list[Epoch] = []
        chosen.update(session.chosen)
        for epoch in session.epochs(done):
            self.record(claim, epoch, lost)
            epochs.append(epoch)
            if len(epochs) > len(done):
                self.told(claim, epoch, regime.train.epochs)
            if len(epochs) <= len(done) or epoch.epoch == regime.train.epochs:
                continue
            if checkpoint:
                checkpoint.save(session, epochs, at_once=self.stop.is_set())
            if self.stop.is_set():
                raise Stopped
        chosen.update(session.chosen)  # a graph may have been refused
        errors = [epoch.test_error for epoch in epochs]
        say = self.voice.warning(claim)
        return errors, self.keep.weights(claim, session.tested, errors[-1], say)

    def told(self, claim: Claim, epoch: Epoch, epochs: int) -> None:
        """Tell an epoch, in words too where it took long and is not the last."""
        slow = epoch.seconds > SLOW_EPOCH_S and epoch.epoch < epochs
        line = f"{claim.label}: epoch {epoch.epoch}/{epochs}, error {epoch.test_error:.1f}%"
        self.pulse.epoch()
        self.voice.tell("epoch", line if slow else "", claim, **asdict(epoch), epochs=epochs)

    def session(
        self, claim: Claim, regime: Regime, dataset: Dataset, lost: threading.Event,
        checkpoint: Checkpoint | None,
    ) -> tuple[Session, list[Epoch]]:  # fmt: skip
        """The network ready to train, with the epochs it has behind it."""
        seed = self.seed(claim, regime)
        torch.manual_seed(seed)
        model = build(Arch.from_json(claim.arch_text))

        def stopped() -> bool:
            self.pulse.beat()
            return lost.is_set() or self.stop.at_once

        kept = checkpoint.read() if checkpoint else None
        chosen = kept.memory_format(self.device) if kept else ""
        how = replace(self.how, memory_format=chosen or self.how.memory_format)
        say = self.voice.warning(claim)
        session = Session.start(model, regime, dataset, self.device, seed, stopped, how, say,
                                self.team.join())  # fmt: skip
        self.pulse.network(session.steps, session.batch)
        if checkpoint is None or kept is None:
            return session, []
        try:
            kept.put_into(session)
        except Unusable as error:  # what it left in the model must not be trained on
            checkpoint.useless(error.__cause__ or error)
            return self.session(claim, regime, dataset, lost, None)
        if kept.epochs:
            line = f"{claim.label}: goes on after epoch {kept.epochs[-1].epoch}"
            self.voice.tell("resumed", line, claim, epoch=kept.epochs[-1].epoch)
        return session, kept.epochs

    def checkpoint(self, claim: Claim, regime: Regime) -> Checkpoint | None:
        """Where this run's training is kept between epochs."""
        if self.checkpoints is None:
            return None
        seed = self.seed(claim, regime)
        say = self.voice.warning(claim)
        return Checkpoint.of(self.checkpoints, claim.digest, regime.digest, seed, say)

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
        self, claim: Claim, regime: Regime, dataset: Dataset, chosen: dict[str, str], end: Outcome
    ) -> bool:
        """Store a result and where it comes from; False if the lease was lost meanwhile."""
        origin = {
            **self.origin,
            **chosen,
            "dataset": dataset.fingerprint,
            "precision": regime.train.precision,
            "seed": self.seed(claim, regime),
            **({"reader": dataset.reader} if dataset.reader else {}),
            **({"weights": str(end.weights)} if end.weights else {}),
        }
        kept = patiently(
            lambda: queue.finish(
                self.store, claim, state=end.state, error_last=end.last, error_lowest=end.lowest,
                provenance=origin,
            )
        )  # fmt: skip
        self.forget(claim, regime)
        if end.weights and not kept:
            end.weights.unlink(missing_ok=True)  # no run's result says that they are its own
        self.voice.tell(
            "ended", f"{claim.label}: {end.line}", claim, state=end.state, error_last=end.last,
            error_lowest=end.lowest, message=end.message, recorded=kept,
        )  # fmt: skip
        return kept

    def diverged(
        self, claim: Claim, regime: Regime, dataset: Dataset, chosen: dict[str, str],
        error: Diverged,
    ) -> bool:  # fmt: skip
        """A network that diverged is one at chance level: to drop it would flatter its space."""
        chance = 100 * (1 - 1 / regime.classes)
        line = f"diverged, recorded at chance level {chance:g}%: {error}"
        end = Outcome("diverged", chance, chance, line, message=str(error))
        return self.finish(claim, regime, dataset, chosen, end)

    def broken(self, claim: Claim, regime: Regime, error: Exception) -> bool:
        """Record what went wrong, on this rank or on another. Raises RankLost."""
        if self.team.busy:
            self.team.end(at_once=True)
        return self.settle(claim, regime, error)

    def settle(self, claim: Claim, regime: Regime, error: Exception) -> bool:
        """Record an error, or give back a network that may not be its cause. Raises RankLost."""
        if isinstance(error, RankLost):  # the attempt counts: a network may have its ranks killed
            patiently(lambda: queue.surrender(self.store, claim, self.max_attempts))
            self.voice.tell("released", claim=claim)
            raise error
        self.forget(claim, regime)
        return self.failed(claim, error)

    def give_up(self, claim: Claim, regime: Regime, error: Exception) -> None:
        """Settle it from another thread, as this one hangs and its process ends now."""
        try:
            self.settle(claim, regime, error)
        except DsdError as said:
            self.voice.tell("warning", f"Error: {said}", claim, message=str(said))

    def failed(self, claim: Claim, error: Exception) -> bool:
        """Record what went wrong. Raises DsdError where it leaves the device unusable."""
        state = "out-of-memory" if is_out_of_memory(error) else "failed"
        message = f"{type(error).__name__}: {error}".splitlines()[0]
        trace = "".join(traceback.format_exception(error))
        kept = patiently(
            lambda: queue.fail(self.store, claim, state=state, message=message, trace=trace)
        )
        line = f"{claim.label}: {state}: {message}"
        self.voice.tell("ended", line, claim, state=state, message=message, recorded=kept)
        if state == "failed" and "CUDA error" in str(error):
            raise DsdError(f"{claim.label} broke the GPU's context ({message}). Start again.")
        return False

    def leave(self, claim: Claim, lost: threading.Event) -> bool:
        """Give the network back, unless another worker has it already."""
        if lost.is_set():
            line = f"{claim.label}: left: it was cancelled, or another worker has it"
            self.voice.tell("lost", line, claim)
        else:
            self.give_back(claim, f"{claim.label}: given back to the queue")
        return False

    def give_back(self, claim: Claim, line: str = "") -> None:
        """Queue the network again, its attempt not counted."""
        queue.release(self.store, claim)
        self.voice.tell("released", line, claim)

    def seed(self, claim: Claim, regime: Regime) -> int:
        """The seed of this run's initial weights and of its random streams."""
        return run_seed(claim.seed, claim.digest, regime.digest)


def is_out_of_memory(error: Exception) -> bool:
    """Whether the device, or the machine, had no more memory to give."""
    if isinstance(error, MemoryError | torch.cuda.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(part in str(error) for part in OUT_OF_MEMORY)
