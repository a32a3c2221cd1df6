"""Leaving in good order when a signal asks for it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stop(threading.Event):
    """Set when the worker shall leave; `signal` is what asked for it, if a signal did."""

    signal: int | None = None

    @property
    def exit_code(self) -> int:
        """130 after Ctrl-C, 0 otherwise: a terminated worker has done as it was told."""
        return 130 if self.signal == signal.SIGINT else 0


@contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """A Stop that SIGINT and SIGTERM set; a second signal acts at once. In the main thread only."""
    stop = Stop()
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def ask(number: int, frame: FrameType | None) -> None:
        stop.signal = number
        stop.set()
        for asked, handler in before.items():
            signal.signal(asked, handler)

    for number in SIGNALS:
        signal.signal(number, ask)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
