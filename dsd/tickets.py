"""How many networks some processes may still take, all of them together."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Tickets:
    """A number in a file without a name, open in every one of the processes as `file`."""

    file: int

    @classmethod
    def of(cls, count: int) -> Tickets:
        """So many; processes that inherit the file share them."""
        with tempfile.TemporaryFile() as made:
            tickets = cls(os.dup(made.fileno()))
        tickets.put(count)
        return tickets

    def take(self) -> bool:
        """Whether there was one to take."""
        with self._alone():
            left = self.left()
            self._write(max(0, left - 1))
        return left > 0

    def give_back(self) -> None:
        """One that was taken for nothing."""
        with self._alone():
            self._write(self.left() + 1)

    def put(self, count: int) -> None:
        """So many are left, whatever there were."""
        with self._alone():
            self._write(max(0, count))

    def left(self) -> int:
        """How many there are."""
        return int.from_bytes(os.pread(self.file, 8, 0), "little")

    def _write(self, count: int) -> None:
        os.pwrite(self.file, count.to_bytes(8, "little"), 0)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        fcntl.lockf(self.file, fcntl.LOCK_EX)  # the kernel frees a killed process's
        try:
            yield
        finally:
            fcntl.lockf(self.file, fcntl.LOCK_UN)
