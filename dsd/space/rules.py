"""Rules of a space, sorted by what they need: a chain, a shared draw, or a test of the network."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dsd.errors import UsageError
from dsd.space.chain import Chain, free_chain
from dsd.space.expression import STAGE_PARAMETERS, Expression, by_stage, parse_rule
from dsd.space.spec import PARAMETERS, PER_STAGE, Space

COSTS = ("flops", "params", "acts")
MOST_PAIRS = 1 << 23  # of neighbouring values in a table: with more, a rule is tested on each draw
_WIDTH = re.compile(r"w\d*$")
_STAGE_COLUMN = re.compile(r"([dwbg])(\d+)$")


@dataclass(frozen=True)
class Rules:
    """How to draw under the rules.

    chains: exact law of each parameter's vector; shares: parameter -> the one whose value it takes;
    drawn: conditions to test on the draw; built: conditions to test on the buildable network;
    all: every rule but the shares, whichever way it is kept.
    """

    chains: Mapping[str, Chain]
    shares: Mapping[str, str]
    drawn: tuple[Expression, ...]
    built: tuple[Expression, ...]
    all: tuple[Expression, ...] = ()

    @property
    def drawn_chains(self) -> dict[str, Chain]:
        """The chains that are drawn for themselves, not shared from another parameter."""
        return {name: chain for name, chain in self.chains.items() if name not in self.shares}


def columns_of(space: Space) -> set[str]:
    """The names that a rule of this space may use."""
    stage = {f"{p}{i + 1}" for p in STAGE_PARAMETERS for i in range(space.stages)}
    return stage | {*STAGE_PARAMETERS, *PARAMETERS[space.form], *COSTS}


def compile_rules(space: Space, texts: Sequence[str], where: str) -> Rules:
    """Sort the rules. Raises UsageError for a bad rule, and where together nothing can hold."""
    chains = {name: free_chain(draws) for name, draws in space.draws.items()}
    shares: dict[str, str] = {}
    drawn: list[Expression] = []
    built: list[Expression] = []
    every: list[Expression] = []
    known = columns_of(space)
    for text in texts:
        for rule in parse_rule(text, known, f"{where}: restrict"):
            _need_columns(rule, space, where)
            if _share(rule, space, chains, shares, where):
                continue
            every.append(rule)
            if reads_network(rule):
                built.append(rule)
            if not (rule.names & set(COSTS)) and not _condition(rule, space, chains, text, where):
                drawn.append(rule)
    for name, source in shares.items():
        chains[source] = _shared_with(chains[source], chains[name], f"{name} and {source}", where)
    return Rules(chains, shares, tuple(drawn), tuple(built), tuple(every))


def _need_columns(rule: Expression, space: Space, where: str) -> None:
    if not rule.names | rule.neighbors:
        raise UsageError(f"{where}: restrict '{rule.text}' reads no column; it would mean nothing.")
    if rule.reach >= max(space.stages, 2):  # with one stage, every order holds
        raise UsageError(
            f"{where}: restrict '{rule.text}' looks {rule.reach} stages ahead of {space.stages}."
        )


def reads_network(rule: Expression) -> bool:
    """Whether group compatibility can change the rule's outcome: it reads widths or cost."""
    return any(_WIDTH.match(n) or n in COSTS for n in rule.names | rule.neighbors)


def _share(
    rule: Expression, space: Space, chains: dict[str, Chain], shares: dict[str, str], where: str
) -> bool:
    """`p[i+1] == p[i]`, or `w0 == wa` between scalars: draw once and share."""
    match rule.tree:
        case ast.Compare(left=ast.Subscript(), ops=[ast.Eq()], comparators=[ast.Subscript()]):
            if len(rule.neighbors) != 1 or rule.reach != 1 or len(rule.offsets) != 2:
                return False
            (name,) = rule.neighbors
            if space.form != PER_STAGE:
                return False
            _need_equal_draws(chains[name], rule, where)
            chains[name] = replace(chains[name], shared=True)
            return True
        case ast.Compare(
            left=ast.Name(id=first), ops=[ast.Eq()], comparators=[ast.Name(id=second)]
        ):
            scalars = space.draws if space.form != PER_STAGE else {}
            if first == second or first not in scalars or second not in scalars:
                return False
            source, other = shares.get(first, first), shares.get(second, second)
            if source != other:
                taken = (name for name in scalars if shares.get(name, name) == other)
                shares.update(dict.fromkeys(taken, source))
            return True
    return False


def _shared_with(source: Chain, taker: Chain, both: str, where: str) -> Chain:
    """The chain that another parameter takes its value from: with values that it may have, too."""
    common = np.isin(source.draws[0].values, taker.allowed[0])
    narrowed = replace(source, masks=(source.masks[0] & common,))
    if not narrowed.possible:
        raise UsageError(f"{where}: {both} share one draw, but have no value in common.")
    return narrowed


def _need_equal_draws(chain: Chain, rule: Expression, where: str) -> None:
    if any(draw.spec != chain.draws[0].spec for draw in chain.draws):
        raise UsageError(
            f"{where}: '{rule.text}' shares one draw, but the stages declare different ones."
        )


def _condition(
    rule: Expression, space: Space, chains: dict[str, Chain], text: str, where: str
) -> bool:
    """Put the rule into its parameter's chain; False if it is not of that kind."""
    parts = by_stage(rule, space.stages) if space.form == PER_STAGE else [rule]
    places = [place for place in (_place(part, space) for part in parts) if place]
    if len(places) < len(parts) or any(_pairs(part, space) > MOST_PAIRS for part in parts):
        return False
    for part, (name, at) in zip(parts, places, strict=True):
        chains[name] = _narrowed(chains[name], part, at)
        if not chains[name].possible:
            raise UsageError(
                f"{where}: restrict '{text}': no {name} can satisfy the rules together."
            )
    return True


def _place(rule: Expression, space: Space) -> tuple[str, int] | None:
    """Parameter and first stage of a rule on one stage of it, or on a stage and the next."""
    if space.form != PER_STAGE:
        (name,) = rule.names if len(rule.names) == 1 and not rule.neighbors else ("",)
        return (name, 0) if name in space.draws else None
    read = sorted(map(stage_column, rule.names))
    letters, stages = {letter for letter, _ in read}, [stage for _, stage in read]
    if len(letters) != 1 or stages[0] < 0 or stages[-1] - stages[0] != len(read) - 1:
        return None
    return (read[0][0], stages[0]) if len(read) <= 2 else None


def _pairs(rule: Expression, space: Space) -> int:
    """How many values, or pairs of values, a rule on one parameter has to be tested for."""
    if space.form != PER_STAGE:
        return 1
    return math.prod(len(space.draws[p][stage]) for p, stage in map(stage_column, rule.names))


def stage_column(name: str) -> tuple[str, int]:
    """Parameter and stage (from 0) of a column such as w4; stage -1 for any other column."""
    match = _STAGE_COLUMN.match(name)
    return (match[1], int(match[2]) - 1) if match else (name, -1)


def _narrowed(chain: Chain, rule: Expression, at: int) -> Chain:
    labels = sorted(rule.names, key=stage_column)
    grids = np.meshgrid(*(chain.draws[at + k].values for k in range(len(labels))), indexing="ij")
    columns = {label: grid.ravel() for label, grid in zip(labels, grids, strict=True)}
    holds = rule(columns, 1) & np.ones(grids[0].size, dtype=bool)
    allowed: NDArray[np.bool_] = holds.reshape(grids[0].shape)
    if len(labels) == 1:
        masks = list(chain.masks)
        masks[at] = masks[at] & allowed
        return replace(chain, masks=tuple(masks))
    pairs = list(chain.pairs)
    known = pairs[at]
    pairs[at] = allowed if known is None else known & allowed
    return replace(chain, pairs=tuple(pairs))
