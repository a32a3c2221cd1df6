"""How large a space is: degrees of freedom, settings, and the share of draws inside a band."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from dsd.net.blocks import IGNORES
from dsd.regime import Regime
from dsd.space.candidates import draw
from dsd.space.chain import Chain
from dsd.space.expression import parse_rule
from dsd.space.rules import COSTS, Rules, columns_of, compile_rules
from dsd.space.sample import judge, regime_rules
from dsd.space.spec import PER_STAGE, Space

LINE = ("d", "w0", "wa", "wm")
LINE_VALUES = 64  # what the paper counts for each parameter of the quantised line


@dataclass(frozen=True)
class Size:
    """One row of the paper's table 1.

    freedom: values that are drawn; paper: the combinations as the paper counts them (an order takes
    1/stages!, ties ignored; 64 values for each of d, w0, wa, wm); settings: the exact number of
    vectors that satisfy the rules on single parameters (ties counted), an upper bound where
    `bounded` names rules that tie several parameters together.
    """

    freedom: int
    paper: int
    settings: int
    bounded: tuple[str, ...]


def size(space: Space) -> Size:
    """The space's size under its own rules."""
    rules = compile_rules(space, space.restrict, space.name)
    chains = read_chains(space, rules)
    costly = [rule for rule in rules.built if rule.names & set(COSTS)]
    paper = math.prod(_paper(space, name, chain) for name, chain in chains.items())
    return Size(
        freedom=sum(len(v) > 1 for chain in chains.values() for v in chain.allowed),
        paper=round(paper),
        settings=math.prod(chain.size for chain in chains.values()),
        bounded=tuple(sorted({r.text for r in (*rules.drawn, *costly)})),
    )


def read_chains(space: Space, rules: Rules) -> dict[str, Chain]:
    """The chains whose value the space's block reads."""
    ignored = IGNORES.get(space.block, ())
    return {name: c for name, c in rules.drawn_chains.items() if name not in ignored}


def band_share(space: Space, regime: Regime, n: int = 1 << 15) -> tuple[int, int]:
    """(draws inside the regime's band and rules, draws made); the same draws every time."""
    rules = regime_rules(space, regime)
    batch = draw(space, rules, np.random.default_rng([0, int(space.digest, 16)]), n)
    return len(judge(space, regime, rules, batch).inside), n


def _paper(space: Space, name: str, chain: Chain) -> Fraction:
    values = len(chain.allowed[0])
    if space.form != PER_STAGE:
        return Fraction(LINE_VALUES if name in LINE and values > 1 else values)
    count = math.prod(len(draw) for draw in chain.draws[: chain.uniforms])
    return Fraction(count, math.factorial(space.stages) if _ordered(space, name) else 1)


def _ordered(space: Space, name: str) -> bool:
    """Whether a rule puts the stages of a parameter in order."""
    orders = {f"{name}[i + 1] {sign} {name}[i]" for sign in (">=", "<=", ">", "<")}
    known = columns_of(space)
    return any(
        part.normal in orders for text in space.restrict for part in parse_rule(text, known, "")
    )
