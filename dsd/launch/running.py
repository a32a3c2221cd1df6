"""Crews of this machine found again through the database, and asked to leave."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence

from dsd.store import process
from dsd.store.fleet import WorkerAt


def launchers(workers: Sequence[WorkerAt], engine: str = "local") -> list[int]:
    """The living processes of this machine that started these workers.

    Workers of "local PID.SLOT" run where it does, those of "ray PID@HOST.SLOT" anywhere.
    """
    known = [one.launched.split()[1].partition("@") for one in workers]
    pids = {
        int(pid.partition(".")[0])
        for pid, _, place in known
        if place.rpartition(".")[0] in ("", process.host())
    }
    return [pid for pid in sorted(pids) if _is_launcher(pid, engine)]


def stop(pids: Sequence[int], patience_s: float) -> list[int]:
    """Ask these processes to leave; those that still live after `patience_s` seconds."""
    for pid in pids:
        os.kill(pid, signal.SIGTERM)
    end = time.monotonic() + patience_s
    left = list(pids)
    while (left := [p for p in left if process.process_start(p)]) and time.monotonic() < end:
        time.sleep(0.1)
    return left


def _is_launcher(pid: int, engine: str) -> bool:
    """Whether the process is one that launches: its number may be another's by now."""
    import psutil

    try:
        command = psutil.Process(pid).cmdline()
    except psutil.Error:
        return False
    return "launch" in command and engine in command
