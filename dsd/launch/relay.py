"""What several processes print, passed on in whole lines; what all of them say, once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO

REMEMBERED = 200  # lines that are compared with what others say
ERROR = "Error: "


@dataclass
class Relay:
    """Lines go to `say`, except errors: whoever watches the processes says what follows of them.

    A line that another process has said lately is not said again. `silent` are left out.
    """

    say: Callable[[str], None]
    silent: frozenset[str] = frozenset()
    errors: dict[str, str] = field(default_factory=dict)  # who -> its last one
    latest: OrderedDict[str, str] = field(default_factory=OrderedDict)  # line -> who said it
    lock: threading.Lock = field(default_factory=threading.Lock)

    def listen(self, who: str, stream: IO[bytes]) -> threading.Thread:
        """Hear a process out, in a thread that ends with it."""

        def run() -> None:
            with stream:
                for line in stream:
                    self.hear(who, line.decode(errors="replace").rstrip())

        thread = threading.Thread(target=run, name=f"relay {who}", daemon=True)
        thread.start()
        return thread

    def hear(self, who: str, line: str) -> None:
        """One line."""
        if not line or line in self.silent:
            return
        with self.lock:
            if line.startswith(ERROR):
                self.errors[who] = line.removeprefix(ERROR)
            elif self.latest.setdefault(line, who) == who:
                self.say(line)
            while len(self.latest) > REMEMBERED:
                self.latest.popitem(last=False)
