"""Networks by a name: a published one, those of a population, or the first ones of a space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dsd.errors import DsdError, UsageError, suggestion

if TYPE_CHECKING:
    from dsd.lab import Lab
    from dsd.net.arch import Arch
    from dsd.regime import Regime

DRAWN = 10  # networks of a space that has no population yet


@dataclass(frozen=True)
class Named:
    """Networks (n,) with a label each, under the regime that gives resolution and recipe."""

    labels: tuple[str, ...]
    archs: tuple[Arch, ...]
    regime: Regime
    note: str = ""


def networks_named(lab: Lab, name: str, n: int | None = None) -> Named:
    """At most n networks that a name means, in sampling order.

    A published network gets the stem and the classes of the lab's regime. A space without a
    population is drawn from (DRAWN networks without n), and nothing is stored.
    Raises UsageError, with the nearest name, for one that means nothing.
    """
    from dsd.regime import load_regime
    from dsd.space.networks import published, published_network, under
    from dsd.space.spec import space_names

    if name in published():
        regime = load_regime(lab.settings.regime)
        return Named((name,), (under(published_network(name), regime),), regime)
    spaces = space_names()
    plain = not set(name) & set("@#/")
    try:
        return _of_population(lab, name, n)
    except DsdError as error:
        if isinstance(error, UsageError) or not plain:
            raise
        if name not in spaces:
            near = suggestion(name, [*published(), *spaces])
            raise UsageError(f"'{name}' names no published network, space or population.{near}") \
                from None  # fmt: skip
    drawn = lab.draw(name, n or DRAWN)
    labels = tuple(f"{name} {i}" for i in range(len(drawn)))
    note = f"no population {name}@{drawn.regime.name} here: its first {len(drawn)} networks, drawn"
    return Named(labels, drawn.archs, drawn.regime, note)


def _of_population(lab: Lab, name: str, n: int | None) -> Named:
    """The networks of a stored population, each once. Raises DsdError where there is none."""
    from dsd.store.populations import stored_archs

    population = lab.population(name)
    if population.external:
        raise UsageError(f"{name} was trained elsewhere: its networks are not known here.")
    found: dict[str, tuple[str, Arch]] = {}
    for row in population.rows:
        archs, regime = stored_archs(lab.reader, row)
        for i, arch in enumerate(archs):
            found.setdefault(arch.digest, (f"{row.name} {i}", arch))
    labels, kept = zip(*list(found.values())[:n], strict=True)
    return Named(labels, kept, regime)
