"""What is done to a network with one batch: a step of training, of precise BN, of the test."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dsd.regime import Regime
from dsd.train.augment import Normalization, augmented
from dsd.train.average import Average
from dsd.train.counters import counted_at_once, counting
from dsd.train.ddp import ALONE, Ranks
from dsd.train.evaluate import Tally
from dsd.train.how import FORMATS
from dsd.train.optimizer import sgd
from dsd.train.share import WHOLE, Share


@dataclass(frozen=True)
class Step:
    """A network with all that a batch of it needs; its effects stay on the device.

    `augments` says whether crops and flips are still to be done. `call` is the model, or what
    torch.compile or several ranks make of it. `rate` holds the learning rate where a recorded step
    is to read it.
    """

    model: nn.Module
    call: Callable[[Tensor], Tensor]
    average: Average | None
    regime: Regime
    device: torch.device
    memory_format: str
    augments: bool
    optimizer: torch.optim.Optimizer
    normalization: Normalization
    generator: torch.Generator
    tally: Tally
    rate: Tensor | None
    share: Share = WHOLE  # of each training batch
    norms: Sequence[nn.BatchNorm2d] = ()  # whose counters of batches are advanced at once

    @property
    def tested(self) -> nn.Module:
        """The network whose errors and weights count: the averaged one, if there is one."""
        return self.average.network if self.average else self.model

    @classmethod
    def of(
        cls, model: nn.Module, regime: Regime, device: torch.device, memory_format: str,
        augments: bool = True, compiled: bool = False, ranks: Ranks = ALONE,
    ) -> Step:  # fmt: skip
        """The model on its device, in its memory format, and its optimiser."""
        model = ranks.normed(model).to(device).to(memory_format=FORMATS[memory_format])
        if compiled:
            torch.compiler.reset()  # of one code it compiles a few networks only, then no more
        rate = torch.tensor(regime.train.lr, device=device) if device.type == "cuda" else None
        return cls(
            model, ranks.joined(torch.compile(model, dynamic=False) if compiled else model),
            Average.of(model, regime.train.ema), regime, device,
            memory_format, augments, sgd(model, regime, rate),
            Normalization.of(regime.augment, device), torch.Generator(device),
            Tally.on(device), rate, ranks.share, counting(model) if rate is not None else (),
        )  # fmt: skip

    def train(self, images: Tensor, labels: Tensor) -> None:
        """Forward, backward and the optimiser's step on uint8 images, counted in the tally."""
        with counted_at_once(self.norms):
            logits = self.forward(self.prepared(images))
        smoothing = self.regime.train.label_smoothing
        loss = F.cross_entropy(logits.float(), labels, label_smoothing=smoothing)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        if self.average:
            self.average.step()
        self.tally.add(loss, logits, labels)

    def as_trained(self, images: Tensor) -> Tensor:
        """Logits of the tested network, of uint8 images that are augmented as in training."""
        return self.forward(self.prepared(images), tested=True)

    def as_tested(self, images: Tensor) -> Tensor:
        """Logits of the tested network, of uint8 images as they are."""
        return self.forward(self.placed(self.normalization(images)), tested=True)

    def prepared(self, images: Tensor) -> Tensor:
        """Training images as the network sees them, by the generator's next numbers."""
        if self.augments:
            regime = self.regime
            images = augmented(
                images, regime.augment, regime.resolution, self.generator, self.share
            )
        return self.placed(self.normalization(images, self.generator, self.share))

    def placed(self, images: Tensor) -> Tensor:
        """Images in the model's memory format."""
        return images.contiguous(memory_format=FORMATS[self.memory_format])

    def forward(self, images: Tensor, tested: bool = False) -> Tensor:
        """Logits of the trained or the tested network, computed in the regime's precision."""
        network = self.average.network if tested and self.average else self.call
        bf16 = self.regime.train.precision == "bf16"
        with torch.autocast(self.device.type, torch.bfloat16, bf16):
            logits: Tensor = network(images)
        return logits

    def set_rate(self, rate: float) -> None:
        """Put a learning rate into the optimiser, without waiting for the device."""
        if self.rate is not None:
            self.rate.fill_(rate)
        for group in self.optimizer.param_groups:
            group["lr"] = rate if self.rate is None else self.rate
