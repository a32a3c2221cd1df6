"""Time and memory of `dsd count`, one process a count, so that memory is each one's own.

python benchmarks/counting.py anynetx_a anynetx_e --regime imagenet_400mf
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time

from dsd.regime import load_regime
from dsd.space.count import count
from dsd.space.spec import load_space


def main() -> None:
    """Count each space under each regime and print one line each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("spaces", nargs="+")
    parser.add_argument("--regime", action="append", help="repeat for several; imagenet_400mf")
    parser.add_argument("--timeout", type=float, default=600, help="seconds for each")
    given = parser.parse_args()
    regimes = given.regime or ["imagenet_400mf"]
    if len(given.spaces) == len(regimes) == 1:
        print(one(given.spaces[0], regimes[0]))
        return
    for space in given.spaces:
        for regime in regimes:
            command = [sys.executable, __file__, space, "--regime", regime]
            try:
                subprocess.run(command, timeout=given.timeout, check=True)
            except subprocess.TimeoutExpired:
                print(f"{space:<18} {regime:<16} not in {given.timeout:g} s")


def one(space: str, regime: str) -> str:
    """A count with its cpu and wall seconds and its highest memory."""
    wall = time.perf_counter()
    found = count(load_space(space), load_regime(regime))
    wall = time.perf_counter() - wall
    used = resource.getrusage(resource.RUSAGE_SELF)
    number = f"{found.at_least:,}" if found.exact else f"{found.at_least:,} to {found.at_most:,}"
    return (
        f"{space:<18} {regime:<16} {number:>28}  {used.ru_utime + used.ru_stime:6.1f} s cpu "
        f"{wall:7.1f} s  {used.ru_maxrss // 1024:5} MB  {found.method}"
    )


if __name__ == "__main__":
    main()
