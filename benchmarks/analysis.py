"""How long the statistics of two large populations take, and `dsd edf` as a whole process.

python benchmarks/analysis.py [--n 5000] [--repeats 5]

The other side of each ratio is what a notebook would do: scipy's general bootstrap and tests.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from dsd.analysis.best import best_range
from dsd.analysis.compare import compare
from dsd.analysis.difference import differences
from dsd.analysis.edf import band, edf
from dsd.analysis.search import search_curve
from dsd.analysis.summary import summarize


def population(rng: np.random.Generator, n: int, floor: float) -> np.ndarray:
    """Errors in percent, skewed as a space's are."""
    return floor + 9 * rng.lognormal(0, 0.5, n)


def timed(work: Callable[[], object], repeats: int) -> list[float]:
    """Seconds of each run, after one that is not counted."""
    work()
    found = []
    for _ in range(repeats):
        begin = time.perf_counter()
        work()
        found.append(time.perf_counter() - begin)
    return found


def say(name: str, seconds: list[float]) -> None:
    low, middle, high = min(seconds), statistics.median(seconds), max(seconds)
    print(f"  {name:<52}{low:>9.3f}{middle:>9.3f}{high:>9.3f}  s")


def scipys(a: np.ndarray, b: np.ndarray) -> None:
    """The same questions by scipy's own tools: BCa of two means, KS, Welch, Mann-Whitney."""
    for errors in (a, b):
        stats.bootstrap((errors,), np.mean, n_resamples=2000, batch=100, method="BCa", rng=0)
    stats.ks_2samp(a, b)
    stats.ttest_ind(a, b, equal_var=False).confidence_interval()
    stats.mannwhitneyu(a, b)


def ours(a: np.ndarray, b: np.ndarray) -> None:
    """Bands, intervals and comparisons of two populations, as `dsd edf` and `dsd compare` do."""
    for errors in (a, b):
        curve = edf(errors)
        band(curve, 0.95, "exact")
        band(curve, 0.95, "dkw")
        summarize(errors, quantiles=[0.1, 0.25, 0.75, 0.9], below=[45, 50])
        search_curve(errors)
    compare(a, b)
    differences({"a": a, "b": b}, quantiles=[0.1])


def process(folder: Path, *arguments: str) -> Callable[[], object]:
    command = [sys.executable, "-m", "dsd", *arguments]
    return lambda: subprocess.run(command, cwd=folder, check=True, capture_output=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=5000)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    rng = np.random.default_rng(0)
    a, b = population(rng, given.n, 38), population(rng, given.n, 37)
    print(f"Python {platform.python_version()}, numpy {np.__version__}, {given.n} networks each")
    print(f"  {'':<52}{'min':>9}{'median':>9}{'max':>9}")
    mine, theirs = (
        timed(lambda: ours(a, b), given.repeats),
        timed(lambda: scipys(a, b), given.repeats),
    )
    say("bands, intervals, comparisons of both", mine)
    say("scipy: BCa of two means and three tests alone", theirs)
    print(f"  ratio of the medians {statistics.median(theirs) / statistics.median(mine):.1f}")
    x = rng.integers(1, 60, given.n)
    say("best range, closed form", timed(lambda: best_range(x, a), given.repeats))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for space, floor in (("one", 38.0), ("two", 37.0)):
            table = pd.DataFrame({"error": population(rng, 500, floor)})
            table.to_csv(folder / f"{space}.csv", index=False)
            process(folder, "import", "csv", f"{space}.csv", "--name", space)()
        plain, drawn = ("edf", "one", "two"), ("edf", "one", "two", "--plot", "figure.png")
        say("dsd edf, two of 500, whole process", timed(process(folder, *plain), given.repeats))
        say("dsd edf --plot, two of 500", timed(process(folder, *drawn), given.repeats))


if __name__ == "__main__":
    main()
