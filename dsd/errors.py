"""Failures that a user can mend: one line, what was given, where, and what would work."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class DsdError(Exception):
    """An expected failure; the command line prints its message and exits with 1."""

    exit_code = 1


class UsageError(DsdError):
    """A wrong input (a file, a name, a value); the command line exits with 2."""

    exit_code = 2


def suggestion(given: str, known: Iterable[str]) -> str:
    """ " Did you mean 'x'?" for the nearest known name, or what there is, or nothing."""
    names = sorted(known)
    plain = {name.lower(): name for name in names}
    near = difflib.get_close_matches(given.lower(), plain, n=1)
    if near:
        return f" Did you mean '{plain[near[0]]}'?"
    return f" Known: {', '.join(names)}." if names else ""
