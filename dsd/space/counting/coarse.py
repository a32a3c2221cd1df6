"""Bounds under rules on several costs, where exact lists would be too long: costs in whole units.

Every choice's costs are rounded down to units, after which many choices are one. A network's own
cost is then known but for less than a unit a stage: within limits that are narrower by that much it
surely lies, outside of limits that are wider it does not, and both are counted exactly.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dsd.space.counting.meet import Budget, Region, TooManyError, count_lists
from dsd.space.counting.planes import FloatArray, Plane
from dsd.space.counting.tables import IntArray, Table

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
                for one in (_narrower(region, units, slack), _wider(region, units, slack))
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


def _narrower(region: Region, units: IntArray, slack: IntArray) -> Region:
    """What holds for rounded costs only where it holds for the costs themselves."""
    bounds = tuple(
        (-(-low // unit), (high - less) // unit)
        for (low, high), unit, less in _by_column(region, units, slack)
    )
    planes = []
    for plane in region.planes or ():
        under, over = _spread(plane.weights, slack)
        limits = plane.sure[0] - under, plane.sure[1] - over
        planes.append(Plane(plane.weights * units, limits, limits))
    return Region(bounds, None, tuple(planes))


def _wider(region: Region, units: IntArray, slack: IntArray) -> Region:
    """What holds for rounded costs wherever it holds for the costs themselves."""
    bounds = tuple(
        (max(0, -(-(low - less) // unit)), high // unit)
        for (low, high), unit, less in _by_column(region, units, slack)
    )
    planes = []
    for plane in region.planes or ():
        under, over = _spread(plane.weights, slack)
        limits = plane.maybe[0] - over, plane.maybe[1] - under
        planes.append(Plane(plane.weights * units, limits, limits))
    return Region(bounds, None, tuple(planes))


def _by_column(
    region: Region, units: IntArray, slack: IntArray
) -> list[tuple[tuple[int, int], int, int]]:
    return list(zip(region.bounds, units.tolist(), slack.tolist(), strict=True))


def _spread(weights: FloatArray, slack: IntArray) -> tuple[float, float]:
    """Least and most that rounding took from a weighted sum."""
    return float(np.minimum(weights, 0) @ slack), float(np.maximum(weights, 0) @ slack)
