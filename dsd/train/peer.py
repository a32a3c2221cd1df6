"""Another rank's process, as rank 0 sees it: words to it, its reports, and how it ended."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dsd.train.ddp import RankLost

LOOK_S = 5.0  # for the end of a process that was killed


class RankFailed(Exception):
    """What went wrong on another rank than this one, in its words."""


@dataclass
class Peer:
    """Another rank's process, as rank 0 sees it."""

    rank: int
    process: subprocess.Popen[str]
    log: Path
    ready: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)
    report: dict[str, Any] = field(default_factory=dict)
    dismissed: bool = False

    @classmethod
    def start(cls, given: dict[str, Any], log: Path, missed: Callable[[], None]) -> Peer:
        """Start the process; `missed` is called, in a thread, if it ends without being dismissed.

        What it prints goes to the log, and is quoted if it says no more.
        """
        with log.open("w") as errors:
            # A session of its own: Ctrl-C in the terminal is rank 0's to hear.
            process = subprocess.Popen(
                [sys.executable, "-m", "dsd.train.follow", json.dumps(given)], text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
                start_new_session=True,
            )  # fmt: skip
        peer = cls(given["rank"], process, log)
        threading.Thread(target=peer.listen, args=(missed,), daemon=True).start()
        return peer

    def listen(self, missed: Callable[[], None]) -> None:
        """Take down what the process says until it has ended."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            said = json.loads(line)
            if "ready" in said:
                self.ready.set()
            else:
                self.report = said
        self.process.wait()
        self.over.set()
        if not self.dismissed:
            missed()

    def hear(self, word: dict[str, Any]) -> None:
        """Take a word. Raises OSError where the process is gone."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(word) + "\n")
        self.process.stdin.flush()

    @property
    def echoes(self) -> bool:
        """Whether it only failed because it lost contact with another rank."""
        return bool(self.report.get("lost"))

    def cause(self) -> Exception:
        """Why it has ended."""
        if not self.report:
            return RankLost(f"Rank {self.rank} {self._end()}: its network is given back.")
        message = f"rank {self.rank}: {self.report['message']}"
        if self.report["memory"]:
            error: Exception = MemoryError(message)
        else:
            error = RankFailed(message)
        error.add_note(self.report["trace"])
        return error

    def _end(self) -> str:
        code = self.process.poll()
        if code is None:
            return "does not answer"
        if code < 0:
            return f"was killed by signal {-code}"
        lines = self.log.read_text(errors="replace").split("\n") if self.log.exists() else []
        last = next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
        return f"ended with exit code {code} ({last})"

    def dismiss(self, at_once: bool) -> None:
        """Ask it to leave, or kill it."""
        self.dismissed = True
        if at_once:
            self.process.kill()
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()

    def gone(self, deadline: float) -> None:
        """Wait until it has left, but kill it then."""
        if not self.over.wait(max(0.0, deadline - time.monotonic())):
            self.process.kill()
            self.over.wait(LOOK_S)
