"""The populations that the RegNet paper published, shipped with dsd and named `paper/...`."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from dsd.errors import UsageError, suggestion
from dsd.store.external import External, ExternalRow
from dsd.store.readers import read_csv

FOLDER = Path(__file__).parent / "published"
LABEL = "paper: ImageNet, 10 epochs, 360-400 MF"
SCATTER = FOLDER / "regnet_fig2_anynetx_a.csv"  # figure 2: with depth and w4
PREFIX = "paper/"


def paper(name: str) -> External:
    """The shipped population of a name. Raises UsageError, with the nearest name."""
    if name not in papers():
        raise UsageError(f"No population '{name}' is shipped.{suggestion(name, papers())}")
    return papers()[name]


@cache
def papers() -> dict[str, External]:
    """Name -> population: top-1 errors read back from the figures of arXiv 2003.13678."""
    found = json.loads((FOLDER / "regnet_edf.json").read_text(encoding="utf-8"))
    shipped: dict[str, Any] = {}
    for title, errors in found["populations"].items():
        name = PREFIX + title.lower()
        rows = tuple(ExternalRow(error, error, {}) for error in errors)
        shipped[name] = External(name, LABEL, "paper", found["source"], "", rows)
    scatter = read_csv(SCATTER).named(PREFIX + SCATTER.stem.partition("_fig2_")[2], LABEL)
    return {**shipped, scatter.name: scatter}
