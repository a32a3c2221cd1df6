"""One function over many chunks, on all cores, so that nothing outlives the process that asked."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from dsd.errors import DsdError

Job = TypeVar("Job")
Result = TypeVar("Result")


def each(
    function: Callable[[Job], Result], jobs: Sequence[Job], processes: int | None = None
) -> Iterator[tuple[Job, Result]]:
    """Every job with its result, in the order in which they end; one process a core by default.

    A single job, or a single process, needs no other one. Ctrl-C lets the jobs that run end and
    drops the rest. Raises what a job raises.
    """
    count = min(processes or cores(), len(jobs))
    if count <= 1:
        yield from ((job, function(job)) for job in jobs)
        return
    spawn = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(count, mp_context=spawn, initializer=_follow)
    try:
        running = {pool.submit(function, job): job for job in jobs}
        for done in as_completed(running):
            yield running[done], done.result()
    except BrokenProcessPool:
        raise DsdError("A process that read images was killed: too little memory?") from None
    finally:
        pool.shutdown(cancel_futures=True)


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _follow() -> None:
    """Leave Ctrl-C to the parent, and go when it is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def wait() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
