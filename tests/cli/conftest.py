"""The real command line in a subprocess, in a folder of its own."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest

from dsd.cli.main import main

TINY = Path(__file__).parent.parent.parent / "regimes" / "fashion.toml"


class Shell:
    """A working folder in which `dsd` runs: on the CPU, wherever the tests run, or on a `gpu`."""

    def __init__(self, folder: Path, gpu: bool = False) -> None:
        self.folder = folder
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("DSD_")}
        self.environment["COLUMNS"] = "200"
        if not gpu:
            self.environment["CUDA_VISIBLE_DEVICES"] = ""
        self.environment["DSD_WORKER_SLOTS"] = "1"  # stories of several give --slots: cores are few

    def popen(self, *arguments: str, python: tuple[str, ...] = ()) -> subprocess.Popen[str]:
        """Start `dsd arguments`."""
        return subprocess.Popen(
            [sys.executable, *python, "-m", "dsd", *arguments],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # a shell that runs the tests in the background has SIGINT ignored, and so its children
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def __call__(self, *arguments: str, code: int = 0, python: tuple[str, ...] = ()) -> str:
        """Run `dsd arguments`, check the exit code, return what it printed."""
        process = self.popen(*arguments, python=python)
        out, error = process.communicate(timeout=200)
        self.stderr = error
        assert process.returncode == code, f"{arguments}\n{out}\n{error}"
        return out

    def fails(self, *arguments: str, code: int) -> str:
        """The one line of an expected failure."""
        out = self(*arguments, code=code)
        lines = [line for line in self.stderr.splitlines() if line.strip()]
        assert lines, out
        assert "Traceback" not in self.stderr
        return lines[-1]

    def states(self) -> dict[str, dict[str, int]]:
        """Space -> networks by state."""
        found = json.loads(self("status", "--json"))["populations"]
        return {p["space"]: {k: v for k, v in p["states"].items() if v} for p in found}


class Here(Shell):
    """The same `main`, with its exit codes and its one line of an error, in this process.

    For questions of which a subprocess is no part: most of its second is the import of libraries.
    """

    def __call__(self, *arguments: str, code: int = 0, python: tuple[str, ...] = ()) -> str:
        assert not python, "that needs a process of its own"
        out, error = io.StringIO(), io.StringIO()
        with (
            contextlib.chdir(self.folder), mock.patch.object(sys, "argv", ["dsd", *arguments]),
            mock.patch.dict(os.environ, self.environment, clear=True),
            contextlib.redirect_stdout(out), contextlib.redirect_stderr(error),
            pytest.raises(SystemExit) as ended,
        ):  # fmt: skip
            main()
        self.stderr = error.getvalue()
        assert (ended.value.code or 0) == code, f"{arguments}\n{out.getvalue()}\n{self.stderr}"
        return out.getvalue()


@pytest.fixture
def here(tmp_path: Path) -> Here:
    return Here(tmp_path)


@pytest.fixture
def dsd(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


@pytest.fixture
def tiny(dsd: Shell) -> Shell:
    """A folder whose `fashion` regime trains a network in a second or two."""
    text = TINY.read_text()
    lines = [
        line for line in text.splitlines() if not line.startswith(("flops", "epochs", "width"))
    ]
    small = "\n".join(lines).replace("[band]", "[band]\nflops = [0.03e6, 0.05e6]")
    small = small.replace("[stem]", "[stem]\nwidth = 4").replace("[train]", "[train]\nepochs = 1")
    (dsd.folder / "regimes").mkdir()
    (dsd.folder / "regimes" / "fashion.toml").write_text(
        small.replace('restrict = ["w <= 256"]', 'restrict = ["w <= 32", "d <= 8"]')
    )
    return dsd
