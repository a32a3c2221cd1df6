"""Milliseconds of one batch through a network: inference, and a whole step of training."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import psutil
import torch
import torch.nn.functional as F
from torch import Tensor

from dsd.net.arch import Arch
from dsd.net.build import build
from dsd.regime import Regime
from dsd.train.device import synchronize
from dsd.train.how import How
from dsd.train.memory import is_out_of_memory
from dsd.train.probe import fastest
from dsd.train.step import Step

WARM_UP = 2  # steps at least, and a quarter of the measuring time
LEAST = 9  # steps measured, however long they take
MOST = 2000


@dataclass(frozen=True)
class Spread:
    """Median and quartiles of n steps, in milliseconds."""

    median: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Times:
    """What one batch takes; None where the device lacks the memory.

    `others` is how many cores other processes kept busy meanwhile, on average.
    """

    inference: Spread | None
    training: Spread | None
    others: float

    def as_dict(self) -> dict[str, float | int | None]:
        """By the columns of the table `timings`."""
        known: dict[str, float | int | None] = {"others": self.others, "samples": 0}
        for mode, one in (("inference", self.inference), ("training", self.training)):
            known[f"{mode}_ms"] = one.median if one else None
            known[f"{mode}_low"] = one.low if one else None
            known[f"{mode}_high"] = one.high if one else None
            known["samples"] = max(known["samples"] or 0, one.n if one else 0)
        return known


def measure(
    arch: Arch, regime: Regime, device: torch.device, batch: int, seconds: float = 2.0
) -> Times:
    """Time a network on random images at the regime's resolution, in its precision.

    Inference is the forward pass with BN's stored statistics; training is forward, loss, backward
    and the optimiser's step, all as a worker does them (on a GPU in the faster memory format, but
    kernel by kernel); neither loads images. Both are measured for `seconds` after a warm-up, for
    LEAST steps at least; every step waits for the device.
    """
    model = build(arch)
    way = How()
    chosen = way.choice(device) or fastest(model, regime, device, batch, way, lambda line: None)
    step = Step.of(model, regime, device, chosen)
    shape = (batch, arch.stem.inputs, regime.resolution, regime.resolution)
    images = step.placed(torch.randn(shape, device=device))
    labels = torch.arange(batch, device=device) % arch.classes
    load = _Load.now()
    inference = _sampled(_inference(step, images), device, seconds)
    training = _sampled(_training(step, images, labels), device, seconds)
    return Times(inference, training, load.others())


def _inference(step: Step, images: Tensor) -> Callable[[], None]:
    def once() -> None:
        step.model.eval()
        with torch.inference_mode():
            step.forward(images)

    return once


def _training(step: Step, images: Tensor, labels: Tensor) -> Callable[[], None]:
    def once() -> None:
        step.model.train()
        loss = F.cross_entropy(step.forward(images).float(), labels)
        step.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        step.optimizer.step()

    return once


def _sampled(step: Callable[[], None], device: torch.device, seconds: float) -> Spread | None:
    """Run a step again and again; None where there is too little memory for it."""
    try:
        _times(step, device, seconds / 4, WARM_UP)
        found = _times(step, device, seconds, LEAST)
    except Exception as error:
        if is_out_of_memory(error):
            return None
        raise
    low, median, high = np.percentile(found, (25, 50, 75)).tolist()
    return Spread(median, low, high, len(found))


def _times(
    step: Callable[[], None], device: torch.device, seconds: float, least: int
) -> list[float]:
    """Milliseconds of each step, `least` of them and for as long as `seconds`."""
    found: list[float] = []
    end = time.perf_counter() + seconds
    while len(found) < least or (time.perf_counter() < end and len(found) < MOST):
        synchronize(device)
        begin = time.perf_counter()
        step()
        synchronize(device)
        found.append(1e3 * (time.perf_counter() - begin))
    return found


@dataclass(frozen=True)
class _Load:
    """Seconds since some moment: on the clock, of all cores at work, of this process."""

    clock: float
    busy: float
    own: float

    @classmethod
    def now(cls) -> _Load:
        times = psutil.cpu_times()._asdict()
        idle = ("idle", "iowait", "guest", "guest_nice")  # guests' time is in user's already
        busy = sum(value for name, value in times.items() if name not in idle)
        return cls(time.perf_counter(), busy, time.process_time())

    def others(self) -> float:
        """Cores that other processes kept busy since then, on average."""
        end = self.now()
        spent = (end.busy - self.busy) - (end.own - self.own)
        return max(0.0, spent / max(end.clock - self.clock, 1e-9))
