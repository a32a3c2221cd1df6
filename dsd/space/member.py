"""Membership: whether some draw of a space, under all its rules, builds a given network."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from dsd.errors import UsageError
from dsd.net.arch import Arch, Stage
from dsd.net.blocks import IGNORES
from dsd.net.cost import cost
from dsd.net.groups import Stages, buildable
from dsd.regime import Regime
from dsd.space.candidates import Columns
from dsd.space.expression import Expression, by_stage, parse_rule
from dsd.space.quantized import quantized_stages
from dsd.space.rules import COSTS, columns_of, reads_network, stage_column
from dsd.space.spec import PER_STAGE, Space

Values = NDArray[np.float64]


def contains(space: Space, arch: Arch, regime: Regime | None = None) -> bool:
    """Whether some draw of the space, under its rules, builds the network.

    With a regime, its restrictions and its band count, too. Raises UsageError for rules on cost
    without a regime, which gives the resolution.
    """
    arch = arch.normalized()
    if (arch.block, arch.activation, len(arch.stages)) != (
        space.block, space.activation, space.stages,
    ):  # fmt: skip
        return False
    texts = [*space.restrict, *(regime.restrict if regime else ())]
    known = columns_of(space)
    rules = [rule for text in texts for rule in parse_rule(text, known, space.name)]
    network = _network_columns(space, arch, regime, rules)
    if regime and not regime.in_band(cost(arch, regime.resolution).as_dict()):
        return False
    free = _free(space, rules)
    if space.form == PER_STAGE:
        return _some_stages(space, arch, rules, network, free)
    origins = _quantized(space, arch, free)
    return bool(_allowed(space, rules, origins, network).any())


def _free(space: Space, rules: list[Expression]) -> tuple[str, ...]:
    """The parameters that may have any value: neither the block nor a rule reads them."""
    read = {stage_column(name)[0] for rule in rules for name in rule.names | rule.neighbors}
    return tuple(p for p in IGNORES.get(space.block, ()) if p not in read)


def _allowed(
    space: Space, rules: list[Expression], origins: Columns, network: Columns
) -> NDArray[np.bool_]:
    """Which origins satisfy every rule: on the draw, and on the network where it reads widths."""
    rows = len(origins["d"])
    holds = np.ones(rows, dtype=bool)
    built = {name: np.broadcast_to(value, rows) for name, value in network.items()}
    for rule in rules:
        if not rule.names & set(COSTS):
            holds &= rule(origins, space.stages)
        if reads_network(rule):
            holds &= rule({**origins, **built}, space.stages)
    return holds


def _network_columns(
    space: Space, arch: Arch, regime: Regime | None, rules: list[Expression]
) -> Columns:
    columns: Columns = {"d": np.array(arch.d)}
    for i, stage in enumerate(arch.stages):
        columns |= {f"{p}{i + 1}": np.array(getattr(stage, p)) for p in "dwbg"}
    if regime:
        found = cost(arch, regime.resolution).as_dict()
        return columns | {name: np.array(value) for name, value in found.items()}
    if any(rule.names & set(COSTS) for rule in rules):
        raise UsageError(f"Space '{space.name}' limits cost: name a regime to tell membership.")
    return columns


def _some_stages(
    space: Space, arch: Arch, rules: list[Expression], network: Columns, free: tuple[str, ...]
) -> bool:
    """Whether stages that build the network's can be drawn together, each rule met.

    Stage by stage: of the draws so far only what later rules read is kept, so they stay few.
    """
    if not all(rule(_row(network), space.stages).all() for rule in rules if reads_network(rule)):
        return False
    on_draw = [rule for rule in rules if not rule.names & set(COSTS)]
    waiting = [part for rule in on_draw for part in by_stage(rule, space.stages)]
    columns = {"d": np.array([arch.d], dtype=float)}
    for i, stage in enumerate(arch.stages):
        origins = _stage_origins(space, stage, i, free)
        before, here = (x.ravel() for x in np.indices((len(columns["d"]), len(origins))))
        columns = {name: x[before] for name, x in columns.items()}
        columns |= {f"{p}{i + 1}": origins[here, k] for k, p in enumerate("dwbg")}
        ready = [part for part in waiting if part.names <= columns.keys()]
        holds = np.ones(len(here), dtype=bool)
        for part in ready:
            holds &= part(columns, space.stages)
        waiting = [part for part in waiting if part not in ready]
        needed = [
            "d",
            *sorted({n for part in waiting for n in part.names} & columns.keys() - {"d"}),
        ]
        rows = np.unique(np.stack([columns[name][holds] for name in needed]), axis=1)
        columns = dict(zip(needed, rows, strict=True))
    return bool(len(columns["d"]))


def _row(network: Columns) -> Columns:
    return {name: np.atleast_1d(value) for name, value in network.items()}


def _stage_origins(space: Space, stage: Stage, i: int, free: tuple[str, ...]) -> Values:
    """(m, 4) drawn d, w, b, g that build the stage; of what is `free`, the first value."""
    supports = {p: space.draws[p][i].values for p in "dwbg"}
    supports |= {p: supports[p][:1] for p in free}
    grid = np.meshgrid(*(supports[p] for p in "wbg"), indexing="ij")
    w, b, g = (x.reshape(-1, 1) for x in grid)
    d = np.full(w.shape, stage.d, dtype=np.int64)
    built = buildable(Stages(d, w.astype(np.int64), b, g.astype(np.int64)), space.block)
    same = (built.w == stage.w) & (built.b == stage.b) & (built.g == stage.g)
    rows = np.hstack([d.astype(float), w, b, g])[same[:, 0]]
    return rows if stage.d in supports["d"] else rows[:0]


def _quantized(space: Space, arch: Arch, free: tuple[str, ...]) -> Columns:
    """Every setting of d, w0, wa, wm, b, g that builds the network, as columns."""
    draws = {name: draw[0].values for name, draw in space.draws.items()}
    draws |= {p: draws[p][:1] for p in free}
    scalars = itertools.product(
        draws["b"], draws["g"], draws["w0"], draws["d"][draws["d"] == arch.d]
    )
    parts = [_lines(space, arch, draws, *point) for point in scalars]
    names = ("d", "w0", "wa", "wm", "b", "g")
    rows = np.concatenate([np.empty((0, 6)), *parts])
    columns: Columns = dict(zip(names, rows.T, strict=True))
    depths, widths, _ = quantized_stages(
        rows[:, 0].astype(np.int64), rows[:, 1], rows[:, 2], rows[:, 3], space.stages, space.quantum
    )
    for i in range(space.stages):
        columns |= {f"d{i + 1}": depths[:, i], f"w{i + 1}": widths[:, i]}
        columns |= {f"b{i + 1}": columns["b"], f"g{i + 1}": columns["g"]}
    return columns


def _lines(
    space: Space, arch: Arch, draws: dict[str, Values], b: float, g: float, w0: float, d: float
) -> Values:
    """(m, 6) settings of one b, g, w0 and d: first the wm whose widths fit, then the wa."""
    target = np.array([[stage.w, stage.b, stage.g, stage.d] for stage in arch.stages])
    wm = draws["wm"]
    ones = np.ones(len(wm))
    blocks = (d * ones).astype(np.int64)
    _, widths, _ = quantized_stages(blocks, w0 * ones, ones, wm, space.stages, space.quantum)
    shape = widths.shape
    groups = np.full(shape, int(g), dtype=np.int64)
    built = buildable(
        Stages(np.ones_like(widths), np.maximum(widths, 1), np.full(shape, b), groups), space.block
    )
    same = (built.w == target[:, 0]) & (built.b == target[:, 1]) & (built.g == target[:, 2])
    fitting = wm[same.all(axis=1)]
    wm_grid, wa_grid = (x.ravel() for x in np.meshgrid(fitting, draws["wa"]))
    blocks = np.full(len(wm_grid), int(d))
    depths, _, formed = quantized_stages(
        blocks, np.full(len(wm_grid), w0), wa_grid, wm_grid, space.stages, space.quantum
    )
    hits = formed & (depths == target[:, 3]).all(axis=1)
    wa_hit, wm_hit = wa_grid[hits], wm_grid[hits]
    full = np.ones(len(wa_hit))
    return np.stack([d * full, w0 * full, wa_hit, wm_hit, b * full, g * full], axis=1)
