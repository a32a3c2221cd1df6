"""Train one network and yield an `Epoch` at a time. It knows no database and no other network."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dsd.errors import DsdError
from dsd.regime import Regime
from dsd.train.data import Dataset
from dsd.train.ddp import ALONE, Ranks
from dsd.train.device import measure_kernels, peak_memory
from dsd.train.evaluate import OnBatch, PreciseBN, Tally, evaluate
from dsd.train.how import How
from dsd.train.probe import fastest
from dsd.train.replay import Pool, Replayed
from dsd.train.schedule import learning_rate
from dsd.train.seeds import derive
from dsd.train.step import Step

TEST_BATCH = 200
AS_USUAL = How()


@dataclass(frozen=True)
class Epoch:
    """One pass over the training images and the test after it; errors in percent.

    `seconds` covers all of it, `images_per_s` the training pass alone, `lr` is the last step's,
    `peak_memory` in bytes is the most held so far on a GPU; on the CPU, what the process holds now.
    """

    epoch: int
    train_loss: float
    train_error: float
    test_error: float
    test_error5: float
    seconds: float
    images_per_s: float
    lr: float
    peak_memory: int


class Diverged(DsdError):
    """The loss is no longer finite."""


class Stopped(Exception):
    """Training was asked to stop in mid-epoch."""


def train(
    model: nn.Module,
    regime: Regime,
    dataset: Dataset,
    device: torch.device,
    seed: int,
    stopped: Callable[[], bool] = lambda: False,
    how: How = AS_USUAL,
) -> Iterator[Epoch]:
    """Train under the regime's recipe (RegNet, section 3) and yield every epoch's outcome.

    SGD with Nesterov momentum; the last incomplete batch is dropped, as in pycls. The model is
    moved to the device and changed. The same model, seed and kind of device give the same numbers
    (on the CPU with one thread, to the bit).
    Raises Diverged, Stopped (asked through `stopped` before every step), and what the model raises.
    """
    yield from Session.start(model, regime, dataset, device, seed, stopped, how).epochs()


@dataclass(frozen=True)
class Session:
    """One network being trained: its step on a batch, and the passes that are made of steps."""

    step: Step
    dataset: Dataset
    seed: int
    ranks: Ranks
    stopped: Callable[[], bool]
    precise_bn: PreciseBN
    on_training: OnBatch
    on_settling: OnBatch
    on_testing: OnBatch

    @classmethod
    def start(
        cls, model: nn.Module, regime: Regime, dataset: Dataset, device: torch.device, seed: int,
        stopped: Callable[[], bool], how: How = AS_USUAL, say: Callable[[str], None] = print,
        ranks: Ranks = ALONE,
    ) -> Session:  # fmt: skip
        """The model on its device, ready to train; on a GPU it is first seen which way is faster.

        `say` is told where something could not be done the fast way. With several `ranks` the
        others are at the same with a twin of the model, each on its share of every batch.
        """
        batch = min(regime.train.batch, len(dataset.train))
        steps = regime.train.epochs * (len(dataset.train) // batch)
        batch //= ranks.count
        measure_kernels(device, how.measures(steps))
        chosen = how.choice(device) or fastest(model, regime, device, batch, how, say, steps)
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        augments = not dataset.train.augmented
        step = Step.of(model, regime, device, chosen, augments, how.compiled, ranks)
        precise_bn = PreciseBN(step.tested)
        passes: list[OnBatch] = [
            step.train,
            precise_bn.scored(step.as_trained),
            step.tally.scored(step.as_tested),
        ]
        if how.graphs and ranks.count == 1:
            pool, random = Pool(), (step.generator, step.generator, None)
            passes = [Replayed(one, device, generator, say, pool)
                      for one, generator in zip(passes, random, strict=True)]  # fmt: skip
        mine, stop = ranks.part(dataset), ranks.together(stopped)
        return cls(step, mine, seed, ranks, stop, precise_bn, *passes)

    @property
    def model(self) -> nn.Module:
        """The network itself."""
        return self.step.model

    @property
    def tested(self) -> nn.Module:
        """The network whose errors and weights count: the averaged one, if there is one."""
        return self.step.tested

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """What changes its weights."""
        return self.step.optimizer

    @property
    def chosen(self) -> dict[str, str]:
        """How it is trained on this device, for its run's provenance."""
        known = {"memory_format": self.step.memory_format}
        if self.step.device.type == "cuda":
            replayed = isinstance(self.on_training, Replayed) and self.on_training.recorded
            known["graphs"] = "yes" if replayed else "no"
            known["kernels"] = "measured" if torch.backends.cudnn.benchmark else "by rule"
        return known

    def epochs(self, done: Sequence[Epoch] = ()) -> Iterator[Epoch]:
        """Every epoch's outcome; those `done` in an earlier session first, as they were."""
        yield from done
        for index in range(len(done), self.step.regime.train.epochs):
            yield self.epoch(index)

    def epoch(self, index: int) -> Epoch:
        """Train for one epoch, counted from 0, and test."""
        self.ranks.begin(index)
        begin = time.perf_counter()
        loss, error, _ = self.ranks.summed(self.train_pass(index)).means()
        if not math.isfinite(loss):
            raise Diverged(f"the training loss is {loss} in epoch {index + 1}.")
        trained = time.perf_counter()
        if self.step.average and index < self.step.regime.train.warmup_epochs:
            self.step.average.restart()
        test_loss, test_error, test_error5 = self.ranks.summed(self.test_pass(index)).means()
        if not math.isfinite(test_loss):
            raise Diverged(f"the test loss is {test_loss} after epoch {index + 1}.")
        seconds, speed = time.perf_counter() - begin, self.steps * self.batch / (trained - begin)
        rate, memory = self.rate(index + 1 - 1 / self.steps), peak_memory(self.step.device)
        return Epoch(index + 1, loss, error, test_error, test_error5, seconds, speed, rate, memory)

    def train_pass(self, index: int) -> Tally:
        """One pass over the training images, never waiting for the device."""
        self.model.train()
        tally = self.step.tally.clear()
        for number, (images, labels) in enumerate(self.training_batches("order", index)):
            if self.stopped():
                raise Stopped
            self.step.set_rate(self.rate(index + number / self.steps))
            self.on_training(images, labels)
            tally.images += len(labels)
        return tally

    def test_pass(self, index: int) -> Tally:
        """Precise BN where the regime asks for it, then the test split, of the tested network."""
        wanted = min(self.steps, self.step.regime.train.precise_bn_images // self.batch)
        if wanted:
            seen = itertools.islice(self.training_batches("precise-bn", index), wanted)
            self.precise_bn.settle(self.on_settling, seen)
        batches = self.dataset.test.batches(TEST_BATCH * self.ranks.count)
        return evaluate(self.tested, self.on_testing, batches, self.step.tally)

    def training_batches(self, stream: str, index: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Shuffled uint8 batches, still to be augmented; every epoch's randomness is its own."""
        self.step.generator.manual_seed(derive("augment", stream, self.seed, index))
        return self.dataset.train.batches(self.batch, derive(stream, self.seed, index))

    def rate(self, epoch: float) -> float:
        """The learning rate at `epoch`, 0 at the start of training."""
        return learning_rate(self.step.regime.train, epoch)

    @property
    def batch(self) -> int:
        """Images a step: the regime's, or the whole training split where that is smaller."""
        return min(self.step.regime.train.batch, len(self.dataset.train))

    @property
    def steps(self) -> int:
        """Steps an epoch."""
        return len(self.dataset.train) // self.batch
