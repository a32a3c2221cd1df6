"""Networks an hour on this machine's cores: a plain loop, and dsd.

python benchmarks/training_cpu.py [--space anynetx_a] [--n 8] [--repeats 3]

Both train the same sampled networks under the regime `fashion`. The plain loop is that of
torchvision's reference scripts: one network at a time, NCHW, fp32, torch's default threads, a
DataLoader with per-image transforms and a worker a core; a second one has its images in memory.
dsd is `dsd launch local --cpu` as a whole, start of the processes included.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from dsd_study import queued, trained
from machine import cores
from plain_loops import Feed, from_loaders, on_device, plain_loop

from dsd.analysis.bootstrap import mean_interval
from dsd.net.arch import Arch
from dsd.regime import Regime, load_regime
from dsd.space.sample import sample
from dsd.space.spec import load_space

CPU = torch.device("cpu")
KINDS: dict[str, Callable[[Regime], Feed]] = {
    "loaders": lambda regime: from_loaders(regime, Path("data"), CPU, cores()),
    "in memory": lambda regime: on_device(regime, Path("data"), CPU),
}


def plain(
    archs: list[Arch], regime: Regime, kind: Callable[[Regime], Feed]
) -> tuple[float, list[float]]:
    """Seconds for all networks, and their errors."""
    begin = time.perf_counter()
    feed = kind(regime)
    errors = [plain_loop(arch, regime, feed, CPU) for arch in archs]
    return time.perf_counter() - begin, errors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--space", default="anynetx_a")
    parser.add_argument("--n", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    regime = load_regime("fashion")
    archs = list(sample(load_space(given.space), regime, given.n, 0).archs)
    print(f"Python {platform.python_version()}, torch {torch.__version__}, {cores()} cores, "
          f"{given.n} networks of {given.space}")  # fmt: skip
    times: dict[str, list[float]] = {"loaders": [], "in memory": [], "dsd": []}
    errors: dict[str, list[float]] = {name: [] for name in times}
    outside = []
    for repeat in range(given.repeats):
        torch.manual_seed(repeat)
        for name, kind in KINDS.items():
            seconds, found = plain(archs, regime, kind)
            times[name].append(seconds)
            errors[name] += found
        with tempfile.TemporaryDirectory() as name:
            queued(Path(name), given.space, given.n, "fashion")
            study = trained(Path(name), "launch", "local", "--cpu")
        times["dsd"].append(study.seconds)
        errors["dsd"] += study.errors
        outside.append(study.outside)
    print(f"  {'':<34}{'min':>9}{'median':>9}{'max':>9}")
    for name, seconds in times.items():
        rates = sorted(3600 * given.n / one for one in seconds)
        line = f"{rates[0]:>9.0f}{statistics.median(rates):>9.0f}{rates[-1]:>9.0f}"
        print(f"  {name:<34}{line}  networks/hour")
    for name in KINDS:
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
