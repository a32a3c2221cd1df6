"""Saying something to a database that may be away for a while."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from dsd.store.engine import DatabaseUnavailable

T = TypeVar("T")
WAITS_S = (1, 2, 5, 10, 20, 30, 60, 60, 120, 300)


def patiently(action: Callable[[], T]) -> T:
    """The action's answer, asked again for about ten minutes while the database is unavailable."""
    for wait in WAITS_S:
        try:
            return action()
        except DatabaseUnavailable:
            time.sleep(wait)
    return action()
