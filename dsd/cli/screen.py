"""A display at the foot of the terminal; whatever is printed meanwhile stands above it."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console

LAST_S = 1.0  # for the last lines; reading processes may keep the pipe open for longer


def on_terminal() -> bool:
    """Whether stdout is a terminal that can draw, whatever the environment says of colours."""
    from rich.console import Console

    return sys.stdout.isatty() and not Console().is_dumb_terminal


@contextmanager
def screen() -> Iterator[Callable[[Any], None]]:
    """A function that draws something of rich's in place of what it drew before.

    Stdout and stderr lead into a pipe meanwhile, by their descriptors: signal handlers, libraries
    in C and the processes that read images write there, too, and would tear the display. A stderr
    that is no terminal stays as it is. The last words of a killed process may be lost.
    """
    from rich.console import Console
    from rich.live import Live

    lock = threading.Lock()  # rich's own does not hold from moving the cursor to printing
    with _piped() as (terminal, read, end):
        console = Console(file=terminal)
        with Live(console=console, auto_refresh=False, redirect_stdout=False,
                  redirect_stderr=False) as live:  # fmt: skip
            thread = threading.Thread(target=_above, args=(read, console, lock), daemon=True)
            thread.start()

            def draw(shown: Any) -> None:
                with lock:
                    _fit(console, terminal)
                    live.update(shown, refresh=True)

            try:
                yield draw
            finally:
                end()
                thread.join(LAST_S)


@contextmanager
def _piped() -> Iterator[tuple[TextIO, int, Callable[[], None]]]:
    """The terminal, the end of the pipe to read from, and what puts everything back."""
    kept = {number: os.dup(number) for number in (1, 2) if os.isatty(number)}
    terminal = os.fdopen(os.dup(1), "w", encoding=sys.stdout.encoding, errors="replace")
    read, write = os.pipe()
    for number in kept:
        os.dup2(write, number)
    os.close(write)

    def end() -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        while kept:
            number, copy = kept.popitem()
            os.dup2(copy, number)
            os.close(copy)

    try:
        with terminal:
            yield terminal, read, end
    finally:
        end()


def _above(read: int, console: Console, lock: threading.Lock) -> None:
    """Print every line that comes; where the terminal is gone, whoever prints must not wait."""
    from rich.text import Text

    with open(read, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            try:
                with lock:
                    console.print(Text.from_ansi(line.rstrip("\n")), soft_wrap=True)
            except (OSError, ValueError):
                continue


def _fit(console: Console, terminal: TextIO) -> None:
    """Take note of the terminal's size: rich would ask streams that are pipes now."""
    columns, lines = os.get_terminal_size(terminal.fileno())
    if columns and lines:
        console.size = (columns, lines)
