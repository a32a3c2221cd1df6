"""What a worker has to tell; the lines that it prints, the log and the display are made of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dsd.store.claims import Claim


@dataclass(frozen=True)
class Event:
    """Something that happened to a worker; docs/progress.md lists the names and their fields.

    `line` says it in words, "" where nobody need read it; `about` are its own numbers and texts.
    `worker` is its id in the database, "" before it has one; `slot` is who launched it and where.
    """

    name: str
    line: str = ""
    worker: str = ""
    slot: str = ""
    claim: Claim | None = None
    about: Mapping[str, Any] = field(default_factory=dict)


Hear = Callable[[Event], None]


@dataclass
class Voice:
    """A worker's voice: `hear` is told every event, with the worker's id once it has one."""

    hear: Hear
    slot: str = ""
    worker: str = ""

    def tell(self, name: str, line: str = "", claim: Claim | None = None, **about: Any) -> None:
        """Something happened."""
        self.hear(Event(name, line, self.worker, self.slot, claim, about))

    def warning(self, claim: Claim) -> Callable[[str], None]:
        """Says in words what went wrong beside the training of a run."""
        return lambda line: self.tell("warning", line, claim, message=line)


def aloud(say: Callable[[str], None] = print) -> Hear:
    """Say the events that have words."""
    return lambda event: say(event.line) if event.line else None


def everybody(*listeners: Hear) -> Hear:
    """Tell each of them."""

    def hear(event: Event) -> None:
        for one in listeners:
            one(event)

    return hear
