"""A small study by `dsd` on the command line, in a folder of its own: queued, trained, timed."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path


class NotDone(Exception):
    """A command of dsd that failed, with its last line."""


@dataclass(frozen=True)
class Study:
    """Seconds of the whole command, seconds from the first claim to the last result, and errors.

    `outside` is the share of the workers' time, from first claim to last result, not in epochs.
    """

    seconds: float
    working: float
    errors: list[float]
    outside: float


def dsd(folder: Path, *words: str) -> None:
    """Run `dsd words` in the folder. Raises NotDone."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("DSD_")}
    command = [sys.executable, "-m", "dsd", *words]
    found = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if found.returncode:
        lines = (found.stderr.strip() or found.stdout.strip() or "no word").splitlines()
        raise NotDone(f"`dsd {' '.join(words)}`: {lines[-1]}")


def queued(folder: Path, space: str, n: int, regime: str) -> None:
    """A new database with n networks of the space."""
    (folder / "dsd.db").unlink(missing_ok=True)
    dsd(folder, "sample", space, "--n", str(n), "--seed", "0", "--regime", regime)


def trained(folder: Path, *words: str) -> Study:
    """Train all that is queued by a command. Raises NotDone if it fails, or leaves a network."""
    begin = time.perf_counter()
    dsd(folder, *words)
    seconds = time.perf_counter() - begin
    with sqlite3.connect(folder / "dsd.db") as database:
        runs = database.execute("SELECT state, error_last, started, finished FROM runs").fetchall()
        epochs = database.execute("SELECT sum(seconds) FROM epochs").fetchone()[0]
        spans = database.execute(
            "SELECT max(finished) - min(started) FROM runs GROUP BY owner"
        ).fetchall()
    bad = [state for state, *_ in runs if state not in ("done", "diverged")]
    if bad:
        raise NotDone(f"`dsd {' '.join(words)}` left {len(bad)} of {len(runs)} networks {bad[0]}")
    working = max(row[3] for row in runs) - min(row[2] for row in runs)
    outside = 1 - epochs / sum(span for (span,) in spans)
    return Study(seconds, working, [row[1] for row in runs], outside)
