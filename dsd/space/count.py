"""How large a space is: its settings, and how many of them are inside a regime's band.

A setting is one vector of the drawn parameters; what stages share counts once. Several settings
may build one network: quantised-linear spaces, where millions do, are counted in networks instead.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from dsd.errors import DsdError, UsageError
from dsd.net.cost import network_cost
from dsd.net.groups import Stages
from dsd.regime import Regime
from dsd.space.candidates import Candidates
from dsd.space.chain import Chain, FloatArray
from dsd.space.count_lines import count_lines
from dsd.space.count_stages import coarseness, count_all, count_at_most, count_band
from dsd.space.count_tables import Conditions, conditions, tables
from dsd.space.rules import Rules
from dsd.space.sample import judge, regime_rules, sample
from dsd.space.spec import PER_STAGE, Space

SETTINGS, NETWORKS = "settings", "networks"
EXACT, AT_MOST, AT_LEAST = "exact", "at most", "at least"
MOST_TRIED = 4_000_000
BLOCK = 1 << 17
ANY_NUMBER = 1_000_000_000


@dataclass(frozen=True)
class Count:
    """The size of a space under a regime.

    total: settings that keep the rules but for those in `left_out`, in the band or not; inside: how
    many `unit` (settings or networks) the band holds: `inside_is` exact, at most or at least that.
    """

    total: int
    inside: int
    unit: str
    inside_is: str
    method: str
    left_out: tuple[str, ...] = ()

    @property
    def exact(self) -> bool:
        """Whether `inside` is the number itself."""
        return self.inside_is == EXACT


def count(space: Space, regime: Regime) -> Count:
    """Settings of a per-stage space, or networks of a quantised-linear one, inside the band.

    Exact for a band on one column and rules on a stage, on neighbouring stages, or on the total
    depth; for all others too where the space has at most 4 million settings. Beyond, other rules
    are left out (`left_out` names them), and a band on several columns raises UsageError. Where
    costs have no common divisor to speak of (squeeze-and-excitation in millions of shapes), they
    are rounded down, and the count is an upper bound (AnyNetX_A with Y blocks: about 0.4% above).
    """
    rules = regime_rules(space, regime)
    if space.form != PER_STAGE:
        return _networks(space, regime, rules)
    known = conditions(space, rules)
    if (known.left_out or len(regime.band) > 1) and _settings(rules) <= MOST_TRIED:
        return _tried(space, regime, rules)
    return _by_stages(space, regime, rules, known)


def _settings(rules: Rules) -> int:
    """Settings under the rules that are chains or shares."""
    return math.prod(chain.size for chain in rules.drawn_chains.values())


def _by_stages(space: Space, regime: Regime, rules: Rules, known: Conditions) -> Count:
    if len(regime.band) > 1:
        raise UsageError(
            f"Regime '{regime.name}' limits {' and '.join(regime.band)}: counting settings under "
            f"more than one limit works up to {MOST_TRIED:,} settings, and space '{space.name}' "
            f"has {_settings(rules):,}. Count under one limit."
        )
    (column, (low, high)) = next(iter(regime.band.items()), ("flops", (0.0, math.inf)))
    stem = network_cost(regime.stem, (), space.block, 0, regime.resolution).as_dict()[column]
    total = inside = 0
    rounded = False
    for stages in tables(space, regime, rules, known, column):
        unit = coarseness(stages, high - stem)
        rounded = rounded or unit > 1
        total += count_all(stages)
        inside += (
            count_band(stages, low - stem, high - stem)
            if unit == 1
            else count_at_most(stages, low - stem, high - stem, unit)
        )
    method = "dynamic programming" + (", costs rounded down" if rounded else "")
    inside_is = AT_MOST if known.left_out or rounded else EXACT
    return Count(total, inside, SETTINGS, inside_is, method, known.left_out)


def _networks(space: Space, regime: Regime, rules: Rules) -> Count:
    total = _settings(rules)
    left_out = tuple(dict.fromkeys(rule.text for rule in (*rules.drawn, *rules.built)))
    found = count_lines(space, regime, rules)
    if found is not None:
        inside, whole = found
        inside_is = EXACT if whole else AT_LEAST
        return Count(total, inside, NETWORKS, inside_is, "enumeration of stages", left_out)
    try:
        inside = len(sample(space, regime, ANY_NUMBER))
    except DsdError:
        inside = 0
    return Count(total, inside, NETWORKS, AT_LEAST, "sampling until nothing new came", left_out)


def _tried(space: Space, regime: Regime, rules: Rules) -> Count:
    """Every setting, one by one."""
    everywhere = Regime(**{**vars(regime), "band": {}})
    total = inside = 0
    for batch in _all_settings(space, rules):
        total += len(judge(space, everywhere, rules, batch).inside)
        inside += len(judge(space, regime, rules, batch).inside)
    return Count(total, inside, SETTINGS, EXACT, "enumeration of settings")


def _all_settings(space: Space, rules: Rules) -> Iterator[Candidates]:
    vectors = {name: _vectors(chain) for name, chain in rules.chains.items()}
    sizes = [len(v) for v in vectors.values()]
    for start in range(0, math.prod(sizes), BLOCK):
        rows = np.arange(start, min(start + BLOCK, math.prod(sizes)))
        places = np.unravel_index(rows, sizes)
        values = {n: v[at] for (n, v), at in zip(vectors.items(), places, strict=True)}
        d, w, g = (np.rint(values[p]).astype(np.int64) for p in ("d", "w", "g"))
        stages = Stages(d, w, values["b"], g)
        yield Candidates(stages.columns(), stages, np.ones(len(rows), dtype=bool))


def _vectors(chain: Chain) -> FloatArray:
    """(n, stages) all vectors that a chain allows."""
    if chain.shared:
        return np.repeat(chain.allowed[0][:, None], len(chain.draws), axis=1)
    found = np.flatnonzero(chain.masks[0])[:, None]
    for pair, mask in zip(chain.pairs, chain.masks[1:], strict=True):
        free = np.ones((len(chain.draws[0]), 1), dtype=bool)
        allowed = mask & (free if pair is None else pair)
        row, after = np.nonzero(allowed[found[:, -1] if pair is not None else found[:, -1] * 0])
        found = np.column_stack([found[row], after])
    return np.column_stack([d.values[found[:, i]] for i, d in enumerate(chain.draws)])
