"""Keep a lease alive from a thread of its own, whatever training does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

RETRY_S = 1.0


@contextmanager
def heartbeat(beat: Callable[[], bool], every_s: float) -> Iterator[threading.Event]:
    """Beat every so many seconds. The event is set when one is answered False: the lease is lost.

    A beat that fails, on a locked database or a lost connection, is tried again and harms nothing.
    """
    over, lost = threading.Event(), threading.Event()

    def run() -> None:
        wait = every_s
        while not over.wait(wait):
            try:
                if not beat():
                    return lost.set()
                wait = every_s
            except Exception:  # the database cannot be reached now; the next beat may reach it
                wait = min(RETRY_S, every_s)

    thread = threading.Thread(target=run, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield lost
    finally:
        over.set()
        thread.join()
