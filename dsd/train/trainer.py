"""Train one claimed network and record it: the loop trains, this writes down how it went."""

from __future__ import annotations

import os
import threading
import time
import traceback
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
from dsd.train.crowd import Crowd, NoRoom
from dsd.train.data import Dataset
from dsd.train.ddp import RankLost
from dsd.train.events import Voice
from dsd.train.heartbeat import heartbeat
from dsd.train.how import How
from dsd.train.loop import Diverged, Epoch, Session, Stopped
from dsd.train.memory import is_out_of_memory
from dsd.train.patience import patiently
from dsd.train.pulse import Pulse
from dsd.train.seeds import run_seed
from dsd.train.shared import Lent
from dsd.train.source import Source
from dsd.train.stop import Stop
from dsd.train.team import Team
from dsd.train.weights import Keep

SLOW_EPOCH_S = 30.0  # an epoch that takes longer is worth a line of its own


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
class Trainer:
    """A process's way with one claimed network after the other."""

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
    crowd: Crowd
    lent: Lent | None = None
    max_attempts: int = 3

    def run(self, claim: Claim) -> bool:
        """Train one claimed network and record how it ended; whether it has an error now."""
        begin = time.perf_counter()
        self.voice.tell("claimed", "", claim)
        with heartbeat(
            lambda: queue.beat(self.store, claim, self.lease_s), self.lease_s / 3
        ) as lost:
            chosen: dict[str, str] = {}  # how this network is trained here
            beside = self.crowd.size()
            if self.crowd.known:
                chosen["slots"] = str(beside)
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
                if self.leaving():  # what it ran into may come of that
                    return self.leave(claim, lost)
                self.judge(claim, error, beside)
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
            if self.lent and self.lent.lost.is_set():  # its images may have been anything
                raise Stopped
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
            **self._slots(chosen),
            **({"reader": dataset.reader} if dataset.reader else {}),
            **({"weights": str(end.weights)} if end.weights else {}),
        }
        kept = patiently(
            lambda: queue.finish(
                self.store, claim, state=end.state, error_last=end.last, error_lowest=end.lowest,
                provenance=origin,
            )
        )  # fmt: skip
        if kept:  # else it is another worker's
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

    def _slots(self, chosen: dict[str, str]) -> dict[str, str]:
        """The most that trained on the device, at the network's begin or its end."""
        if "slots" not in chosen:
            return {}
        return {"slots": str(max(int(chosen["slots"]), self.crowd.size()))}

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
            self.give_back(claim)
            raise NoRoom(f"{claim.label}: out of memory beside {others} other"
                         f"{'s'[: others != 1]}: given back") from error  # fmt: skip
        if "CUDA error" in str(error) and "CUDA_MPS_PIPE_DIRECTORY" in os.environ:
            queue.surrender(self.store, claim, self.max_attempts)
            self.voice.tell("released", claim=claim)
            raise DsdError(f"{claim.label}: {first_line(error)}, of it or of another in MPS. "
                           "It is tried again.") from error  # fmt: skip

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
