"""The average of a network's weights over the steps of its training, tested in its place."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Average:
    """A network whose weights follow those of the trained one: a <- decay a + (1 - decay) w.

    `decay` is that of one step, every step counts alike, and none is rescaled. pycls writes the
    same otherwise: every OPTIM.EMA_UPDATE_PERIOD = p steps it moves the average by EMA_ALPHA *
    batch / epochs * p, which is a decay of 1 - EMA_ALPHA * batch / epochs a step. As there, the
    average begins with the initial weights, and in epochs of warm-up it is the network itself
    (see `restart`).

    Batch norm's running mean and variance are averaged like the weights (as in pycls): to first
    order the statistics of averaged weights are the average of theirs, while a copy would belong to
    other weights, later ones. Precise BN, where the regime asks for it, replaces them by those of
    the averaged network, since that is the one tested.

    All tensors stay where they are, so that a step may be part of a CUDA graph.
    """

    network: nn.Module
    decay: float
    mine: list[Tensor]
    theirs: list[Tensor]

    @classmethod
    def of(cls, model: nn.Module, decay: float) -> Average | None:
        """A copy of the model on its device, to average from now on; None without a decay."""
        if not decay:
            return None
        network = copy.deepcopy(model).requires_grad_(False)
        return cls(network, decay, _averaged(network), _averaged(model))

    @torch.no_grad()
    def step(self) -> None:
        """Follow the trained network by one step, without waiting for the device."""
        torch._foreach_lerp_(self.mine, self.theirs, 1 - self.decay)

    @torch.no_grad()
    def restart(self) -> None:
        """Forget the steps so far: the average is the trained network as it is now."""
        torch._foreach_copy_(self.mine, self.theirs)


def _averaged(model: nn.Module) -> list[Tensor]:
    """Parameters and buffers of floating point, not the counters of batches."""
    tensors = [*model.parameters(), *model.buffers()]
    return [tensor for tensor in tensors if tensor.is_floating_point()]
