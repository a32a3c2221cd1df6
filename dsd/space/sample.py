"""The sampler: draws, rules, cost, band and distinctness, over numpy columns."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dsd.errors import DsdError, UsageError
from dsd.net.arch import Arch
from dsd.net.groups import Stages, buildable
from dsd.regime import Regime
from dsd.space.candidates import BEYOND, Candidates, Columns, archs_of, batch_cost, draw
from dsd.space.rules import COSTS, Rules, compile_rules
from dsd.space.spec import PARAMETERS, PER_STAGE, Space

IntArray = NDArray[np.int64]
BLOCK = 1 << 14
PATIENCE = 4_000_000


@dataclass(frozen=True)
class Sample:
    """The networks of one population in sampling order, and how many candidates it took.

    flops, params, acts are (n,); `tally` counts candidates, refusals by cause, and duplicates.
    """

    space: Space
    regime: Regime
    seed: int
    archs: tuple[Arch, ...]
    draws: tuple[dict[str, float], ...]
    flops: IntArray
    params: IntArray
    acts: IntArray
    tally: dict[str, int]

    def __len__(self) -> int:
        return len(self.archs)


def sample(space: Space, regime: Regime, n: int, seed: int = 0) -> Sample:
    """The first n distinct networks of `space` that are inside the regime's band.

    A function of the space's text, the regime's conditions and the seed alone; the first k networks
    are those of n = k. Fewer than n come back where the space holds no more: where 4 million
    candidates in a row brought nothing new. Raises DsdError when none was found
    at all (a UsageError if it was a rule that refused most).
    """
    rules = regime_rules(space, regime)
    rng = np.random.default_rng([seed, int(space.digest, 16)])
    found = _Found(space, regime, rules)
    since = 0
    while len(found) < n and since < PATIENCE:
        before = len(found)
        found.add(draw(space, rules, rng, BLOCK), n - before)
        since = 0 if len(found) > before else since + BLOCK
    if not len(found):
        raise _nothing_found(space, regime, found.tally)
    return found.sample(seed)


def regime_rules(space: Space, regime: Regime) -> Rules:
    """The rules of the space and, as further conditions, those of the regime."""
    if regime.strides and len(regime.strides) != space.stages:
        raise UsageError(
            f"Regime '{regime.name}' has strides for {len(regime.strides)} stages; "
            f"space '{space.name}' has {space.stages}."
        )
    where = f"space '{space.name}' under regime '{regime.name}'"
    return compile_rules(space, [*space.restrict, *regime.restrict], where)


class _Verdicts:
    """Why each candidate of a batch was refused: the first cause counts."""

    def __init__(self, n: int) -> None:
        self.causes: list[str] = []
        self.of = np.full(n, -1, dtype=np.int64)

    @property
    def alive(self) -> IntArray:
        """Candidates that nothing has refused."""
        return np.flatnonzero(self.of < 0)

    def refuse(self, cause: str, rows: IntArray) -> None:
        """Refuse those of `rows` that are still alive."""
        if cause not in self.causes:
            self.causes.append(cause)
        self.of[rows[self.of[rows] < 0]] = self.causes.index(cause)

    def tally(self, until: int) -> Counter[str]:
        """Candidates and refusals by cause among the first `until`."""
        counts = np.bincount(self.of[:until] + 1, minlength=len(self.causes) + 1)[1:]
        causes = zip(self.causes, counts.tolist(), strict=True)
        return Counter({"candidates": until}) + Counter(dict(causes))


@dataclass(frozen=True)
class Judged:
    """Which candidates of a batch the rules and the band accept.

    `inside` are their places in the batch; `built` and `costs` are those of these alone.
    """

    verdicts: _Verdicts
    inside: IntArray
    built: Stages
    costs: Columns


def judge(space: Space, regime: Regime, rules: Rules, batch: Candidates) -> Judged:
    """Test a batch: its form, the rules on the draw, then rules and band on what can be built."""
    verdicts = _Verdicts(len(batch.formed))
    verdicts.refuse(_unformed(space), np.flatnonzero(~batch.formed))
    for rule in rules.drawn:
        rows = verdicts.alive
        holds = rule(_rows(batch.parameters, rows), space.stages) & np.ones(len(rows), bool)
        verdicts.refuse(f"rule {rule.text}", rows[~holds])
    rows = verdicts.alive
    everyone = len(rows) == len(batch.formed)
    built = buildable(batch.stages if everyone else batch.stages.take(rows), space.block)
    costs = batch_cost(space, regime, built).as_dict()
    columns = costs
    verdicts.refuse("cost of 2^62 or more", rows[np.max(list(costs.values()), axis=0) == BEYOND])
    if rules.built:
        drawn = batch.parameters if everyone else _rows(batch.parameters, rows)
        columns = drawn | built.columns() | costs
    for rule in rules.built:
        holds = rule(columns, space.stages) & np.ones(len(rows), bool)
        verdicts.refuse(f"rule {rule.text}", rows[~holds])
    for column, (low, high) in regime.band.items():
        verdicts.refuse(f"{column} below {low:,.15g}", rows[columns[column] < low])
        verdicts.refuse(f"{column} above {high:,.15g}", rows[columns[column] > high])
    kept = np.flatnonzero(verdicts.of[rows] < 0)
    return Judged(verdicts, rows[kept], built.take(kept), _rows(costs, kept))


class _Found:
    """What was accepted so far, candidate by candidate."""

    def __init__(self, space: Space, regime: Regime, rules: Rules) -> None:
        self.space, self.regime, self.rules = space, regime, rules
        self.seen: set[bytes] = set()
        self.tally: Counter[str] = Counter()
        self.parts: list[tuple[Stages, Columns, Columns]] = []

    def __len__(self) -> int:
        return len(self.seen)

    def add(self, batch: Candidates, wanted: int) -> None:
        """Accept up to `wanted` of a batch; candidates after the last one needed do not count."""
        judged = judge(self.space, self.regime, self.rules, batch)
        new = self._distinct(judged.built, wanted)
        until = int(judged.inside[new[-1]]) + 1 if len(new) == wanted else len(batch.formed)
        judged.verdicts.refuse("duplicate", np.delete(judged.inside, new))
        self.tally += judged.verdicts.tally(until)
        drawn = {p: x for p, x in batch.parameters.items() if p in self._drawn_names}
        drawn = _rows(drawn, judged.inside[new])
        self.parts.append((judged.built.take(new), _rows(judged.costs, new), drawn))

    def _distinct(self, built: Stages, wanted: int) -> IntArray:
        """Indices of the first `wanted` networks not seen before."""
        new: list[int] = []
        for index, key in enumerate(built.keys().tolist()):
            if len(new) == wanted:
                break
            if key not in self.seen:
                self.seen.add(key)
                new.append(index)
        return np.array(new, dtype=np.int64)

    @property
    def _drawn_names(self) -> set[str]:
        stage = {f"{p}{i + 1}" for p in PARAMETERS[PER_STAGE] for i in range(self.space.stages)}
        return stage if self.space.form == PER_STAGE else set(self.space.draws)

    def sample(self, seed: int) -> Sample:
        """All that was found, as networks."""
        costs = {c: np.concatenate([part[1][c] for part in self.parts]) for c in COSTS}
        archs = [a for part in self.parts for a in archs_of(self.space, self.regime, part[0])]
        draws = [row for part in self.parts for row in _records(part[2])]
        return Sample(
            self.space,
            self.regime,
            seed,
            tuple(archs),
            tuple(draws),
            **costs,
            tally=dict(self.tally),
        )


def _rows(columns: Columns, rows: IntArray) -> Columns:
    return {name: column[rows] for name, column in columns.items()}


def _records(columns: Columns) -> list[dict[str, float]]:
    names = list(columns)
    rows = zip(*(column.tolist() for column in columns.values()), strict=True)
    return [dict(zip(names, map(_plain, row), strict=True)) for row in rows]


def _plain(x: float) -> float:
    return int(x) if x == int(x) else x


def _unformed(space: Space) -> str:
    """Why a draw of w0, wa, wm is no network of the space."""
    return f"not {space.stages} stages"


def _nothing_found(space: Space, regime: Regime, tally: Counter[str]) -> DsdError:
    """Most draws of a line have another number of stages: what refused the others tells more."""
    tried = tally.pop("candidates", 0)
    unformed = tally.pop(_unformed(space), 0)
    start = f"No network of space '{space.name}' fits regime '{regime.name}': {tried:,} candidates"
    if not tally:
        return UsageError(f"{start} tried; '{_unformed(space)}' refused all. Other draws or "
                          "another number of stages would work.")  # fmt: skip
    cause, count = tally.most_common(1)[0]
    kind = UsageError if cause.startswith("rule") else DsdError
    rest = f" of the {tried - unformed:,} with {space.stages} stages" * bool(unformed)
    return kind(f"{start} tried; '{cause}' refused most ({count:,}{rest}). Widen the band or the "
                "rules.")  # fmt: skip
