"""Distributions of one parameter, as declared: a finite support and its probabilities."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsd.errors import UsageError

FloatArray = NDArray[np.float64]
KINDS = ("log", "uniform", "power2")
LARGEST_SUPPORT = 1_000_000
TINY = 2.0**-40  # divides every power of two that could be meant


@dataclass(frozen=True)
class Draw:
    """Values in rising order, each with its probability; `spec` is the declaration."""

    spec: Any
    values: FloatArray
    probabilities: FloatArray

    def __len__(self) -> int:
        return len(self.values)


def read_draw(spec: Any, where: str) -> Draw:
    """A list of equally likely values, or { log | uniform | power2 = [low, high], step = q }.

    log: log-uniform in (low - min(q, low / 2), high], rounded up to a multiple of q; uniform:
    every multiple of q alike, q being 1 unless given; power2: every power of two alike, or those
    that are multiples of q.
    Raises UsageError naming `where`.
    """
    if isinstance(spec, list):
        return _listed(spec, where)
    if not isinstance(spec, dict):
        raise UsageError(f"{where} = {spec!r}; needs a list or {{ log = [low, high], step = q }}.")
    kind, low, high, step = _range(spec, where)
    values = _powers(low, high, step) if kind == "power2" else _multiples(low, high, step)
    if not len(values):
        raise UsageError(f"{where}: no power of two fits in [{low:g}, {high:g}]; a wider range, or "
                         "another step, would work.")  # fmt: skip
    weights = _log_weights(values, low, step) if kind == "log" else np.ones(len(values))
    return Draw(spec, values, weights / weights.sum())


def _listed(spec: list[Any], where: str) -> Draw:
    if not spec or not all(type(v) in (int, float) and math.isfinite(v) for v in spec):
        raise UsageError(f"{where} = {spec!r}; needs a list of numbers, one at least.")
    if len(set(spec)) < len(spec):
        raise UsageError(f"{where} = {spec!r}; a value is listed twice.")
    values = np.array(sorted(spec), dtype=np.float64)
    return Draw(spec, values, np.full(len(values), 1 / len(values)))


def _range(spec: dict[str, Any], where: str) -> tuple[str, float, float, float]:
    kinds = [key for key in spec if key in KINDS]
    unknown = [key for key in spec if key not in (*KINDS, "step")]
    if unknown or len(kinds) != 1:
        odd = f"unknown key '{unknown[0]}'" if unknown else f"{len(kinds)} ranges"
        raise UsageError(f"{where}: {odd}; needs one of {', '.join(KINDS)} and, if wanted, step.")
    bounds, step = spec[kinds[0]], spec.get("step", 1 if kinds[0] != "power2" else TINY)
    numbers = [*bounds, step] if isinstance(bounds, list) else []
    if len(numbers) != 3 or not all(type(x) in (int, float) and math.isfinite(x) for x in numbers):
        raise UsageError(f"{where}: {spec!r}; needs {kinds[0]} = [low, high] and a number as step.")
    _check_range(kinds[0], bounds[0], bounds[1], step, where)
    return kinds[0], float(bounds[0]), float(bounds[1]), float(step)


def _check_range(kind: str, low: float, high: float, step: float, where: str) -> None:
    least = "> 0" if kind != "uniform" else ">= 0"
    if low < 0 or high < low or (kind != "uniform" and low == 0):
        raise UsageError(f"{where}: range [{low}, {high}]; needs low {least} and low <= high.")
    if step <= 0 or (high > low and step > high - low):
        raise UsageError(f"{where}: step {step} does not fit the range [{low}, {high}].")
    off = [x for x in (low, high) if abs(x / step - round(x / step)) > 1e-6]
    if off and kind != "power2":
        raise UsageError(f"{where}: {off[0]} is not a multiple of the step {step}.")
    if (high - low) / step > LARGEST_SUPPORT and kind != "power2":
        raise UsageError(f"{where}: over {LARGEST_SUPPORT:,} values; a larger step would work.")


def _powers(low: float, high: float, step: float) -> FloatArray:
    powers = np.exp2(np.arange(math.ceil(math.log2(low)), math.floor(math.log2(high)) + 1))
    return powers[powers / step % 1 == 0]


def _multiples(low: float, high: float, step: float) -> FloatArray:
    first, last = math.ceil(low / step - 1e-6), math.floor(high / step + 1e-6)
    return np.round(np.arange(first, last + 1) * step, 10)


def _log_weights(values: FloatArray, low: float, step: float) -> FloatArray:
    edges = np.concatenate([[low - min(step, low / 2)], values])
    return np.diff(np.log(edges))
