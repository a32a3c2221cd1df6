"""How often the 95% intervals hold: the table of docs/statistics/README.md.

python benchmarks/coverage.py [--repeats 2000]

Populations are drawn from shapes of errors whose truth is known; each figure is the share of
intervals that hold it, the least and the most over the shapes. Two standard errors are 1%.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable

import numpy as np

from dsd.analysis.bootstrap import mean_interval, quantile_interval
from dsd.analysis.difference import (
    mean_difference,
    quantile_difference,
    win_interval,
    win_probability,
)
from dsd.analysis.normalize import Normalized, common_bins, summarize_normalized
from dsd.analysis.search import expected_best, search_curve

Draw = Callable[[np.random.Generator, int], np.ndarray]
SHAPES: dict[str, Draw] = {
    "long tail": lambda rng, n: 35 + rng.lognormal(2.0, 0.6, n),
    "gamma": lambda rng, n: 38 + rng.gamma(2, 3, n),
    "hard floor": lambda rng, n: 38 + rng.exponential(5, n),
    "bell": lambda rng, n: rng.normal(45, 4, n),
    "even": lambda rng, n: rng.uniform(40, 60, n),
    "two kinds": lambda rng, n: np.where(
        rng.random(n) < 0.5, rng.normal(42, 2, n), rng.normal(52, 5, n)
    ),
}
LARGE = 400_000


def of_one(space: np.ndarray, n: int, rng: np.random.Generator, repeats: int) -> dict[str, float]:
    """Coverage of the intervals of one population."""
    m = [1, n // 16, n // 8, n // 4]
    truth = {
        "mean (BCa)": space.mean(), "median": np.median(space),
        "10% quantile": np.quantile(space, 0.1),
        **{f"expected best of n/{n // k}" if k > 1 else "expected best of 1": best
           for k, best in zip(m, expected_best(space, m), strict=True)},
    }  # fmt: skip
    held: dict[str, int] = defaultdict(int)
    for _ in range(repeats):
        x = rng.choice(space, n)
        best = search_curve(x, m)
        mean = mean_interval(x, resamples=1000)
        some = [mean, quantile_interval(x, 0.5), quantile_interval(x, 0.1)]
        limits = [(i.low, i.high) for i in some if i] + list(zip(best.low, best.high, strict=True))
        for (name, value), (low, high) in zip(truth.items(), limits, strict=True):
            held[name] += bool(low <= value <= high)
    return {name: count / repeats for name, count in held.items()}


def of_two(
    a: np.ndarray, b: np.ndarray, n: int, rng: np.random.Generator, repeats: int
) -> dict[str, float]:
    """Coverage of the intervals of a difference."""
    levels = {"medians": 0.5, "10% quantiles": 0.1}
    truth = [a.mean() - b.mean()]
    truth += [np.quantile(a, p) - np.quantile(b, p) for p in levels.values()]
    truth += [win_probability(a, b)]
    names = ["difference of means", *(f"difference of {x}" for x in levels), "probability to win"]
    held: dict[str, int] = defaultdict(int)
    for _ in range(repeats):
        x, y = rng.choice(a, n), rng.choice(b, n)
        found = [mean_difference(x, y)]
        found += [quantile_difference(x, y, p) for p in levels.values()]
        found += [win_interval(x, y)]
        for name, value, one in zip(names, truth, found, strict=True):
            held[name] += bool(one.low <= value <= one.high)
    return {name: count / repeats for name, count in held.items()}


def at_equal_complexity(n: int, rng: np.random.Generator, repeats: int) -> dict[str, float]:
    """Coverage of the mean where complexity is drawn unevenly and the truth is the even one."""
    held = 0
    for _ in range(repeats):
        complexity = rng.beta(1.5, 2, n)
        errors = 40 - 10 * complexity + rng.gamma(2, 1, n)
        bins = common_bins({"a": [*complexity, 0, 1]}, "flops", 5)
        found = summarize_normalized(Normalized.of("a", errors, complexity, bins)).mean_interval
        held += bool(found and found.low <= 37 <= found.high)
    return {"mean at equal complexity": held / repeats}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=2000)
    repeats = parser.parse_args().repeats
    shares: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for n in (100, 500):
        rng = np.random.default_rng(n)
        spaces = [np.sort(draw(rng, LARGE)) for draw in SHAPES.values()]
        every = [of_one(space, n, rng, repeats) for space in spaces]
        some = [rng.choice(space, 20_000) for space in spaces]
        pairs = ((some[0], some[1] + 1), (some[3], some[2] + 1))
        every += [of_two(a, b, n, rng, repeats) for a, b in pairs]
        every.append(at_equal_complexity(n, rng, repeats))
        for found in every:
            for name, share in found.items():
                shares[name][n].append(share)
    print(f"{repeats} populations of each of {len(SHAPES)} shapes: {', '.join(SHAPES)}")
    for name, by_size in shares.items():
        cells = [f"{100 * min(x):.1f} to {100 * max(x):.1f}%" for x in by_size.values()]
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
