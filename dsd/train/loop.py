"""Train one network and yield an `Epoch` at a time. It knows no database and no other network."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dsd.errors import DsdError
from dsd.regime import Regime
from dsd.train.augment import Normalization, augmented
from dsd.train.average import Average
from dsd.train.data import Dataset
from dsd.train.device import peak_memory
from dsd.train.evaluate import Tally, evaluate, precise_bn
from dsd.train.optimizer import sgd
from dsd.train.schedule import learning_rate
from dsd.train.seeds import derive

TEST_BATCH = 200


@dataclass(frozen=True)
class Epoch:
    """One pass over the training images and the test after it; errors in percent.

    `seconds` covers all of it, `images_per_s` the training pass alone, `lr` is the last step's,
    `peak_memory` in bytes is the most held so far on a CUDA device, else what is held now.
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
) -> Iterator[Epoch]:
    """Train under the regime's recipe (RegNet, section 3) and yield every epoch's outcome.

    SGD with Nesterov momentum; the last incomplete batch is dropped, as in pycls. The model is
    moved to the device and changed. The same model, seed and kind of device give the same numbers
    (on the CPU with one thread, to the bit).
    Raises Diverged, Stopped (asked through `stopped` before every step), and what the model raises.
    """
    yield from Session.start(model, regime, dataset, device, seed, stopped).epochs()


@dataclass(frozen=True)
class Session:
    """One network being trained."""

    model: nn.Module
    regime: Regime
    dataset: Dataset
    device: torch.device
    seed: int
    stopped: Callable[[], bool]
    optimizer: torch.optim.Optimizer
    normalization: Normalization
    average: Average | None = None

    @classmethod
    def start(
        cls, model: nn.Module, regime: Regime, dataset: Dataset, device: torch.device, seed: int,
        stopped: Callable[[], bool],
    ) -> Session:  # fmt: skip
        """The model on its device, and its optimiser."""
        model = model.to(device).to(memory_format=memory_format(device))
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        normalization = Normalization.of(regime.augment, device)
        optimizer, average = sgd(model, regime), Average.of(model, regime.train.ema)
        return cls(model, regime, dataset, device, seed, stopped, optimizer, normalization, average)

    @property
    def tested(self) -> nn.Module:
        """The network whose errors and weights count: the averaged one, if there is one."""
        return self.average.network if self.average else self.model

    def epochs(self, done: Sequence[Epoch] = ()) -> Iterator[Epoch]:
        """Every epoch's outcome; those `done` in an earlier session first, as they were."""
        yield from done
        for index in range(len(done), self.regime.train.epochs):
            yield self.epoch(index)

    def epoch(self, index: int) -> Epoch:
        """Train for one epoch, counted from 0, and test."""
        begin = time.perf_counter()
        loss, error, _ = self.train_pass(index).means()
        if not math.isfinite(loss):
            raise Diverged(f"the training loss is {loss} in epoch {index + 1}.")
        trained = time.perf_counter()
        if self.average and index < self.regime.train.warmup_epochs:
            self.average.restart()
        test_loss, test_error, test_error5 = self.test_pass(index).means()
        if not math.isfinite(test_loss):
            raise Diverged(f"the test loss is {test_loss} after epoch {index + 1}.")
        seconds, speed = time.perf_counter() - begin, self.steps * self.batch / (trained - begin)
        rate, memory = self.optimizer.param_groups[0]["lr"], peak_memory(self.device)
        return Epoch(index + 1, loss, error, test_error, test_error5, seconds, speed, rate, memory)

    def train_pass(self, index: int) -> Tally:
        """One pass over the training images, never waiting for the device."""
        self.model.train()
        tally = Tally.on(self.device)
        smoothing = self.regime.train.label_smoothing
        for step, (images, labels) in enumerate(self.training_batches("order", index)):
            if self.stopped():
                raise Stopped
            self.set_rate(index + step / self.steps)
            logits = self.forward(images)
            loss = F.cross_entropy(logits.float(), labels, label_smoothing=smoothing)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
            if self.average:
                self.average.step()
            tally.add(loss, logits, labels)
        return tally

    def test_pass(self, index: int) -> Tally:
        """Precise BN where the regime asks for it, then the test split, of the tested network."""
        forward = partial(self.forward, model=self.tested)
        wanted = min(self.steps, self.regime.train.precise_bn_images // self.batch)
        if wanted:
            seen = itertools.islice(self.training_batches("precise-bn", index), wanted)
            precise_bn(self.tested, forward, (images for images, _ in seen))
        batches = self.dataset.test.batches(TEST_BATCH)
        ready = ((self.placed(self.normalization(images)), labels) for images, labels in batches)
        return evaluate(self.tested, forward, ready, self.device)

    def training_batches(self, stream: str, index: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Shuffled, augmented, normalised batches; every epoch's randomness is its own."""
        split, regime = self.dataset.train, self.regime
        seed = derive("augment", stream, self.seed, index)
        generator = torch.Generator(self.device).manual_seed(seed)
        for images, labels in split.batches(self.batch, derive(stream, self.seed, index)):
            if not split.augmented:
                images = augmented(images, regime.augment, regime.resolution, generator)
            yield self.placed(self.normalization(images, generator)), labels

    def forward(self, images: Tensor, model: nn.Module | None = None) -> Tensor:
        """Logits of the trained network or another, computed in the regime's precision."""
        with torch.autocast(
            self.device.type, torch.bfloat16, self.regime.train.precision == "bf16"
        ):
            logits: Tensor = (self.model if model is None else model)(images)
        return logits

    def placed(self, images: Tensor) -> Tensor:
        """Images in the model's memory format."""
        return images.contiguous(memory_format=memory_format(self.device))

    def set_rate(self, epoch: float) -> None:
        """Put the schedule's learning rate into the optimiser."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.regime.train, epoch)

    @property
    def batch(self) -> int:
        """Images a step: the regime's, or the whole training split where that is smaller."""
        return min(self.regime.train.batch, len(self.dataset.train))

    @property
    def steps(self) -> int:
        """Steps an epoch."""
        return len(self.dataset.train) // self.batch


def memory_format(device: torch.device) -> torch.memory_format:
    """channels_last on the CPU, where it always pays; on a GPU grouped convolutions lose by it."""
    return torch.channels_last if device.type == "cpu" else torch.contiguous_format
