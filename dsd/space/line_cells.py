"""Which settings w0, wa, wm of a quantised line give stages of given depths and widths, exactly.

With r = wa / w0, block j stands on level k or above where 1 + r j >= wm^(k - 1/2) (RegNet, eqs. 2
and 3): depths bound wm and r alone. Level k is w0 wm^k wide before it is rounded (eq. 4): widths
bound wm and w0 alone, linearly in their logarithms. What either leaves of wm is one interval.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dsd.space.quantized import quantized_widths

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Limits = tuple[float, float]
BISECTIONS = 60
MARGIN = 1e-9
SLACK = 1e-12  # rounding of logarithms where an interval is one point


@dataclass(frozen=True)
class Line:
    """Settings of RegNet's equations 2 to 4: w0 and wa in channels, wm a factor."""

    w0: float
    wa: float
    wm: float

    def widths(self, d: int, q: int = 8) -> IntArray:
        """Widths (d,) of d blocks, multiples of q."""
        return quantized_widths(d, self.w0, self.wa, self.wm, q)


def line_through(
    depths: IntArray, least: IntArray, most: IntArray, within: Limits, q: int = 8
) -> Line | None:
    """A line of just these stages: depths (s,), widths between least and most (s,), wm `within`.

    Widths are multiples of q. Of all such lines one of few digits, as papers print them; None
    where there is none.
    """
    low, high = np.log(within)
    bounds = np.log(least - q / 2), np.log(most + q / 2)
    for limits in (_wm_of_widths(*bounds), _wm_of_depths(depths, low, high)):
        low, high = max(low, limits[0]), min(high, limits[1])
    if low > high + SLACK:
        return None
    for choose in (short, middle):
        wm = choose(float(np.exp(low)), float(np.exp(high)))
        line = _line_at(wm, depths, bounds, choose)
        widths, counts = np.unique(line.widths(int(depths.sum()), q), return_counts=True)
        if counts.tolist() == depths.tolist() and ((widths >= least) & (widths <= most)).all():
            return line
    return None


def _line_at(
    wm: float, depths: IntArray, bounds: tuple[FloatArray, FloatArray],
    choose: Callable[..., float],
) -> Line:  # fmt: skip
    rise = np.arange(len(depths)) * np.log(wm)
    low, high = np.exp((bounds[0] - rise).max()), np.exp((bounds[1] - rise).min())
    w0 = choose(float(low), float(high), 8.0)
    steep = slopes(depths, wm)
    return Line(w0, choose(w0 * steep[0], w0 * steep[1]), wm)


def slopes(depths: IntArray, wm: float) -> Limits:
    """Least and largest wa / w0 that give these depths (s,) at a wm that can give them."""
    ends = np.cumsum(depths)
    height = heights(len(depths), wm)
    low = float((height[:-1] / ends[:-1]).max(initial=0))
    before = ends > 1
    high = float((height[before] / (ends[before] - 1)).min(initial=np.inf))
    return low, high if np.isfinite(high) else low + 1


def heights(stages: int, wm: float | FloatArray) -> FloatArray:
    """wm^(k - 1/2) - 1 for k = 1, ..., stages: where r j reaches level k."""
    return np.expm1(np.multiply.outer(np.log(wm), np.arange(stages) + 0.5))


def _wm_of_widths(least: FloatArray, most: FloatArray) -> Limits:
    """Limits of log wm: for some a all least_k <= a + k log wm <= most_k."""
    k, above = np.triu_indices(len(least), 1)
    low = (least[above] - most[k]) / (above - k)
    high = (most[above] - least[k]) / (above - k)
    return float(low.max(initial=-np.inf)), float(high.min(initial=np.inf))


def _wm_of_depths(depths: IntArray, low: float, high: float) -> Limits:
    """Limits of log wm, within low and high, for which some r gives the depths.

    The last block of stage k is below level k, the first of stage l + 1 on level l or above: r
    exists where h_k / (end_k - 1) > h_l / end_l for all k and l. As h_k / h_l grows with wm for
    k > l and falls for k < l, each pair bounds wm from one side.
    """
    ends = np.cumsum(depths).astype(float)
    k, below = np.meshgrid(np.arange(len(ends)), np.arange(len(ends) - 1), indexing="ij")
    bound = (k != below) & (ends[k] > 1)
    k, below = k[bound], below[bound]
    if not k.size or low >= high:
        return low, high
    ratio = np.log((ends[k] - 1) / ends[below])
    rises = k > below

    def holds(x: FloatArray) -> NDArray[np.bool_]:
        top, base = (np.log(np.expm1(x * (i + 0.5))) for i in (k, below))
        return np.asarray(top - base >= ratio)

    left, right = np.full(k.size, low), np.full(k.size, high)
    if not holds(np.where(rises, right, left)).all():
        return np.inf, -np.inf
    always = holds(np.where(rises, left, right))
    for _ in range(BISECTIONS):
        centre = (left + right) / 2
        onward = holds(centre) != rises
        left, right = np.where(onward, centre, left), np.where(onward, right, centre)
    edges = np.where(always, np.where(rises, low, high), left)
    return float(edges[rises].max(initial=low)), float(edges[~rises].min(initial=high))


def short(low: float, high: float, step: float = 1.0) -> float:
    """The number of fewest decimals between low and high, near their middle; multiples of step."""
    centre = (low + high) / 2
    low, high = low * (1 + MARGIN), high * (1 - MARGIN)  # what rounds up there is another width
    for unit in (step, *(10.0**-digits for digits in range(12))):
        near = round(centre / unit) * unit
        if low < near < high:
            return float(f"{near:.12g}")
    return centre


def middle(low: float, high: float, step: float = 1.0) -> float:
    """The middle of low and high, whatever its digits."""
    return (low + high) / 2
