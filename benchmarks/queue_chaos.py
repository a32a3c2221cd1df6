"""Accidents, many times in a row: what became of every run.

    python benchmarks/queue_chaos.py [--repeat 20] [CASE ...]

Real worker processes use the real queue; waiting stands for training. `lost` and `twice` have to be
0 and every database whole. The cases are those of tests/store/chaos.py, each with other moments.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))  # the accidents are those of the tests

from tests.store import chaos
from tests.store.server import NoServer, running_server


def places(case: str) -> Iterator[str]:
    """A fresh database on each system that the case is about."""
    with tempfile.TemporaryDirectory() as folder:
        yield f"{folder}/dsd.db"
    if case in chaos.CASES and case != "start at once":
        folders = tempfile.TemporaryDirectory(prefix="dsd-pg-", dir="/tmp")
        with folders as folder, running_server(folder) as server:
            server.command("CREATE DATABASE chaos")
            yield server.url("chaos")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--repeat", type=int, default=20)
    options.add_argument("cases", nargs="*")
    given = options.parse_args()
    known = {**chaos.CASES, **chaos.SQLITE_ONLY, **chaos.SERVER_ONLY}
    heads = ("times", "runs", "handed out", "finished", "late", "lost", "twice", "whole", "s")
    print(f"{'case':<30}" + "".join(f"{head:>11}" for head in heads), flush=True)
    broken = False
    for name in given.cases or known:
        totals: dict[str, list[chaos.Counts]] = {}
        begin = time.monotonic()
        for repeat in range(given.repeat):
            try:
                for url in places(name):
                    server = name in chaos.SERVER_ONLY or url.startswith("postgresql")
                    found = known[name](url, random.Random(repeat))
                    totals.setdefault("PostgreSQL" if server else "SQLite", []).append(found)
            except (PermissionError, FileNotFoundError, NoServer) as error:
                print(f"{name:<30}  left out: {error}")
                break
        seconds = time.monotonic() - begin
        for system, counts in totals.items():
            sums = [
                sum(getattr(one, key) for one in counts)
                for key in ("runs", "handed_out", "finished", "late", "lost", "twice", "whole")
            ]
            row = (len(counts), *sums, round(seconds))
            print(f"{name + ', ' + system:<30}" + "".join(f"{x:>11}" for x in row), flush=True)
            broken |= bool(sums[4] or sums[5] or sums[6] < len(counts))
    raise SystemExit(int(broken))


if __name__ == "__main__":
    main()
