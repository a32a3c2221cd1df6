"""Sampling, stage by stage, on one core: candidates and networks a second, beside a plain loop.

    python benchmarks/sampling.py [--repeats 5] [--regime imagenet_400mf] [SPACE ...]

The plain loop draws, builds and costs one candidate at a time with the same code, as samplers do
that make a configuration for each candidate. Every figure is min, median, max over the repeats.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from dsd.net.cost import cost
from dsd.net.groups import buildable
from dsd.regime import Regime, load_regime
from dsd.space.candidates import archs_of, batch_cost, draw
from dsd.space.sample import BLOCK, judge, regime_rules, sample
from dsd.space.spec import Space, load_space
from dsd.store.engine import open_store
from dsd.store.populations import save_sample

SPACES = ("anynetx_a", "anynetx_b", "anynetx_c", "anynetx_d", "anynetx_e", "regnetx")
CANDIDATES = 1 << 20
PLAIN = 300
NETWORKS = 500


def rates(work: Callable[[], int], repeats: int) -> list[float]:
    """Items a second of each repeat; `work` returns how many items it did."""
    found = []
    for _ in range(repeats):
        start = time.perf_counter()
        done = work()
        found.append(done / (time.perf_counter() - start))
    return found


def line(name: str, values: Sequence[float], unit: str) -> None:
    """One row: min, median, max."""
    low, middle, high = min(values), statistics.median(values), max(values)
    print(f"  {name:<34}{low:>14,.0f}{middle:>14,.0f}{high:>14,.0f}  {unit}")


def measure(space: Space, regime: Regime, repeats: int) -> None:
    """All stages of one space."""
    rules = regime_rules(space, regime)
    blocks = CANDIDATES // BLOCK
    print(f"{space.name} under {regime.name}{'min':>25}{'median':>14}{'max':>14}")

    def drawing() -> int:
        rng = np.random.default_rng(0)
        for _ in range(blocks):
            draw(space, rules, rng, BLOCK)
        return CANDIDATES

    def judging() -> int:
        rng = np.random.default_rng(0)
        for _ in range(blocks):
            judge(space, regime, rules, draw(space, rules, rng, BLOCK))
        return CANDIDATES

    batch = draw(space, rules, np.random.default_rng(0), BLOCK)
    formed = buildable(batch.stages.take(np.flatnonzero(batch.formed)), space.block)

    def costing() -> int:
        done = 0
        while done < CANDIDATES:
            batch_cost(space, regime, formed)
            done += len(formed)
        return done

    def digesting() -> int:
        return len({arch.digest for arch in archs_of(space, regime, formed.take(np.arange(2000)))})

    def plain() -> int:
        rng = np.random.default_rng(0)
        for _ in range(PLAIN):
            one = draw(space, rules, rng, 1)
            for arch in archs_of(space, regime, buildable(one.stages, space.block)):
                cost(arch, regime.resolution)
        return PLAIN

    def networks() -> int:
        return len(sample(space, regime, NETWORKS))

    drawn = sample(space, regime, NETWORKS)

    def storing() -> int:
        with tempfile.TemporaryDirectory() as folder:
            store = open_store(str(Path(folder) / "dsd.db"))
            save_sample(store, drawn)
            store.close()
        return NETWORKS

    line("draw", rates(drawing, repeats), "candidates/s")
    line("cost (flops, params, acts)", rates(costing, repeats), "candidates/s")
    fast = rates(judging, repeats)
    line("draw + rules + cost + band", fast, "candidates/s")
    slow = rates(plain, repeats)
    line("plain loop, one at a time", slow, "candidates/s")
    line("ratio to the plain loop", [a / b for a, b in zip(fast, slow, strict=True)], "times")
    line("describe + digest", rates(digesting, repeats), "networks/s")
    line("store (fresh SQLite file)", rates(storing, repeats), "networks/s")
    line(f"sample {NETWORKS}, all but the store", rates(networks, repeats), "networks/s")


def main() -> None:
    """Measure each space on one core."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("spaces", nargs="*", default=SPACES)
    parser.add_argument("--regime", default="imagenet_400mf")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    print(f"Python {platform.python_version()}, numpy {np.__version__}, one core")
    for name in options.spaces:
        measure(load_space(name), load_regime(options.regime), options.repeats)


if __name__ == "__main__":
    main()
