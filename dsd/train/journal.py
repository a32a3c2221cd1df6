"""`--log FILE`: every event of a worker as a line of JSON, in a file that workers may share."""

from __future__ import annotations

import errno
import json
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dsd.errors import UsageError
from dsd.store import process
from dsd.train.events import Event


@dataclass
class Journal:
    """An open log. Each line is appended whole by one write, so that lines never mix.

    `hide` takes what is secret out of a message; `say` is told once when a line cannot be written,
    and training goes on: later lines are tried again.
    """

    path: Path
    file: int
    hide: Callable[[str], str]
    say: Callable[[str], None]
    failed: bool = False
    torn: bool = False

    def __call__(self, event: Event) -> None:
        """Append the event."""
        known = {key: self._plain(key, value) for key, value in told(event).items()}
        line = json.dumps(known, default=str, allow_nan=False) + "\n"
        try:
            self._write(line.encode())
        except OSError as error:
            if not self.failed:
                self.say(f"Nothing is logged to {self.path}: {error.strerror}. Training goes on.")
            self.failed = True

    def _write(self, line: bytes) -> None:
        line = b"\n" * self.torn + line
        self.torn = os.write(self.file, line) < len(line)
        if self.torn:  # the disk is full since the middle of the line
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _plain(self, key: str, value: Any) -> Any:
        if key == "message" and value:
            return self.hide(str(value))
        return None if isinstance(value, float) and not math.isfinite(value) else value


def open_journal(path: Path, hide: Callable[[str], str], say: Callable[[str], None]) -> Journal:
    """The log at `path`, made if it is not there. Raises UsageError where it cannot be written."""
    try:
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise _refused(path, error.errno) from None
    return Journal(path, file, hide, say)


def check_place(path: Path) -> None:
    """Raises UsageError where no log could be written, as far as can be told; makes no file."""
    if path.is_dir():
        raise _refused(path, errno.EISDIR)
    if not path.parent.is_dir():
        raise _refused(path, errno.ENOENT)
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise _refused(path, errno.EACCES)


def _refused(path: Path, number: int | None) -> UsageError:
    why = os.strerror(number or errno.EIO)
    return UsageError(f"The log {path} cannot be written: {why}. A file in a folder that is there "
                      "would work.")  # fmt: skip


def told(event: Event) -> dict[str, Any]:
    """What the log says of an event: when, what and who, then of which run, then its own fields."""
    claim = event.claim
    run = {} if claim is None else {
        "run": claim.run_id, "attempt": claim.attempt, "network": claim.label,
        "digest": claim.digest, "population": claim.population, "regime": claim.regime_name,
        "seed": claim.seed,
    }  # fmt: skip
    return {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event.name,
        "worker": event.worker or None, "slot": event.slot or None, "host": process.host(),
        "pid": os.getpid(), **run, **event.about,
    }  # fmt: skip
