"""Candidates of a space as numpy columns: their draw, their cost, and the networks they make."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsd.net.arch import Arch, Stage
from dsd.net.cost import Cost, network_cost
from dsd.net.groups import Stages
from dsd.regime import Regime
from dsd.space.quantized import quantized_stages
from dsd.space.rules import Rules
from dsd.space.spec import PER_STAGE, WHOLE, Space

Columns = dict[str, NDArray[Any]]
BEYOND = 1 << 62  # the least cost that no column holds
SURE = BEYOND >> 4  # below this `cost_of` the largest stages is sure: it may lack a projection


@dataclass(frozen=True)
class Candidates:
    """n draws: their parameters as columns (n,), their stages, and whether the form exists."""

    parameters: Columns
    stages: Stages
    formed: NDArray[np.bool_]


def draw(space: Space, rules: Rules, rng: np.random.Generator, n: int) -> Candidates:
    """n candidates under the chain and share rules; the rest is still to be tested."""
    values = {
        name: chain.sample(rng.random((chain.uniforms, n)), np.int64 if name in WHOLE else float)
        for name, chain in rules.chains.items()
    }
    for name, source in rules.shares.items():
        values[name] = values[source].astype(values[name].dtype)
    if space.form == PER_STAGE:
        stages = Stages(**values)
        return Candidates(stages.columns(), stages, np.ones(n, dtype=bool))
    return _quantized(space, {name: x[:, 0] for name, x in values.items()})


def _quantized(space: Space, p: Columns) -> Candidates:
    d, w, formed = quantized_stages(p["d"], p["w0"], p["wa"], p["wm"], space.stages, space.quantum)
    shape = (space.stages, len(d))
    b, g = (np.broadcast_to(p[name], shape).T for name in ("b", "g"))
    stages = Stages(d, w, b, g)
    return Candidates({**stages.columns(), **p}, stages, formed)


def batch_cost(space: Space, regime: Regime, built: Stages) -> Cost:
    """Cost of n buildable networks, each field (n,): exact below BEYOND, else BEYOND."""
    d, w, b, g = built.d.T, built.w.T, built.b.T, built.g.T
    found = cost_of(space, regime, (d, w, b, g), regime.resolution)
    if not len(built):
        return found
    ends = (d.max(axis=1), w.max(axis=1), b.min(axis=1), g.max(axis=1))
    most = cost_of(space, regime, tuple(x.tolist() for x in ends), regime.resolution)
    if max(most.as_dict().values()) < SURE:
        return found
    rough = cost_of(space, regime, (d * 1.0, w * 1.0, b, g * 1.0), float(regime.resolution))
    pairs = zip(found.as_dict().values(), rough.as_dict().values(), strict=True)
    return Cost(*(np.where(about < BEYOND, exact, BEYOND) for exact, about in pairs))


def cost_of(space: Space, regime: Regime, rows: tuple[Any, ...], resolution: Any) -> Cost:
    """Cost of networks whose d, w, b, g are `rows`, each (stages,) or (stages, n)."""
    strides = regime.strides or (2,) * space.stages
    stages = [Stage(*x) for x in zip(*rows, strides, strict=True)]
    return network_cost(regime.stem, stages, space.block, regime.classes, resolution)


def archs_of(space: Space, regime: Regime, built: Stages) -> Iterator[Arch]:
    """The networks of n buildable rows, in order."""
    strides = regime.strides or (2,) * space.stages
    for row in zip(*(x.tolist() for x in (built.d, built.w, built.b, built.g)), strict=True):
        stages = tuple(
            Stage(d, w, int(b) if b == int(b) else b, g, stride)
            for d, w, b, g, stride in zip(*row, strides, strict=True)
        )
        yield Arch(regime.stem, stages, space.block, space.activation, regime.classes)
