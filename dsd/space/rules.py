"""Rules of a space, sorted by what they need: a chain, a shared draw, or a test of the network."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dsd.errors import UsageError
from dsd.space.chain import Chain, free_chain
from dsd.space.expression import STAGE_PARAMETERS, Expression, parse_rule
from dsd.space.spec import PARAMETERS, PER_STAGE, Space

COSTS = ("flops", "params", "acts")
_WIDTH = re.compile(r"w\d*$")


@dataclass(frozen=True)
class Rules:
    """How to draw under the rules.

    chains: exact law of each parameter's vector; shares: parameter -> the one whose value it takes;
    drawn: conditions to test on the draw; built: conditions to test on the buildable network.
    """

    chains: Mapping[str, Chain]
    shares: Mapping[str, str]
    drawn: tuple[Expression, ...]
    built: tuple[Expression, ...]

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
    known = columns_of(space)
    for text in texts:
        for rule in parse_rule(text, known, f"{where}: restrict"):
            _need_columns(rule, space, where)
            if _share(rule, space, chains, shares, where):
                continue
            if reads_network(rule):
                built.append(rule)
            if not (rule.names & set(COSTS)) and not _condition(rule, space, chains, text, where):
                drawn.append(rule)
    return Rules(chains, shares, tuple(drawn), tuple(built))


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
            if len(rule.neighbors) != 1 or rule.reach != 1:
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
            shares[second] = shares.get(first, first)
            return True
    return False


def _need_equal_draws(chain: Chain, rule: Expression, where: str) -> None:
    if any(draw.spec != chain.draws[0].spec for draw in chain.draws):
        raise UsageError(
            f"{where}: '{rule.text}' shares one draw, but the stages declare different ones."
        )


def _condition(
    rule: Expression, space: Space, chains: dict[str, Chain], text: str, where: str
) -> bool:
    """Put the rule into its parameter's chain; False if it is not of that kind."""
    places = _places(rule, space)
    if places is None:
        return False
    name, positions, labels = places
    for at in positions:
        chains[name] = _narrowed(chains[name], rule, at, labels)
    if not chains[name].possible:
        raise UsageError(f"{where}: restrict '{text}': no {name} can satisfy the rules together.")
    return True


def _places(rule: Expression, space: Space) -> tuple[str, list[int], list[str]] | None:
    """Parameter, first stages at which the rule applies, and the columns it reads there.

    One column means a rule on one stage, two a rule between a stage and the next.
    """
    names, neighbors, count = rule.names, rule.neighbors, space.stages
    if space.form != PER_STAGE:
        single = len(names) == 1 and not neighbors
        (name,) = names if single else ("",)
        return (name, [0], [name]) if name in space.draws else None
    if len(neighbors) == 1 and not names and rule.reach <= 1:
        (name,) = neighbors
        labels = [f"{name}{k + 1}" for k in range(rule.reach + 1)]
        return name, list(range(count - rule.reach)), labels
    if len(names) == 1 and not neighbors and names <= {"w", "b", "g"}:
        (name,) = names
        return name, list(range(count)), [f"{name}1"]
    return None if neighbors else _indexed(names)


def _indexed(names: frozenset[str]) -> tuple[str, list[int], list[str]] | None:
    """The same for a rule on named stages: w4 <= 512, d2 >= d1."""
    labels = sorted(names, key=lambda n: (n[0], int(n[1:] or 0)))
    parts = {n[0] for n in labels}
    stages = [int(n[1:]) for n in labels if n[1:].isdigit()]
    if len(parts) != 1 or len(stages) != len(labels) or not 1 <= len(labels) <= 2:
        return None
    if stages[-1] - stages[0] != len(labels) - 1:
        return None
    return labels[0][0], [stages[0] - 1], labels


def _narrowed(chain: Chain, rule: Expression, at: int, labels: list[str]) -> Chain:
    grids = np.meshgrid(*(chain.draws[at + k].values for k in range(len(labels))), indexing="ij")
    columns = {label: grid.ravel() for label, grid in zip(labels, grids, strict=True)}
    holds = rule(columns, len(labels)) & np.ones(grids[0].size, dtype=bool)
    allowed: NDArray[np.bool_] = holds.reshape(grids[0].shape)
    if len(labels) == 1:
        masks = list(chain.masks)
        masks[at] = masks[at] & allowed
        return replace(chain, masks=tuple(masks))
    pairs = list(chain.pairs)
    known = pairs[at]
    pairs[at] = allowed if known is None else known & allowed
    return replace(chain, pairs=tuple(pairs))
