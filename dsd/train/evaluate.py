"""Errors of a network on a split, after its batch normalisation has been made precise."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Forward = Callable[[Tensor], Tensor]
Batches = Iterable[tuple[Tensor, Tensor]]
OnBatch = Callable[[Tensor, Tensor], None]


@dataclass
class Tally:
    """Sums over images, kept on the device: reading them waits for it, so it is done once a pass.

    They are added to in place: the recorded form of a step (`dsd.train.replay`) goes on doing so.
    """

    sums: Tensor  # (3,): losses; images whose label is not the first guess; nor among the first 5
    images: int = 0

    @classmethod
    def on(cls, device: torch.device) -> Tally:
        """Nothing counted yet."""
        return cls(torch.zeros(3, device=device))

    def clear(self) -> Tally:
        """Count from nothing again."""
        self.sums.zero_()
        self.images = 0
        return self

    def add(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Add one batch's losses (`loss` is their mean) and wrong guesses, but not its images."""
        top = logits.detach().topk(min(5, logits.shape[1])).indices == labels[:, None]
        wrong, wrong5 = (~top[:, 0]).sum(), (~top.any(1)).sum()
        self.sums.add_(torch.stack((loss.detach().float() * len(labels), wrong.float(),
                                    wrong5.float())))  # fmt: skip

    def means(self) -> tuple[float, float, float]:
        """Mean loss, top-1 and top-5 error in percent. Waits for the device."""
        loss, wrong, wrong5 = self.sums.tolist()
        return loss / self.images, 100 * wrong / self.images, 100 * wrong5 / self.images

    def scored(self, forward: Forward) -> OnBatch:
        """What counts a batch by the logits of `forward`."""

        def on_batch(images: Tensor, labels: Tensor) -> None:
            logits = forward(images)
            self.add(F.cross_entropy(logits.float(), labels), logits, labels)

        return on_batch


@torch.inference_mode()
def evaluate(model: nn.Module, on_batch: OnBatch, batches: Batches, tally: Tally) -> Tally:
    """The tally, anew, over the batches that `on_batch` adds to it; sets eval mode.

    BN uses its running statistics.
    """
    model.eval()
    tally.clear()
    for images, labels in batches:
        on_batch(images, labels)
        tally.images += len(labels)
    return tally


class PreciseBN:
    """BN's running mean and variance replaced by their averages over some batches (pycls).

    With a momentum of 1 a forward pass leaves the batch's own statistics in the running ones, from
    where they are added up on the device.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
        self.running = [
            part for norm in self.norms for part in (norm.running_mean, norm.running_var)
            if part is not None
        ]  # fmt: skip
        self.sums = [torch.zeros_like(part) for part in self.running]

    def scored(self, forward: Forward) -> OnBatch:
        """What takes a batch into the averages; its labels do not matter."""

        def on_batch(images: Tensor, labels: Tensor) -> None:
            forward(images)
            if self.sums:
                torch._foreach_add_(self.sums, self.running)

        return on_batch

    @torch.inference_mode()
    def settle(self, on_batch: OnBatch, batches: Batches) -> None:
        """Average over the batches, of which there must be one at least; sets training mode."""
        if not self.sums:
            return
        momenta = [norm.momentum for norm in self.norms]
        self.model.train()
        torch._foreach_zero_(self.sums)
        for norm in self.norms:
            norm.momentum = 1.0
        count = 0
        for images, labels in batches:
            on_batch(images, labels)
            count += 1
        torch._foreach_div_(self.sums, float(count))
        torch._foreach_copy_(self.running, self.sums)
        for norm, momentum in zip(self.norms, momenta, strict=True):
            norm.momentum = momentum
