"""A pseudo terminal for one command, and what stands on its screen in the end."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path

_CODES = re.compile(r"\x1b\[([?0-9;]*)([A-Za-z])|([\r\n])|([^\x1b\r\n]+)")


class Terminal:
    """`python arguments` with a terminal of so many columns as stdin, stdout and stderr."""

    def __init__(
        self, folder: Path, *arguments: str, columns: int = 80, **environment: str
    ) -> None:
        self.columns = columns
        self.text = ""
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        _keep_output(slave)
        known = {k: v for k, v in os.environ.items() if not k.startswith(("DSD_", "COLUMNS"))}
        self.process = subprocess.Popen(
            [sys.executable, *arguments], cwd=folder, stdin=slave, stdout=slave, stderr=slave,
            env={**known, "TERM": "xterm-256color", **environment}, start_new_session=True,
            preexec_fn=_own_terminal,
        )  # fmt: skip
        os.close(slave)

    def type(self, text: str) -> None:
        """What somebody types; Ctrl-C is \x03."""
        os.write(self.master, text.encode())

    def until(self, seen: Callable[[str], bool], seconds: float = 100) -> None:
        """Read until the text so far satisfies `seen`."""
        end = time.monotonic() + seconds
        while not seen(self.text):
            assert time.monotonic() < end, self.text
            assert self.read(), self.text

    def read(self) -> bool:
        """Take what is there; False at the end."""
        if not select.select([self.master], [], [], 0.1)[0]:
            return True
        try:
            data = os.read(self.master, 65536)
        except OSError:  # nobody has it open any more
            return False
        self.text += data.decode()
        return bool(data)

    def close(self) -> int:
        """Everything to the end; the exit code."""
        while self.read():
            continue
        os.close(self.master)
        return self.process.wait(30)

    @property
    def lines(self) -> list[str]:
        """The screen, line by line, as a terminal without an end at the bottom would show it."""
        return drawn(self.text, self.columns)


def drawn(text: str, columns: int) -> list[str]:
    """What a terminal makes of text and a display's control sequences; others are errors."""
    grid: list[list[str]] = [[]]
    row = column = 0
    for codes, letter, end, plain in _CODES.findall(text):
        for char in plain:
            if column == columns:
                row, column = row + 1, 0
            grid += [[] for _ in range(row + 1 - len(grid))]
            line = grid[row]
            line += " " * (column + 1 - len(line))
            line[column] = char
            column += 1
        if end == "\r" or (letter == "G" and codes in ("", "1")):
            column = 0
        elif end:
            row += 1
        elif letter == "A":
            row -= int(codes or 1)
        elif letter == "K":
            grid += [[] for _ in range(row + 1 - len(grid))]
            grid[row] = []
        else:
            assert not letter or letter in "mhl", (codes, letter)
    return ["".join(line).rstrip() for line in grid]


def _keep_output(terminal: int) -> None:
    """Ctrl-C throws away what nobody has read yet, half a control sequence even; not here."""
    modes = termios.tcgetattr(terminal)
    modes[3] |= termios.NOFLSH
    termios.tcsetattr(terminal, termios.TCSANOW, modes)


def _own_terminal() -> None:
    """Its Ctrl-C becomes a signal, also where whoever runs the tests has it ignored."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
