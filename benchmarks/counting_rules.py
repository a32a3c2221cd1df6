"""Settings under a rule on cost: counted in half planes, 64 pairs at a time, and pair by pair.

    python benchmarks/counting_rules.py [--repeats 3] [--rule "params <= 3e6"] [SPACE]

Both meet in the middle and give the same number. Seconds of one core: min, median, max.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time

import numpy as np

from dsd.regime import load_regime
from dsd.space.count import Count, count
from dsd.space.counting import settings
from dsd.space.spec import load_space, space_from

RULE = "params <= 3.0e6 + 5.5e-3 * flops"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("space", nargs="?", default="anynetx_e_w16")
    parser.add_argument("--rule", default=RULE)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    data, regime = json.loads(load_space(given.space).text), load_regime("imagenet_400mf")
    space = space_from({**data, "restrict": [*data["restrict"], given.rule]}, "ruled", "ruled")

    def timed(minutes: float) -> tuple[Count, float]:
        begin = time.perf_counter()
        return count(space, regime, minutes), time.perf_counter() - begin

    planes = settings.rule_planes
    times: dict[str, list[float]] = {"half planes": [], "pair by pair": []}
    found = {}
    for _ in range(given.repeats):
        for way, read in (("half planes", planes), ("pair by pair", lambda *rule: None)):
            settings.rule_planes = read  # type: ignore[assignment]
            found[way], seconds = timed(600)
            times[way].append(seconds)
    numbers = {x.inside for x in found.values()}
    print(f"Python {platform.python_version()}, numpy {np.__version__}, one core")
    print(f"{given.space}, {given.rule}: {' or '.join(map(str, numbers))} settings in the band")
    print(f"{'':16}{'min':>9}{'median':>9}{'max':>9}")
    for way, some in times.items():
        print(f"  {way:14}{_row(some)}  seconds")
    ratios = [b / a for a, b in zip(*times.values(), strict=True)]
    print(f"  {'ratio':14}{_row(ratios)}  times")


def _row(some: list[float]) -> str:
    return "".join(f"{x:9.2f}" for x in (min(some), statistics.median(some), max(some)))


if __name__ == "__main__":
    main()
