"""Which networks of a population an analysis looks at: `--where`, `--prefix`, `--split`."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from dsd.errors import UsageError
from dsd.lab import UNFINISHED

if TYPE_CHECKING:
    import pandas as pd

    from dsd.lab import Population

FEW = 6  # values of a column that make a part each
PARTS = 3  # of equal size, where a column has more values


def limited(population: Population, where: str, prefix: bool, whole: bool = False) -> pd.DataFrame:
    """The networks asked for, with their states and errors; with every column if `whole`."""
    table = population.frame if where or whole else population.scores
    if prefix:
        waits = table["state"].isin(UNFINISHED)
        part = (table["ordinal"] == 0).cumsum()  # pooled seeds each have a prefix of their own
        table = table[waits.groupby(part).cummax() == 0]
    if where:
        from dsd.where import matching

        table = table[matching(table, where)]
    return table


def split(table: pd.DataFrame, text: str) -> Iterator[tuple[str, pd.DataFrame]]:
    """The parts of a population by a condition or a number, each with what tells it.

    A condition makes two: networks that meet it, and those that meet its opposite. A number makes
    one part for each of at most six values, else three of equal size. Networks that lack what the
    expression reads belong to no part. Raises UsageError.
    """
    from dsd.where import is_condition, matching, values

    if is_condition(table, text, "--split"):
        yield text, table[matching(table, text, "--split")]
        yield f"not ({text})", table[matching(table, f"not ({text})", "--split")]
        return
    x = values(table, text, "--split")
    known = np.unique(x[np.isfinite(x)])
    if known.size < 2:
        raise UsageError(f"--split '{text}' is the same for all networks: nothing to split by.")
    if known.size <= FEW:
        for value in known.tolist():
            yield f"{text} = {value:g}", table[x == value]
        return
    edges = np.quantile(x[np.isfinite(x)], np.arange(1, PARTS) / PARTS, method="inverted_cdf")
    limits = [-np.inf, *np.unique(edges).tolist(), np.inf]
    for low, high in pairwise(limits):
        part = table[(x > low) & (x <= high)]
        if len(part):
            yield _range(text, low, high), part


def _range(text: str, low: float, high: float) -> str:
    if low == -np.inf:
        return f"{text} <= {high:.4g}"
    return f"{text} > {low:.4g}" if high == np.inf else f"{low:.4g} < {text} <= {high:.4g}"
