"""What Ray runs on a node: a keeper, which keeps one `dsd worker` process.

It is sent to the node as it stands here, whatever dsd is installed there, and so imports nothing
but the standard library.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence


class Keeper:
    """Runs `dsd worker arguments` as a process of its own, with `environment` added to the node's.

    A process, not a thread: it leaves in good order on SIGTERM and when its keeper is killed
    (`--parent`); a network that brings its process down, by memory or by a broken GPU context,
    leaves the keeper alive. The database's URL travels in the environment: it may hold a password.
    """

    def __init__(
        self, version: str, arguments: Sequence[str], environment: Mapping[str, str]
    ) -> None:
        self.version = version
        self.command = [sys.executable, "-m", "dsd", "worker", *arguments, "--slots", "1"]
        # One thread each, as `dsd worker` wants it: Ray sets as many as the actor has CPUs.
        one_thread = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        self.environment = {**os.environ, **one_thread, **environment}
        self.process: subprocess.Popen[str] | None = None
        self.stopping = False
        self.lock = threading.Lock()

    def run(self) -> tuple[str, int | None, str]:
        """(node, exit code, last line) of one worker; None where this node's dsd is another one."""
        node = socket.gethostname()
        found = self._version_here()
        if found != self.version:
            return node, None, f"has {found}, this is {self.version}"
        with self.lock:
            if self.stopping:
                return node, 0, ""
            self.process = subprocess.Popen(
                [*self.command, "--parent", str(os.getpid())], stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                env=self.environment, start_new_session=True,
            )  # fmt: skip
        last = ""
        for line in self.process.stdout or ():
            print(line, end="", flush=True)  # into Ray's log of this actor
            last = line.strip() or last
        return node, self.process.wait(), last

    def stop(self) -> None:
        """Ask the worker to leave: it gives its network back, its last checkpoint stays."""
        with self.lock:
            self.stopping = True
            if self.process:
                self.process.terminate()

    def _version_here(self) -> str:
        """What `dsd --version` says on this node, or that there is none."""
        asked = [sys.executable, "-m", "dsd", "--version"]
        said = subprocess.run(asked, capture_output=True, text=True, env=self.environment)
        return said.stdout.strip() if said.returncode == 0 else "no dsd in its Python"
