"""Single networks by name or by their parameters."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import dsd.net
from dsd.errors import UsageError, suggestion
from dsd.net.arch import Arch, Stage, Stem
from dsd.net.groups import Stages, buildable
from dsd.regime import Regime
from dsd.space.quantized import quantized_widths

WIDEST = 1_000_000  # costs of anything larger would not fit into 64 bits
PUBLISHED = Path(dsd.net.__file__).parent / "published.toml"


@cache
def published() -> dict[str, dict[str, Any]]:
    """Name (regnetx-400mf) -> block and the parameters of RegNet eqs. 2-4."""
    families = tomllib.loads(PUBLISHED.read_text(encoding="utf-8"))
    return {
        f"{family}-{size}": {"block": family[-1].upper(), "b": 1, **parameters}
        for family, table in families.items()
        for size, parameters in table.items()
    }


def published_network(name: str) -> Arch:
    """A published RegNet. Raises UsageError, with the nearest name."""
    known = published()
    if name not in known:
        raise UsageError(f"No published network '{name}'.{suggestion(name, known)}")
    return regnet(**known[name])


def under(arch: Arch, regime: Regime) -> Arch:
    """The same stages with what a regime decides: stem, classes, and the strides of the stages.

    Raises UsageError where the regime has strides for another number of stages.
    """
    strides = regime.strides or (2,) * len(arch.stages)
    if len(strides) != len(arch.stages):
        raise UsageError(f"Regime '{regime.name}' has strides for {len(strides)} stages; the "
                         f"network has {len(arch.stages)}.")  # fmt: skip
    pairs = zip(arch.stages, strides, strict=True)
    stages = tuple(replace(stage, stride=stride) for stage, stride in pairs)
    return replace(arch, stem=regime.stem, classes=regime.classes, stages=stages)


def regnet(
    d: int,
    w0: float,
    wa: float,
    wm: float,
    g: int,
    b: float = 1,
    block: str = "X",
    stem: Stem | None = None,
    classes: int = 1000,
) -> Arch:
    """The network whose block widths lie on a quantised line (RegNet, eqs. 2-4), made buildable.

    Raises UsageError for parameters that make no widths.
    """
    works = 1 <= d <= WIDEST and 0 < w0 <= WIDEST and 0 <= wa <= WIDEST and 1 < wm <= WIDEST
    if not works:
        raise UsageError(f"d={d} w0={w0:g} wa={wa:g} wm={wm:g}: needs d >= 1, w0 > 0, wa >= 0, "
                         f"wm > 1, up to {WIDEST:,}.")  # fmt: skip
    widths, depths = np.unique(quantized_widths(d, w0, wa, wm), return_counts=True)
    count = len(widths)
    return anynet(depths.tolist(), widths.tolist(), [b] * count, [g] * count, block, stem, classes)


def anynet(
    d: Sequence[int],
    w: Sequence[int],
    b: Sequence[float],
    g: Sequence[int],
    block: str = "X",
    stem: Stem | None = None,
    classes: int = 1000,
) -> Arch:
    """A network of one d, w, b, g a stage, its widths made compatible with its groups (app. D).

    Raises UsageError for lists of different lengths and values below the least that works.
    """
    given = {"d": d, "w": w, "b": b, "g": g}
    if len({len(x) for x in given.values()}) != 1:
        lengths = ", ".join(f"{len(x)} of {name}" for name, x in given.items())
        raise UsageError(f"Every stage needs one d, w, b and g; given were {lengths}.")
    for name, values in given.items():
        least = "a number above 0" if name == "b" else "1 at least"
        works = [(x > 0 if name == "b" else x >= 1) and x <= WIDEST for x in values]
        if not (works and all(works)):
            raise UsageError(f"{name} = {', '.join(map(str, values))}: each needs to be {least}, "
                             f"and at most {WIDEST:,}.")  # fmt: skip
    whole = (np.array([x], dtype=np.int64) for x in (d, w, g))
    depths, widths, groups = whole
    drawn = Stages(depths, widths, np.array([b], dtype=np.float64), groups)
    built = buildable(drawn, block)
    rows = zip(*(x[0].tolist() for x in (built.d, built.w, built.b, built.g)), strict=True)
    return Arch(stem or Stem(), tuple(Stage(*row) for row in rows), block, "relu", classes)
