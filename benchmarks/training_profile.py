"""Where the time of training goes, by kind of operator: torch.profiler over steps of dsd's own.

python benchmarks/training_profile.py [--regime fashion] [--device cpu] anynetx_a [--n 3]
python benchmarks/training_profile.py --regime imagenet_400mf --device cuda:0 regnetx-400mf

Each network trains by `dsd.train.loop.Session` under the regime: after a warm-up, so many steps are
recorded, begun and ended between two steps. On the CPU a kind's time is the operators' own, the
median over the steps, so that a step in which the machine did something else counts little; what no
operator claims is Python's and autograd's. On a GPU it is the time of the kernels that the
operators launched; what no kernel fills is idle. Where the regime's images are not there, random
ones take their place: which steps are taken does not depend on what they show.
(Not called profile.py: the library's cProfile imports a module of that name.)
"""

from __future__ import annotations

import argparse
import re
import statistics
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from machine import described, say, wait
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile, record_function

from dsd.errors import DsdError
from dsd.net.arch import Arch
from dsd.net.build import build
from dsd.regime import Regime, load_regime
from dsd.space.networks import published, published_network, under
from dsd.space.sample import sample
from dsd.space.spec import load_space
from dsd.train.data import Dataset, DatasetMissing, load
from dsd.train.device import named_device, prepare
from dsd.train.images import Images
from dsd.train.loop import Session, Stopped

MARK = "between two steps"
BOOKKEEPING, REST = "autograd's bookkeeping", "outside of operators"
# The first that an operator, or one around it, matches is its kind; convolutions are told apart.
KINDS = {
    "optimiser": r"Optimizer\.|_fused_sgd|_foreach",
    "convolution": r"convolution(?!Backward0)|conv2d",
    "batch norm": r"batch_norm",
    "activation": r"relu|threshold|clamp_min|silu",
    "pooling": r"pool|aten::mean|MeanBackward",
    "sums and gates": r"aten::add$|AddBackward|sigmoid|Sigmoid|aten::mul$|MulBackward",
    "classifier": r"linear|addmm|aten::mm|Addmm",
    "loss and tally": r"cross_entropy|nll|Nll|[lL]og_?[sS]oftmax|topk|aten::eq$|aten::any|bitwise",
    "images": r"aten::(index|randperm|where|flip|addcmul|rand|uniform|gather|pad|arange|lt$|bmm|"
    r"matmul|index_select|constant_pad)",
    BOOKKEEPING: r"evaluate_function|Backward\d$|AccumulateGrad|detach",
}  # fmt: skip
BACKWARD = r"[bB]ackward"


@dataclass
class Steps:
    """Asked before every step whether to stop, it records `count` of them after `warm` others."""

    recorder: profile
    device: torch.device
    warm: int
    count: int
    asked: int = 0
    times: list[float] = field(default_factory=list)

    def __call__(self) -> bool:
        """Begin, mark or end the recording; True when it has ended."""
        self.asked += 1
        if self.asked == self.warm + 1:
            wait(self.device)
            self.recorder.start()
        if self.asked <= self.warm:
            return False
        with record_function(MARK):
            last = self.asked == self.warm + 1 + self.count
        if last:
            wait(self.device)
        self.times.append(perf_counter())
        if last:
            self.recorder.stop()
        return last


def recorded(
    arch: Arch, regime: Regime, data: Dataset, device: torch.device, warm: int, count: int
) -> tuple[Steps, list[Any]]:
    """The steps' times and all events. Raises DsdError where the epochs have too few steps."""
    kinds = [ProfilerActivity.CPU]
    kinds += [ProfilerActivity.CUDA] if device.type == "cuda" else []
    steps = Steps(profile(activities=kinds, record_shapes=True), device, warm, count)
    torch.manual_seed(0)
    try:
        for _ in Session.start(build(arch), regime, data, device, 0, steps).epochs():
            pass
    except Stopped:
        return steps, list(steps.recorder.events() or [])
    raise DsdError(f"{regime.name} has {steps.asked} steps, fewer than {warm} + {count}.")


def kind_of(event: Any) -> str:
    """The kind of an operator: its own, or that of the nearest one around it that has one."""
    around = event
    while around is not None:
        for kind, pattern in KINDS.items():
            if re.search(pattern, around.name):
                return kind if kind != "convolution" else convolution(around)
        around = around.cpu_parent
    return "other operators"


def convolution(event: Any) -> str:
    """Dense, grouped or depthwise, forward or backward, by the shapes of images and weights."""
    backward = bool(re.search(BACKWARD, event.name))
    shapes = [shape for shape in event.input_shapes if len(shape) == 4]
    images, weights = shapes[backward : backward + 2]
    groups = images[1] // weights[1]
    sort = "dense" if groups == 1 else "depthwise" if groups == images[1] else "grouped"
    return f"{sort} {weights[2]}x{weights[3]} convolution, {'backward' if backward else 'forward'}"


def labelled(event: Any) -> str:
    """The kind with its direction, where that tells something."""
    kind = kind_of(event)
    if kind in ("batch norm", "activation"):
        return f"{kind}, {'backward' if is_backward(event) else 'forward'}"
    return kind


def is_backward(event: Any) -> bool:
    """Whether an operator runs in the backward pass."""
    while event is not None:
        if re.search(BACKWARD, event.name):
            return True
        event = event.cpu_parent
    return False


def on_cpu(steps: Steps, events: Sequence[Any]) -> dict[str, float]:
    """Milliseconds a step by kind: medians over the steps."""
    begins = sorted(event.time_range.start for event in events if event.name == MARK)
    tables: list[dict[str, float]] = [defaultdict(float) for _ in range(steps.count)]
    for event in events:
        index = bisect_right(begins, event.time_range.start) - 1
        if event.name != MARK and 0 <= index < steps.count:
            tables[index][labelled(event)] += event.self_cpu_time_total / 1e3
    for index, table in enumerate(tables):
        whole = 1e3 * (steps.times[index + 1] - steps.times[index])
        table[REST] = max(0.0, whole - sum(table.values()))
    kinds = {kind for table in tables for kind in table}
    return {kind: statistics.median(table.get(kind, 0.0) for table in tables) for kind in kinds}


def on_gpu(steps: Steps, events: Sequence[Any]) -> dict[str, float]:
    """Milliseconds a step of the kernels of each kind of operator, and idle: means over the steps.

    Kernels that belong to no operator are those of replayed graphs and compiled code.
    """
    table: dict[str, float] = defaultdict(float)
    kernels = 0.0
    for event in events:
        if event.device_type == DeviceType.CPU:
            table[labelled(event)] += event.self_device_time_total / 1e3 / steps.count
        elif not getattr(event, "is_user_annotation", False):  # a range spans kernels, is none
            kernels += event.self_device_time_total / 1e3 / steps.count
    table["kernels of no operator"] = max(0.0, kernels - sum(table.values()))
    whole = 1e3 * (steps.times[-1] - steps.times[0]) / steps.count
    table["idle"] = max(0.0, whole - sum(table.values()))
    return {kind: ms for kind, ms in table.items() if ms}


def tell(label: str, arch: Arch, regime: Regime, steps: Steps, table: dict[str, float]) -> None:
    """One network's table, the largest share first."""
    whole = sum(table.values())
    lengths = [b - a for a, b in zip(steps.times, steps.times[1:], strict=False)]
    say(f"{label}: {' '.join(f'{s.d}x{s.w}/{s.b}/{s.g}' for s in arch.stages)}  (d x w / b / g)")
    say(f"  {1e3 * statistics.median(lengths):.1f} ms a step (median of {steps.count}), "
        f"batch {regime.train.batch}, recorded")  # fmt: skip
    for kind, ms in sorted(table.items(), key=lambda item: -item[1]):
        if ms >= 0.002 * whole:
            say(f"  {kind:<44}{ms:>9.2f} ms {100 * ms / whole:>6.1f}%")


def networks(names: Iterable[str], regime: Regime, n: int) -> dict[str, Arch]:
    """Published networks under the regime, or the first n of spaces. Raises UsageError."""
    found: dict[str, Arch] = {}
    for name in names:
        if name in published():
            found[name] = under(published_network(name), regime)
        else:
            drawn = sample(load_space(name), regime, n, 0).archs
            found.update({f"{name} {i}": arch for i, arch in enumerate(drawn)})
    return found


def images(regime: Regime, folder: Path, device: torch.device, steps: int) -> Dataset:
    """The regime's dataset, or random images in its place."""
    try:
        return load(regime, folder, device)
    except DatasetMissing:
        say(f"RANDOM images in place of {regime.dataset}'s, which are not in {folder}")
    count, size = (steps + 2) * regime.train.batch, (regime.resolution, regime.resolution)
    pixels = torch.randint(256, (count, regime.stem.inputs, *size), dtype=torch.uint8)
    split = Images(pixels.to(device), (torch.arange(count) % regime.classes).to(device))
    return Dataset(split, split, "random")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", default=["anynetx_a"], metavar="NETWORK|SPACE")
    parser.add_argument("--n", type=int, default=3, help="networks of each space")
    parser.add_argument("--regime", default="fashion")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--warm", type=int, default=5, help="steps before the recorded ones")
    parser.add_argument("--steps", type=int, default=20)
    given = parser.parse_args()
    if min(given.n, given.steps, given.warm) < 1:
        parser.error("--n, --steps and --warm: numbers from 1 would work")
    try:
        device, regime = named_device(given.device), load_regime(given.regime)
        prepare(device)
        for line in described(device):
            say(line)
        data = images(regime, given.data, device, given.warm + given.steps)
        for label, arch in networks(given.names, regime, given.n).items():
            steps, events = recorded(arch, regime, data, device, given.warm, given.steps)
            table = (on_cpu if device.type == "cpu" else on_gpu)(steps, events)
            tell(label, arch, regime, steps, table)
    except DsdError as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
