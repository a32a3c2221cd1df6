"""Leaving in good order when a signal asks for it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# Schedulers announce a time limit or a preemption with SIGUSR1 or SIGUSR2, as they were told to.
WARNINGS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
SIGNALS = (signal.SIGINT, *WARNINGS)
SLICE_S = 0.1
AT_THE_END = "Leaving at the end of the epoch; Ctrl-C again leaves now."


class Stop:
    """Set when the worker shall leave; `signal` is what asked for it, if a signal did.

    `at_once` says that it leaves in mid-epoch too, not at the epoch's end. Plain flags, no
    `threading.Event`: its lock would hang a signal handler that interrupts another one.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self.at_once = False
        self.asked = False

    def set(self) -> None:
        """Leave at once."""
        self.at_once = self.asked = True

    def after_epoch(self) -> None:
        """Leave at the end of the epoch that is trained now."""
        self.asked = True

    def is_set(self) -> bool:
        """Whether the worker shall leave."""
        return self.asked

    def wait(self, seconds: float) -> bool:
        """Until it is set, but not longer than so many seconds; whether it is set."""
        end = time.monotonic() + seconds
        while not self.asked and time.monotonic() < end:
            time.sleep(min(SLICE_S, max(0.0, end - time.monotonic())))
        return self.asked

    @property
    def exit_code(self) -> int:
        """130 after Ctrl-C, 0 otherwise: a terminated worker has done as it was told."""
        return 130 if self.signal == signal.SIGINT else 0


@contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """A Stop that SIGINT, SIGTERM, SIGUSR1 and SIGUSR2 set. In the main thread only.

    Ctrl-C lets the epoch end, and a second one acts on its own. The others do not wait for the
    epoch: whoever sends them, a scheduler mostly, kills soon. Hearing one twice changes nothing,
    as a scheduler tells a worker and whoever started it, who tells the worker again.
    """
    stop = Stop()
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def ask(number: int, frame: FrameType | None) -> None:
        stop.signal = number
        signal.signal(signal.SIGINT, before[signal.SIGINT])
        if number == signal.SIGINT:
            stop.after_epoch()
            # Not through sys.stderr: this may have interrupted a print.
            os.write(2, f"{AT_THE_END}\n".encode())
        else:
            stop.set()

    for number in SIGNALS:
        signal.signal(number, ask)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
