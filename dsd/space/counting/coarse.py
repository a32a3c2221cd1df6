"""Bounds where exact arrays or lists would be too long: costs in whole units.

Every choice's costs are rounded down to units, after which many choices are one. A network's own
cost is then known but for less than a unit a stage: within limits that are narrower by that much it
surely lies, outside of limits that are wider it does not, and both are counted: in lists under
several limits, in arrays on a coarse grid under one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dsd.space.counting.dense import cost_groups, count_all, count_band, effort, rough_error
from dsd.space.counting.meet import Budget, Region, TooManyError, count_lists
from dsd.space.counting.planes import FloatArray, Plane
from dsd.space.counting.tables import IntArray, Table

ROUNDINGS = 3  # of a stage's cost: what its state adds, what its shape costs, its further blocks
FINEST, COARSEST = 4096, 64  # units in the largest cost at hand


def coarse_bounds(
    stages: Sequence[Sequence[Table]], region: Region, steps: int
) -> tuple[int, int] | None:
    """At least and at most so many settings lie in a region of planes; for each stage one table a
    column. None where even coarse lists take more than `steps`."""
    largest = _largest(stages, region.bounds[0][1])
    parts = FINEST
    while parts >= COARSEST:
        units = np.maximum(1, -(-largest // parts))
        slack = len(stages) * (units - 1)
        try:
            found = [
                count_lists(stages, one, Budget(steps // 2), units)
                for one in (_in_units(region, units, slack, sure) for sure in (True, False))
                if one.bounds[0][0] <= one.bounds[0][1]
            ]
        except TooManyError as error:  # steps grow by the third power or so
            excess = error.args[0] / max(1, steps // 2)
            parts = int(parts / max(2.0, excess ** (1 / 3)))
            continue
        return (found[0], found[-1]) if len(found) == 2 else (0, sum(found))
    return None


def _largest(stages: Sequence[Sequence[Table]], high: int) -> IntArray:
    """(columns,) the largest cost of a choice that is within the first column's limit."""
    found = np.ones(len(stages[0]), dtype=np.int64)
    for tables in stages:
        for k in range(len(tables[0].d)):
            cost = [t.first + t.more[:, k] for t in tables]
            found = np.maximum(found, [c.max(where=cost[0] <= high, initial=1) for c in cost])
    return found


def _in_units(region: Region, units: IntArray, slack: IntArray, sure: bool) -> Region:
    """The region for rounded costs, `sure`: only where it holds for the costs themselves, else
    wherever it does."""
    bounds = tuple(
        (max(0, -(-(low - less * (not sure)) // unit)), (high - less * sure) // unit)
        for (low, high), unit, less in zip(
            region.bounds, units.tolist(), slack.tolist(), strict=True
        )
    )
    planes = []
    for plane in region.planes or ():
        under, over = _spread(plane.weights, slack)
        limits = (plane.sure[0] - under, plane.sure[1] - over) if sure else (
            plane.maybe[0] - over, plane.maybe[1] - under)  # fmt: skip
        planes.append(Plane(plane.weights * units, limits, limits))
    return Region(bounds, None, tuple(planes))


def _spread(weights: FloatArray, slack: IntArray) -> tuple[float, float]:
    """Least and most that rounding took from a weighted sum."""
    return float(np.minimum(weights, 0) @ slack), float(np.maximum(weights, 0) @ slack)


def bounds(stages: Sequence[Table], low: float, high: float, unit: int) -> tuple[int, int]:
    """At least and at most how many settings cost from low to high, from costs in whole units."""
    high = min(high, sum(table.most for table in stages))
    rounded = [_rounded(table, unit) for table in stages]
    slack = ROUNDINGS * len(stages)  # the cost is from s to s + slack units
    begin, end = math.ceil(low / unit), math.floor(high / unit)
    least = count_band(rounded, begin, math.floor((high + 1) / unit) - slack, rough=True)
    most = count_band(rounded, begin - slack, end, rough=True)
    err = rough_error(stages)
    return max(0, least - err), min(count_all(stages), most + err)


def coarse_unit(stages: Sequence[Table], low: float, high: float, size: int, work: int) -> int:
    """A unit with which `bounds` keeps to so many bytes, and each of its counts to so much work.

    It starts at a millionth of the cost: finer would not tell much more.
    """
    high = min(high, sum(table.most for table in stages))
    unit = max(1, int(high) // 1_000_000)
    while True:
        rounded = [_rounded(table, unit) for table in stages]
        needs = effort(rounded, low / unit, high / unit, rough=True)
        excess = max(needs[0] / size, needs[1] / max(1, work))
        if excess <= 1:
            return unit
        unit = math.ceil(unit * min(excess, 8.0))


def _rounded(table: Table, unit: int) -> Table:
    groups = cost_groups(table)
    first = groups.base // unit + np.maximum(groups.extra, 0)[:, groups.of] // unit
    return replace(table, first=first, more=table.more // unit)
