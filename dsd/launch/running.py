"""Crews of this machine found again through the database, and asked to leave."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

from sqlalchemy import URL

from dsd.errors import DsdError
from dsd.store import process
from dsd.store.location import database_url, identity


def launchers(launched: Iterable[str], engine: str = "local") -> list[int]:
    """The living processes of this machine that started workers of these names.

    Workers of "local PID.SLOT" run where it does, those of "ray PID@HOST.SLOT" anywhere.
    """
    known = [name.split()[1].partition("@") for name in launched]
    pids = {
        int(pid.partition(".")[0])
        for pid, _, place in known
        if place.rpartition(".")[0] in ("", process.host())
    }
    return [pid for pid in sorted(pids) if _is_launcher(pid, engine)]


def starting(url: URL, engine: str) -> Iterator[str]:
    """Names of this machine's workers on a database that it may not know yet.

    A new worker needs seconds, or on a busy machine a minute, until it can enter itself.
    """
    import psutil

    for one in psutil.process_iter(["cmdline"]):
        words = one.info["cmdline"] or []
        for option, name in pairwise(words):
            if option == "--launched" and name.startswith(f"{engine} "):
                with contextlib.suppress(psutil.Error, OSError, DsdError):
                    db = one.environ().get("DSD_DB", "")
                    place = db if "://" in db else os.path.join(one.cwd(), db)
                    if identity(database_url(place)) == identity(url):
                        yield name


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
