"""How large a space is: its settings, and how many of them are inside a regime's band.

A setting is one vector of the drawn parameters; what stages share counts once. Several settings
may build one network: quantised-linear spaces, where millions do, are counted in networks instead.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from dsd.errors import DsdError
from dsd.regime import Regime
from dsd.space.counting.lines import count_lines
from dsd.space.counting.settings import count_settings
from dsd.space.rules import Rules
from dsd.space.sample import regime_rules, sample
from dsd.space.spec import PER_STAGE, Space

SETTINGS, NETWORKS = "settings", "networks"
ANY_NUMBER = 1_000_000_000


@dataclass(frozen=True)
class Count:
    """The size of a space under a regime.

    total: settings that keep the rules on the draw but for those in `left_out`, in the band or not;
    at_least, at_most: how many `unit` (settings or networks) the band holds, keeping every rule;
    one number where it is exact, and at_most None where there is no upper bound.
    """

    total: int
    at_least: int
    at_most: int | None
    unit: str
    method: str
    left_out: tuple[str, ...] = ()

    @property
    def exact(self) -> bool:
        """Whether the number itself is known."""
        return self.at_least == self.at_most

    @property
    def inside(self) -> int | None:
        """The number, where it is known."""
        return self.at_least if self.exact else None


def count(
    space: Space, regime: Regime, minutes: float = 10.0,
    told: Callable[[int, int], None] = lambda done, cases: None,
) -> Count:  # fmt: skip
    """Settings of a per-stage space, or networks of a quantised-linear one, inside the band.

    Settings are exact wherever memory and about `minutes` of one core allow; where not, there is a
    lower and an upper bound. The minutes are those of a fixed estimate: all machines find the same.
    `told` hears how many of how many cases are counted.
    """
    rules = regime_rules(space, regime)
    if space.form != PER_STAGE:
        return _networks(space, regime, rules)
    found = count_settings(space, regime, rules, 60 * minutes, told)
    method = " and ".join(found.methods)
    return Count(found.total, found.at_least, found.at_most, SETTINGS, method, found.left_out)


def _settings(rules: Rules) -> int:
    """Settings under the rules that are chains or shares."""
    return math.prod(chain.size for chain in rules.drawn_chains.values())


def _networks(space: Space, regime: Regime, rules: Rules) -> Count:
    total = _settings(rules)
    left_out = tuple(dict.fromkeys(rule.text for rule in (*rules.drawn, *rules.built)))
    found = count_lines(space, regime, rules)
    if found is not None:
        inside, whole = found
        most = inside if whole else None
        return Count(total, inside, most, NETWORKS, "enumeration of stages", left_out)
    try:
        inside = len(sample(space, regime, ANY_NUMBER))
    except DsdError:
        inside = 0
    method = "sampling until nothing new came"
    return Count(total, inside, None, NETWORKS, method, left_out)
