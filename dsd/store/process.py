"""Which process this is, and whether another one of this machine still lives."""

from __future__ import annotations

import os
import platform
import socket
from pathlib import Path


def host() -> str:
    """This machine's name."""
    return socket.gethostname()


def boot() -> str:
    """What pids are unique within: this boot of the machine, and this container's pid namespace."""
    try:
        booted = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{booted} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        import psutil

        return f"{platform.system()} {psutil.boot_time():.0f}"


def process_start(pid: int) -> str | None:
    """When a process of this machine started, in a unit of its own; None if it does not live.

    A zombie (killed, its parent has not looked yet) does not live.
    """
    if Path("/proc/self/stat").exists():
        return _linux_start(pid)
    import psutil

    try:
        process = psutil.Process(pid)
        dead = process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
        return None if dead else repr(process.create_time())
    except psutil.NoSuchProcess:
        return None


def _linux_start(pid: int) -> str | None:
    # Clock ticks since boot: psutil's create_time moves when somebody sets the machine's clock.
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, *rest = stat.rpartition(")")[2].split()
    return None if state in "ZXx" else rest[18]
