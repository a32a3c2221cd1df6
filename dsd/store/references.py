"""Naming populations: `space[@regime][#seed]`, looked up in the database."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from dsd.errors import DsdError, UsageError, suggestion
from dsd.store.engine import Store, reading
from dsd.store.location import describe
from dsd.store.schema import Import, Member, Population, Regime, Space

_REFERENCE = re.compile(r"(?P<space>[^@#\s]+)(@(?P<regime>[^@#\s]+))?(#(?P<seed>\d+))?")


@dataclass(frozen=True)
class PopulationRow:
    """One stored population; `name` is its full reference, `kind` what its space is.

    The populations of a selection are its repeats.
    """

    id: int
    space: str
    regime: str
    seed: int
    size: int
    kind: str = "space"

    @property
    def name(self) -> str:
        """The reference that names this population alone."""
        return f"{self.space}@{self.regime}#{self.seed}"


def parse_reference(text: str) -> tuple[str, str | None, int | None]:
    """(space, regime or None, seed or None) of `space[@regime][#seed]`. Raises UsageError."""
    match = _REFERENCE.fullmatch(text)
    if match is None:
        raise UsageError(
            f"'{text}' names no population; write space[@regime][#seed], such as "
            f"anynetx_d, anynetx_d@fashion or anynetx_d@fashion#7."
        )
    seed = match["seed"]
    return match["space"], match["regime"], None if seed is None else int(seed)


def populations(store: Store) -> list[PopulationRow]:
    """Every population, in the order of their creation."""
    with reading(store) as connection:
        return population_rows(connection)


def population_rows(connection: Connection) -> list[PopulationRow]:
    """The same within a transaction."""
    size = select(func.count()).where(Member.population_id == Population.id).scalar_subquery()
    columns = select(Population.id, Space.name, Regime.name, Population.seed, size, Space.kind)
    joined = columns.select_from(Population).join(Space).join(Regime).order_by(Population.id)
    return [PopulationRow(*row) for row in connection.execute(joined)]


def resolve(store: Store, reference: str, default_regime: str | None = None) -> list[PopulationRow]:
    """The populations that a reference means: without a seed all seeds.

    Without a regime it means `default_regime`, or any if that is None. Raises UsageError for a
    malformed reference, DsdError, with what is there, for one that means nothing here.
    """
    space, regime, seed = parse_reference(reference)
    regime = regime or default_regime
    there = populations(store)
    of_space = [p for p in there if p.space == space]
    of_regime = [p for p in of_space if regime in (None, p.regime)]
    found = [p for p in of_regime if seed in (None, p.seed)]
    if not found:
        said = (
            _nothing(space, regime, seed, of_space, of_regime)
            if of_space
            else f"of {space}.{_of_no_space(store, space, regime, there)}"
        )
        raise DsdError(f"{describe(store.url)} holds no population {said}")
    return found


def population_ids(given: Sequence[int | PopulationRow] | None) -> list[int] | None:
    """The ids of populations given as ids or rows; None (all) stays None."""
    if given is None:
        return None
    return [p.id if isinstance(p, PopulationRow) else p for p in given]


def _nothing(
    space: str,
    regime: str | None,
    seed: int | None,
    of_space: list[PopulationRow],
    of_regime: list[PopulationRow],
) -> str:
    under = f" --regime {regime}" if regime else ""
    run = f"`dsd sample {space} --n 500{under}"
    chosen = any(p.kind == "selection" for p in of_space)
    if chosen:
        run = f"`dsd enqueue {space}{under}"
    if of_regime:
        seeds = _listed(str(p.seed) for p in of_regime)
        place = of_regime[0].name.split("#")[0]
        more = "--repeats N" if chosen else f"--seed {seed}"
        return f"{place}#{seed}; its seeds: {seeds}. {run} {more}` makes it."
    other = _listed(f"{p.space}@{p.regime}" for p in of_space)
    return f"{space}@{regime}; there is {other}. {run}` makes it."


def _of_no_space(
    store: Store, space: str, regime: str | None, there: Sequence[PopulationRow]
) -> str:
    """What is there under names like this one, and how to sample it if it is a space at all."""
    from dsd.space.spec import space_names

    with reading(store) as connection:
        names = {p.space for p in there} | set(connection.execute(select(Import.name)).scalars())
    under = f" --regime {regime}" if regime else ""
    run = f" `dsd sample {space} --n 500{under}` makes it." if space in space_names() else ""
    return suggestion(space, names) + run


def _listed(names: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(names))
