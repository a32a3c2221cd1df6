"""NVIDIA's Multi-Process Service: kernels of several processes run on one GPU at the same time.

Without it processes take turns (time slices). It is a program of the CUDA driver's; where it is
missing or does not work, training goes on without it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

CONTROL = "nvidia-cuda-mps-control"
FOLDERS = ("CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY")
DEFAULT = "/tmp/nvidia-mps"  # the first of them, where a daemon and its clients are told of none
PATIENCE_S = 60.0  # for one answer of the daemon, or for a process to use the GPU through it
QUIT_S = 3.0  # for its end: it waits for this process, too, whose memory was on the GPU
TRIAL = "import torch; torch.ones(1, device='cuda').sum().item()"


@contextmanager
def mps(wanted: bool = True) -> Iterator[str]:
    """How processes share a GPU within: "through MPS" or "by time slices", with the reason.

    Before this process touches CUDA. A daemon that runs is used; else one is started in a folder of
    its own, which this process and its children know by their environment, and is ended with this.
    """
    if not wanted:
        yield "by time slices (--no-mps)"
    elif shutil.which(CONTROL) is None:
        yield f"by time slices ({CONTROL} is not on PATH)"
    elif _asked("get_server_list", dict(os.environ)):
        known = os.environ.get(FOLDERS[0])
        os.environ[FOLDERS[0]] = known or DEFAULT  # by this a worker knows whose errors reach it
        try:
            yield "through MPS (a daemon runs already)"
        finally:
            if known is None:
                del os.environ[FOLDERS[0]]
    else:
        place = tempfile.TemporaryDirectory(prefix="dsd-mps-", ignore_cleanup_errors=True)
        with place as folder, _daemon(folder) as told:
            yield told


@contextmanager
def _daemon(folder: str) -> Iterator[str]:
    known = {key: os.environ.get(key) for key in FOLDERS}
    os.environ |= dict.fromkeys(FOLDERS, folder)
    # The daemon must see all GPUs: those that it sees are numbered anew for its clients.
    environment = {k: v for k, v in os.environ.items() if k != "CUDA_VISIBLE_DEVICES"}
    started = _ran([CONTROL, "-d"], environment)
    works = started and _ran([sys.executable, "-c", TRIAL], dict(os.environ))
    try:
        if not works:
            _end(environment, known)
        yield "through MPS" if works else "by time slices (MPS does not work here)"
    finally:
        if works:
            _end(environment, known)


def _end(environment: dict[str, str], known: dict[str, str | None]) -> None:
    """Tell the daemon to end as soon as nobody uses it; this process's environment is as it was."""
    _ran([CONTROL], environment, "quit", QUIT_S)
    for key, value in known.items():
        os.environ.pop(key, None)
        if value is not None:
            os.environ[key] = value


def _asked(question: str, environment: dict[str, str]) -> bool:
    return _ran([CONTROL], environment, question)


def _ran(
    command: list[str], environment: dict[str, str], said: str = "", patience_s: float = PATIENCE_S
) -> bool:
    """Whether a command ends in time, and well."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        # Files, not pipes: a daemon keeps what it inherits open, and its starter would wait.
        done = subprocess.run(
            command, env=environment, input=f"{said}\n", text=True, timeout=patience_s,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        return done.returncode == 0
    return False
