"""What a worker's display and log cost: the same networks trained with both and without.

    python benchmarks/progress.py --pairs 4 --n 3

Processor time of the whole worker process and images/s of its epochs, alternating; and, measured in
the threads themselves, what one drawing, one look into the database and one logged event take.
"""

from __future__ import annotations

import argparse
import json
import os
import pty
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import mean, median

import dsd
from dsd.store.export import curves
from dsd.store.populations import populations

DSD = [sys.executable, "-m", "dsd"]


def trained(folder: Path, n: int, *options: str) -> tuple[float, float]:
    """Processor seconds of a worker that trains n networks, and its mean images/s."""
    subprocess.run([*DSD, "sample", "anynetx_d", "--n", str(n), "--regime", "fashion"], cwd=folder,
                   check=True, stdout=subprocess.DEVNULL)  # fmt: skip
    pid, master = pty.fork()
    if not pid:
        os.chdir(folder)
        os.execv(DSD[0], [*DSD, "worker", "--cpu", "--exit-when-empty", *options])
    try:
        while os.read(master, 65536):
            pass
    except OSError:  # the terminal's other end is closed
        pass
    _, status, used = os.wait4(pid, 0)
    assert status == 0, status
    os.close(master)
    store = dsd.open(str(folder / "dsd.db")).store
    speeds = curves(store, populations(store))["images_per_s"]
    return used.ru_utime + used.ru_stime, float(speeds.mean())


def parts(folder: Path) -> dict[str, float]:
    """Milliseconds of a thread's processor time for each of what display and log do."""
    from rich.console import Console, Group

    from dsd.cli.progress import QueueLine
    from dsd.cli.watch import Own
    from dsd.store.pace import pace
    from dsd.train.events import Voice
    from dsd.train.journal import open_journal
    from dsd.train.pulse import Pulse

    store, own = dsd.open(str(folder / "dsd.db")).reader, Own(Pulse(39, 128, 5))
    now = pace(store)
    console = Console(file=open(os.devnull, "w"), force_terminal=True, width=140)  # noqa: SIM115
    voice, pulse = Voice(open_journal(folder / "one.jsonl", str, print)), Pulse()
    return {
        "drawing": _milliseconds(lambda: console.print(Group(own, QueueLine(now)))),
        "look": _milliseconds(lambda: pace(store)),
        "event": _milliseconds(lambda: voice.tell("epoch", epoch=1, train_loss=0.5)),
        "step": _milliseconds(pulse.beat, 100_000),
    }


def _milliseconds(action: object, times: int = 300) -> float:
    begin = time.thread_time()
    for _ in range(times):
        action()  # type: ignore[operator]
    return 1000 * (time.thread_time() - begin) / times


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--pairs", type=int, default=4)
    options.add_argument("--n", type=int, default=3)
    given = options.parse_args()
    seen: dict[str, list[tuple[float, float]]] = {"both": [], "without": []}
    for number in range(2 * given.pairs):
        name = ("both", "without", "without", "both")[number % 4]
        extra = ["--log", "log.jsonl"] if name == "both" else ["--plain"]
        with tempfile.TemporaryDirectory() as place:
            seen[name].append(trained(Path(place), given.n, *extra))
            if number == 2 * given.pairs - 1:
                print(json.dumps(parts(Path(place))))
    for name, rows in seen.items():
        seconds, speeds = zip(*rows, strict=True)
        print(f"{name}: processor s {[round(s, 2) for s in seconds]}, median {median(seconds):.2f}"
              f", mean {mean(seconds):.2f}; images/s median {median(speeds):.0f}")  # fmt: skip


if __name__ == "__main__":
    main()
