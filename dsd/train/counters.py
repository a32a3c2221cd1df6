"""Batch norm's counters of batches, advanced all at once.

A kernel each would be a twelfth of the kernels of a small network's step, and nothing reads them
while it trains.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn


def counting(model: nn.Module) -> list[nn.BatchNorm2d]:
    """The model's batch norms that count their batches by torch's own code."""
    return [one for one in model.modules() if type(one) is nn.BatchNorm2d]


@contextmanager
def counted_at_once(norms: Sequence[nn.BatchNorm2d]) -> Iterator[None]:
    """Within, a batch is passed through the norms; their counters are advanced at its end."""
    counters = [norm.num_batches_tracked for norm in norms]
    for norm in norms:
        norm.num_batches_tracked = None
    try:
        yield
    finally:
        for norm, counter in zip(norms, counters, strict=True):
            norm.num_batches_tracked = counter
    known = [counter for counter in counters if counter is not None]
    if known:
        with torch.no_grad():
            torch._foreach_add_(known, 1)
