"""Which memory format trains a network faster on this device: measured, as no rule tells.

Grouped convolutions lose up to 3.4 times in the wrong one (pytorch issues 34977 and 70954), and
which one that is depends on widths, groups, precision and the GPU.
"""

from __future__ import annotations

import copy
import gc
import math
import time
from collections.abc import Callable

import torch
from torch import nn

from dsd.regime import Regime
from dsd.train.device import synchronize
from dsd.train.how import FORMATS, How
from dsd.train.replay import WARM_UP, Replayed
from dsd.train.step import Step

STEPS, ROUNDS = 5, 3  # steps measured at once, and how often
LONG = 1_000  # steps of training; where there are fewer, one round has to do (18 steps in all)


def fastest(
    model: nn.Module, regime: Regime, device: torch.device, batch: int, how: How,
    say: Callable[[str], None], steps: float = math.inf,
) -> str:  # fmt: skip
    """The name of the format in which steps on random images take less time.

    Copies of the model are trained; the model itself and every random stream stay as they are.
    `steps` is how many the training will take: a short one is not held up by a long probe.
    """
    rounds = ROUNDS if steps >= LONG else 1
    times = {name: _seconds(model, regime, device, batch, name, how, say, rounds)
             for name in FORMATS}  # fmt: skip
    gc.collect()  # the copies' memory is for others now, on a shared GPU
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return min(times, key=times.__getitem__)


def _seconds(
    model: nn.Module, regime: Regime, device: torch.device, batch: int, name: str, how: How,
    say: Callable[[str], None], rounds: int,
) -> float:  # fmt: skip
    """Seconds of a step, the least of the rounds; infinite where memory does not suffice."""
    step = Step.of(copy.deepcopy(model), regime, device, name, augments=False)
    step.model.train()
    shape = (batch, regime.stem.inputs, regime.resolution, regime.resolution)
    step.generator.manual_seed(0)
    images = torch.randint(256, shape, generator=step.generator, device=device, dtype=torch.uint8)
    labels = torch.arange(batch, device=device) % regime.classes
    train = Replayed(step.train, device, step.generator, say) if how.graphs else step.train
    try:
        _timed(lambda: train(images, labels), device, WARM_UP + 1)
        taken = [_timed(lambda: train(images, labels), device, STEPS) for _ in range(rounds)]
    except torch.OutOfMemoryError:
        return float("inf")
    return min(taken) / STEPS


def _timed(action: Callable[[], None], device: torch.device, times: int) -> float:
    synchronize(device)
    begin = time.perf_counter()
    for _ in range(times):
        action()
    synchronize(device)
    return time.perf_counter() - begin
