"""Networks an hour on this machine's cores: a plain loop, and dsd.

python benchmarks/training_cpu.py [--space anynetx_a] [--n 8] [--repeats 3]

Both train the same sampled networks under the regime `fashion`. The plain loop is that of
torchvision's reference scripts: one network at a time, NCHW, fp32, torch's default threads, a
DataLoader with per-image transforms and a worker a core; a second one has its images in memory.
dsd is `dsd launch local --cpu` as a whole, start of the processes included.
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from dsd.analysis.bootstrap import mean_interval
from dsd.net.arch import Arch
from dsd.net.build import build
from dsd.regime import Regime, load_regime
from dsd.space.sample import sample
from dsd.space.spec import load_space
from dsd.train.data import load

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
CPU = torch.device("cpu")
Batches = Callable[[], Iterable[tuple[Tensor, Tensor]]]


class Files(Dataset[tuple[Tensor, int]]):
    """Images one at a time, through per-image transforms, as from files."""

    def __init__(
        self, images: Tensor, labels: Tensor, transform: Callable[[Tensor], Tensor]
    ) -> None:
        self.images, self.labels, self.transform = images, labels, transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(self.images[index]), int(self.labels[index])


def transforms(regime: Regime, training: bool) -> v2.Transform:
    flip = [v2.RandomHorizontalFlip()] if training and regime.augment.flip else []
    normal = v2.Normalize(list(regime.augment.mean), list(regime.augment.std))
    return v2.Compose([*flip, v2.ToDtype(torch.float32, scale=True), normal])


def from_loaders(regime: Regime) -> tuple[Batches, Batches]:
    """Training and test batches as torchvision's references load them."""
    data = load(regime, Path("data"), CPU)
    parts = []
    for split, training in ((data.train, True), (data.test, False)):
        files = Files(split.pixels, split.labels, transforms(regime, training))
        size = regime.train.batch if training else 200
        loader = DataLoader(files, size, shuffle=training, drop_last=training, num_workers=CORES)
        parts.append(loader)
    return (lambda: parts[0]), (lambda: parts[1])


def in_memory(regime: Regime) -> tuple[Batches, Batches]:
    """The same with the images as tensors, transformed a batch at a time."""
    data = load(regime, Path("data"), CPU)

    def batches(split: object, training: bool) -> Iterator[tuple[Tensor, Tensor]]:
        pixels, labels = split.pixels, split.labels  # type: ignore[attr-defined]
        order = torch.randperm(len(pixels)) if training else torch.arange(len(pixels))
        size = regime.train.batch if training else 200
        change = transforms(regime, training)
        for start in range(0, len(order) - (size - 1) * training, size):
            rows = order[start : start + size]
            yield change(pixels[rows]), labels[rows]

    return (lambda: batches(data.train, True)), (lambda: batches(data.test, False))


def plain_loop(arch: Arch, regime: Regime, train: Batches, test: Batches) -> float:
    """Train one network and return its test error in percent, as a reference script would."""
    model, recipe = build(arch), regime.train
    optimizer = torch.optim.SGD(
        model.parameters(), recipe.lr, recipe.momentum, nesterov=recipe.nesterov,
        weight_decay=recipe.weight_decay,
    )  # fmt: skip
    steps, error = 5000 // recipe.batch, 100.0
    for epoch in range(recipe.epochs):
        model.train()
        for step, (images, labels) in enumerate(train()):
            at = epoch + step / steps
            rate = recipe.lr / 2 * (1 + math.cos(math.pi * at / recipe.epochs))
            warm = min(1.0, at / recipe.warmup_epochs) if recipe.warmup_epochs else 1.0
            optimizer.param_groups[0]["lr"] = rate * (0.1 * (1 - warm) + warm)
            loss = nn.functional.cross_entropy(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss.item()  # the references print it
        model.eval()
        with torch.inference_mode():
            right = sum(int((model(x).argmax(1) == y).sum()) for x, y in test())
        error = 100 - 100 * right / 2000
    return error


def plain(
    archs: list[Arch], regime: Regime, kind: Callable[[Regime], tuple[Batches, Batches]]
) -> tuple[float, list[float]]:
    """Seconds for all networks, and their errors."""
    begin = time.perf_counter()
    train, test = kind(regime)
    errors = [plain_loop(arch, regime, train, test) for arch in archs]
    return time.perf_counter() - begin, errors


def with_dsd(space: str, n: int, seed: int) -> tuple[float, list[float], float]:
    """Seconds from start to end, errors, and the workers' share of time outside of training."""
    with tempfile.TemporaryDirectory() as name:

        def dsd(*words: str) -> None:
            command = [sys.executable, "-m", "dsd", *words]
            subprocess.run(command, cwd=name, check=True, capture_output=True)

        dsd("sample", space, "--n", str(n), "--seed", str(seed), "--regime", "fashion")
        begin = time.perf_counter()
        dsd("launch", "local", "--cpu")
        seconds = time.perf_counter() - begin
        with sqlite3.connect(Path(name) / "dsd.db") as database:
            errors = [row[0] for row in database.execute("SELECT error_last FROM runs")]
            trained = database.execute("SELECT sum(seconds) FROM epochs").fetchone()[0]
            spans = database.execute(
                "SELECT max(finished) - min(started) FROM runs GROUP BY owner"
            ).fetchall()
    return seconds, errors, 1 - trained / sum(span for (span,) in spans)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--space", default="anynetx_a")
    parser.add_argument("--n", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    regime = load_regime("fashion")
    archs = list(sample(load_space(given.space), regime, given.n, 0).archs)
    print(f"Python {platform.python_version()}, torch {torch.__version__}, {CORES} cores, "
          f"{given.n} networks of {given.space}")  # fmt: skip
    times: dict[str, list[float]] = {"loaders": [], "in memory": [], "dsd": []}
    errors: dict[str, list[float]] = {name: [] for name in times}
    outside = []
    for repeat in range(given.repeats):
        torch.manual_seed(repeat)
        for name, kind in (("loaders", from_loaders), ("in memory", in_memory)):
            seconds, found = plain(archs, regime, kind)
            times[name].append(seconds)
            errors[name] += found
        seconds, found, share = with_dsd(given.space, given.n, 0)
        times["dsd"].append(seconds)
        errors["dsd"] += found
        outside.append(share)
    print(f"  {'':<34}{'min':>9}{'median':>9}{'max':>9}")
    for name, seconds in times.items():
        rates = sorted(3600 * given.n / one for one in seconds)
        line = f"{rates[0]:>9.0f}{statistics.median(rates):>9.0f}{rates[-1]:>9.0f}"
        print(f"  {name:<34}{line}  networks/hour")
    for name in ("loaders", "in memory"):
        ratios = sorted(a / b for a, b in zip(times[name], times["dsd"], strict=True))
        line = f"{ratios[0]:>9.2f}{statistics.median(ratios):>9.2f}{ratios[-1]:>9.2f}"
        print(f"  {'dsd against ' + name:<34}{line}  times")
    for name, found in errors.items():
        interval = mean_interval(np.array(found))
        assert interval
        limits = f"[{interval.low:.2f}, {interval.high:.2f}]"
        print(f"  mean error, {name:<22}{np.mean(found):>9.2f} {limits}")
    print(f"  workers' time outside of training {100 * max(outside):>8.1f}% at most")


if __name__ == "__main__":
    main()
