"""Names of the columns in which tables tell networks: d1, w1, d2, w2, ..."""

from __future__ import annotations

from collections.abc import Container
from itertools import count
from typing import Any


def stages_named(columns: Container[Any], parameter: str = "d") -> int:
    """How many stages a table tells a parameter of: its columns d1, d2, ... without a gap."""
    return next(i for i in count(1) if f"{parameter}{i}" not in columns) - 1
