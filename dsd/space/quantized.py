"""Quantised linear widths: the parameterisation of RegNet (section 3.3, equations 2 to 4)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
LARGEST = 2.0**42  # steps of a width; the cost of anything as wide would not fit into 64 bits
CHUNK = 1 << 22


def quantized_widths(d: int, w0: float, wa: float, wm: float, q: int = 8) -> IntArray:
    """Widths (d,) of d blocks on a quantised line, channels (RegNet eqs. 2-4, multiples of q)."""
    return _level_width(levels(np.arange(d), w0, wa, wm), w0, wm, q)


def levels(j: Any, w0: Any, wa: Any, wm: Any) -> IntArray:
    """round(s_j), s_j = log(u_j / w0) / log(wm), u_j = w0 + wa * j (eqs. 2, 3); half to even.

    s is first rounded to 9 digits: exact ties (wm = 2.25 has many) then fall alike on every
    machine, whatever the last bit of its logarithm.
    """
    s = np.log((w0 + wa * j) / w0) / np.log(wm)
    return np.rint(np.round(s, 9)).astype(np.int64)


def quantized_stages(
    d: IntArray, w0: FloatArray, wa: FloatArray, wm: FloatArray, stages: int, q: int
) -> tuple[IntArray, IntArray, BoolArray]:
    """Depths and widths (n, stages) of n draws (n,), and whether each has just that many stages.

    A draw that skips a level, or whose levels round to one width, is no network of the form: its
    depths and widths mean nothing.
    """
    valid = levels(d - 1, w0, wa, wm) == stages - 1
    depths = np.ones((len(d), stages), dtype=np.int64)
    rows = np.flatnonzero(valid)
    depths[rows] = _depths(d[rows], w0[rows], wa[rows], wm[rows], stages)
    widths = _level_width(np.arange(stages)[None, :], w0[:, None], wm[:, None], q)
    distinct = (np.diff(widths, axis=1) > 0).all(axis=1) & (widths[:, 0] > 0)
    return depths, widths, valid & (depths > 0).all(axis=1) & distinct


def _depths(d: IntArray, w0: FloatArray, wa: FloatArray, wm: FloatArray, stages: int) -> IntArray:
    """Blocks on each level, (n, stages)."""
    j = np.arange(d.max(initial=0))[None, :]
    found = np.empty((len(d), stages), dtype=np.int64)
    step = max(1, CHUNK // max(1, j.size))
    for part in (slice(at, at + step) for at in range(0, len(d), step)):
        level = levels(j, *(x[part, None] for x in (w0, wa, wm)))
        level[j >= d[part, None]] = -1
        found[part] = np.stack([(level == k).sum(axis=1) for k in range(stages)], axis=1)
    return found


def _level_width(level: IntArray, w0: Any, wm: Any, q: int) -> IntArray:
    exact = np.minimum(w0 * np.float_power(wm, level) / q, LARGEST)
    return np.rint(np.round(exact, 9)).astype(np.int64) * q
