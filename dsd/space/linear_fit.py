"""How far a network's block widths are from a quantised line (RegNet, section 3.3 and fig. 8)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsd.columns import stages_named
from dsd.errors import UsageError
from dsd.net.arch import Arch
from dsd.net.groups import Stages, buildable
from dsd.space.line_cells import Limits, Line, heights, line_through

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
WM = (1.5, 3.0)  # limits of wm in the paper's RegNet
COARSE, FINE = 64, 25  # values of wm in the first grid, and around each of its best points
SHIFTS = np.linspace(-0.6, 0.6, 49)  # log2 of w0 beside least squares: 8 stands for 4 to 12
NARROW = 4  # quanta: where the least-squares line's stages may round to one width, and
FAR = np.concatenate([SHIFTS, np.linspace(0.65, 5, 88)])  # a line that does not lies above it
KEPT = 3  # grid points that are refined
LIKELY = 100  # splits that are tried, of those that a grid of wm allows


@dataclass(frozen=True)
class Fit:
    """The line nearest to a network; its stages (s,): depths, and widths in channels; e_fit."""

    line: Line
    depths: tuple[int, ...]
    widths: tuple[int, ...]
    e_fit: float

    def blocks(self) -> IntArray:
        """Its widths (d,) by block."""
        return np.repeat(self.widths, self.depths)

    def straight(self) -> FloatArray:
        """u = w0 + wa j (d,) by block, before it is quantised (RegNet, eq. 2)."""
        return self.line.w0 + self.line.wa * np.arange(sum(self.depths), dtype=np.float64)


def linear_fit(
    network: Stages, block: str = "X", wm: Limits = WM, q: int = 8, groups: bool = True
) -> Fit | None:
    """The quantised line nearest to one network (`Stages` of one row).

    e_fit is the mean over the d blocks of (log2 predicted / observed width)^2: the paper's "mean
    log-ratio", squared as its printed values are. d is the network's. Lines are those with as many
    stages as the network, no level skipped (eqs. 2-4): any w0 > 0 and wa >= 0, wm within its
    limits, widths multiples of q. Predicted widths are made compatible with the network's b and g,
    as every network's are (appendix D), unless not `groups`: so e_fit is 0 just where the network
    is a RegNet. That is decided exactly; other networks are fitted on a grid of 64 values of wm,
    every split into stages that some wa gives, and 49 values of w0 around the least-squares one,
    refined around its best points: in e_fit 0.001 to 0.007 above a grid 12 times as fine, on the
    mean of AnyNetX_A to E. None where no line has as many stages. Raises UsageError for limits of
    wm that are none.
    """
    if not 1 < wm[0] < wm[1] < np.inf:
        raise UsageError(f"wm from {wm[0]:g} to {wm[1]:g}: needs 1 < low < high.")
    target = _target(network, block, wm, q, groups)
    exact = _exact(target)
    return exact if exact and exact.e_fit == 0 else _nearest(target)


def stages_in(arch: Arch) -> Stages:
    """The stages (1, s) of a network."""
    d, w, b, g = (np.array([[getattr(stage, p) for stage in arch.stages]]) for p in "dwbg")
    return Stages(d, w, b.astype(float), g)


def stages_of(row: Mapping[str, Any], where: str = "table") -> Stages:
    """The stages (1, s) that a row of a population's frame has: d1, w1, and b1, g1 where known.

    Raises UsageError where they are none.
    """
    rows = [[row.get(f"{p}{i + 1}") for p in "dwbg"] for i in range(stages_named(row))]
    known = [[x if _there(x) else 1 for x in stage] for stage in rows if _there(stage[0])]
    try:
        d, w, b, g = np.array(known, dtype=float).T[:, None]
    except ValueError:
        d = w = b = g = np.zeros((1, 1))
    if (np.array([d, w, b, g]) <= 0).any() or (np.array([d, w, g]) % 1 != 0).any():
        raise UsageError(f"{where}: a network's stages are {known}; each needs d, w, b, g above 0.")
    depths, widths, groups = (x.astype(np.int64) for x in (d, w, g))
    return Stages(depths, widths, b, groups)


def _there(value: Any) -> bool:
    return value is not None and value == value


@dataclass(frozen=True)
class _Target:
    """A network to be fitted: log2 of its widths by block (d,), and `built` (k, s): what widths of
    0, q, 2 q, ... become at each stage once they are made compatible with its groups."""

    depths: IntArray
    widths: IntArray
    logs: FloatArray
    built: IntArray
    wm: Limits
    q: int


def _target(network: Stages, block: str, wm: Limits, q: int, groups: bool) -> _Target:
    depths, widths = network.d[0], network.w[0]
    most = 2 * max(2 * q, int(widths.max())) * wm[0] ** (len(depths) - 1)
    plain = np.repeat(q * np.arange(int(most / q) + 3)[:, None], len(depths), axis=1)
    built = _compatible(plain, network, block) if groups else plain
    return _Target(depths, widths, np.repeat(np.log2(widths), depths), built, wm, q)


def _compatible(plain: IntArray, network: Stages, block: str) -> IntArray:
    """Widths (k, s) as the network's stages can build them.

    Where its width capped a stage's g (g = w_b, one group) the drawn g was larger, as g is shared:
    the network's largest stands for it.
    """
    w_b = np.maximum(1, np.rint(network.w / network.b)).astype(np.int64)
    g = np.where(network.g >= w_b, network.g.max(), network.g)
    b, g, d = (np.broadcast_to(x[0], plain.shape) for x in (network.b, g, network.d))
    return buildable(Stages(d, plain, b, g), block).w


def _exact(target: _Target) -> Fit | None:
    """The network as a RegNet, if it is one."""
    same = target.built[1:] == target.widths
    if not same.any(axis=0).all():
        return None
    least = target.q * (1 + same.argmax(axis=0))
    most = target.q * (len(same) - same[::-1].argmax(axis=0))
    line = line_through(target.depths, least, most, target.wm, target.q)
    return _fit(target, line) if line else None


def _nearest(target: _Target) -> Fit | None:
    """The best line of the refined grid."""
    d, stages = len(target.logs), len(target.depths)
    shifts = FAR if target.widths.min() <= NARROW * target.q else SHIFTS
    found = _best(target, *_coarse_splits(d, stages, target.wm), KEPT, shifts)
    if not len(found):
        return None
    step = (target.wm[1] / target.wm[0]) ** (1 / (COARSE - 1))
    for row in found[:KEPT]:
        low, high = max(target.wm[0], row[1] / step), min(target.wm[1], row[1] * step)
        finer = _best(target, *splits(d, stages, np.geomspace(low, high, FINE)), 1, shifts)
        found = np.concatenate([found, finer])
    _, wm, w0, *ends = found[found[:, 0].argmin()].tolist()
    depths = np.asarray(np.diff(np.array(ends)), dtype=np.int64)
    level = np.exp2(np.log2(w0) + np.arange(stages) * np.log2(wm))
    widths = np.rint(level / target.q).astype(np.int64) * target.q
    line = line_through(depths, widths, widths, target.wm, target.q)
    return _fit(target, line) if line else None


def _fit(target: _Target, line: Line) -> Fit:
    """What a line predicts for the network."""
    widths, depths = np.unique(line.widths(len(target.logs), target.q), return_counts=True)
    built = target.built[widths // target.q, np.arange(len(widths))]
    e_fit = float(np.mean((np.repeat(np.log2(built), depths) - target.logs) ** 2))
    return Fit(line, tuple(depths.tolist()), tuple(built.tolist()), e_fit)


@lru_cache(maxsize=128)
def _coarse_splits(d: int, stages: int, wm: Limits) -> tuple[IntArray, FloatArray]:
    return splits(d, stages, np.geomspace(*wm, COARSE))


def splits(d: int, stages: int, wm: FloatArray) -> tuple[IntArray, FloatArray]:
    """Every way in which a line of one of these wm (n,) splits d blocks into so many stages.

    Ends (p, stages + 1) of the stages, from 0 to d, and the wm (p,) of each. Between the slopes at
    which some block reaches some level nothing changes, so one slope of each gap stands for it.
    """
    height = heights(stages, wm)  # (n, stages)
    last = max(d - 1, 1)
    low = height[:, -2:-1] / last if stages > 1 else np.zeros((len(wm), 1))
    high = height[:, -1:] / last
    marks = (height[:, :-1, None] / np.arange(1, d)).reshape(len(wm), -1)
    marks = np.sort(np.hstack([low, np.clip(marks, low, high), high]), axis=1)
    apart = np.diff(marks, axis=1) > 1e-12 * high
    which = np.nonzero(apart)[0]
    slope = ((marks[:, 1:] + marks[:, :-1]) / 2)[apart]
    inner = np.ceil(height[which, :-1] / slope[:, None]).astype(np.int64)
    edge = np.zeros((len(slope), 1), dtype=np.int64)
    ends = np.hstack([edge, inner, edge + d])
    whole = (np.diff(ends, axis=1) > 0).all(axis=1)
    return ends[whole], wm[which[whole]]


def _best(
    target: _Target, ends: IntArray, wm: FloatArray, count: int, shifts: FloatArray
) -> FloatArray:
    """Rows (count, 3 + s + 1): e_fit, wm, w0 and the ends of the stages; the best lines.

    Only the likely splits are tried: those that least squares fits best, before rounding. For each
    w0 goes by `shifts` (octaves) around the least-squares one.
    """
    blocks = np.diff(ends, axis=1).T  # (s, p), as all below
    total = np.diff(np.append(0, np.cumsum(target.logs))[ends], axis=1).T
    rise = np.arange(len(blocks))[:, None] * np.log2(wm)
    centre = (total - blocks * rise).sum(axis=0) / len(target.logs)
    unrounded = ((blocks * (centre + rise) - 2 * total) * (centre + rise)).sum(axis=0)
    order = np.argsort(unrounded, kind="stable")[:LIKELY]
    w0 = np.exp2(centre[order, None] + shifts)
    parts = (x[:, order, None] for x in (blocks, total, np.exp2(rise)))
    errors = _errors(target, w0, *parts)
    best = errors.argmin(axis=1)
    rows = np.arange(len(best))
    found = np.column_stack([errors[rows, best], wm[order], w0[rows, best], ends[order]])
    found = found[np.isfinite(found[:, 0])]
    return found[np.argsort(found[:, 0], kind="stable")[:count]]


def _errors(
    target: _Target, w0: FloatArray, blocks: IntArray, total: FloatArray, times: FloatArray
) -> FloatArray:
    """e_fit (p, shifts) of lines of these w0 (p, shifts); inf where two stages are equally wide.

    By stage (s, p, 1): its blocks, the sum of their log2 widths, and wm^k.
    """
    level = np.rint(w0 * times / target.q).astype(np.int64)
    there = (level[0] > 0) & (level[-1] < len(target.built))
    there &= (level[1:] > level[:-1]).all(axis=0)
    level[:, ~there] = 1
    logs = np.log2(np.maximum(target.built, 1))[level, np.arange(len(level))[:, None, None]]
    squares = ((blocks * logs - 2 * total) * logs).sum(axis=0)
    errors = (squares + (target.logs**2).sum()) / len(target.logs)
    return np.where(there, errors, np.inf)
