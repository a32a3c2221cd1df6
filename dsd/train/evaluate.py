"""Errors of a network on a split, after its batch normalisation has been made precise."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Forward = Callable[[Tensor], Tensor]


@dataclass
class Tally:
    """Sums over images, kept on the device: reading them waits for it, so it is done once."""

    loss: Tensor
    wrong: Tensor
    wrong5: Tensor
    images: int = 0

    @classmethod
    def on(cls, device: torch.device) -> Tally:
        """Nothing counted yet."""
        zero = torch.zeros((), device=device)
        return cls(zero, zero, zero)

    def add(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Count one batch: its mean loss and the images whose label is not among the first 1, 5."""
        top = logits.detach().topk(min(5, logits.shape[1])).indices == labels[:, None]
        self.loss = self.loss + loss.detach().float() * len(labels)
        self.wrong = self.wrong + (~top[:, 0]).sum()
        self.wrong5 = self.wrong5 + (~top.any(1)).sum()
        self.images += len(labels)

    def means(self) -> tuple[float, float, float]:
        """Mean loss, top-1 and top-5 error in percent. Waits for the device."""
        loss, wrong, wrong5 = torch.stack((self.loss, self.wrong, self.wrong5)).tolist()
        return loss / self.images, 100 * wrong / self.images, 100 * wrong5 / self.images


@torch.inference_mode()
def evaluate(
    model: nn.Module,
    forward: Forward,
    batches: Iterable[tuple[Tensor, Tensor]],
    device: torch.device,
) -> Tally:
    """Loss and errors over the batches, by BN's running statistics; sets eval mode."""
    model.eval()
    tally = Tally.on(device)
    for images, labels in batches:
        logits = forward(images)
        tally.add(F.cross_entropy(logits.float(), labels), logits, labels)
    return tally


@torch.inference_mode()
def precise_bn(model: nn.Module, forward: Forward, batches: Iterable[Tensor]) -> None:
    """Replace BN's running mean and variance by their averages over the batches (pycls).

    Before batch i (from 0) the momentum is 1 / (i + 1): a running average is then the plain mean.
    """
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    model.train()
    for index, images in enumerate(batches):
        for norm in norms:
            norm.momentum = 1 / (index + 1)
        forward(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
