"""Networks chosen one by one, to be trained anew: not a sample of a space (RegNet, section 5)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsd.errors import UsageError
from dsd.net.arch import Arch, text_digest
from dsd.net.cost import cost
from dsd.regime import Regime
from dsd.space.networks import published, published_network, under

NAME = re.compile(r"[\w.+-]+(/[\w.+-]+)*")


@dataclass(frozen=True)
class Selection:
    """Networks (n,), the best first, as they were when they were chosen, and what is known of each.

    `origin` says how they were chosen and from what; its "seen" are the (regime, seed) of the runs
    whose errors chose them.
    """

    name: str
    archs: tuple[Arch, ...]
    draws: tuple[dict[str, float], ...]
    origin: dict[str, Any]

    @cached_property
    def text(self) -> str:
        """Everything about it as canonical JSON; the name changes nothing."""
        networks = [arch.as_dict() for arch in self.archs]
        data = {"selection": self.origin, "networks": networks, "draws": list(self.draws)}
        return json.dumps(data, separators=(",", ":"), sort_keys=True)

    @cached_property
    def digest(self) -> str:
        """16 hexadecimal digits of the text."""
        return text_digest(self.text)

    @classmethod
    def from_text(cls, text: str, name: str) -> Selection:
        """Rebuild it from its stored text."""
        data = json.loads(text)
        archs = tuple(Arch.from_json(json.dumps(network)) for network in data["networks"])
        return cls(name, archs, tuple(data["draws"]), data["selection"])

    def seeds(self, regime: Regime, repeats: int) -> list[int]:
        """The seeds of its first repeats under a regime: the lowest that did not choose it.

        A run whose error chose its network is good by luck, too, and is no repeat.
        """
        seen = {seed for name, seed in self.origin.get("seen", ()) if name == regime.name}
        seeds: list[int] = []
        while len(seeds) < repeats:
            seeds.append(max(seeds, default=-1) + 1)
            while seeds[-1] in seen:
                seeds[-1] += 1
        return seeds


@dataclass(frozen=True)
class Repeat:
    """One training of each network of a selection under a regime: stored as a population."""

    space: Selection
    regime: Regime
    seed: int
    archs: tuple[Arch, ...]
    draws: tuple[dict[str, float], ...]
    flops: NDArray[np.int64]
    params: NDArray[np.int64]
    acts: NDArray[np.int64]
    tally: dict[str, int]

    @property
    def outside(self) -> int:
        """How many of its networks cost more or less than the regime's band says."""
        costs = {name: getattr(self, name) for name in ("flops", "params", "acts")}
        return int(np.sum(~(self.regime.in_band(costs) & np.ones(len(self.archs), bool))))


def repeats_of(selection: Selection, regime: Regime, repeats: int) -> Iterator[Repeat]:
    """Its repeats. The stages stay; stem, classes and strides are the regime's.

    Raises UsageError where the regime has strides for another number of stages.
    """
    found: dict[str, tuple[Arch, dict[str, float]]] = {}
    for chosen, draw in zip(selection.archs, selection.draws, strict=True):
        arch = under(chosen, regime)
        found.setdefault(arch.digest, (arch, draw))
    archs, draws = zip(*found.values(), strict=True)
    costs = [cost(arch, regime.resolution).as_dict() for arch in archs]
    columns = {name: np.array([one[name] for one in costs], dtype=np.int64) for name in costs[0]}
    for seed in selection.seeds(regime, repeats):
        yield Repeat(selection, regime, seed, archs, draws, **columns, tally={})


def published_selection(name: str) -> Selection:
    """A published network by its name. Raises UsageError, with the nearest name."""
    arch = published_network(name)
    draw = {key: value for key, value in published()[name].items() if key in ("w0", "wa", "wm")}
    return Selection(f"published/{name}", (arch,), (draw,), {"how": "published", "of": [name]})


def checked_name(name: str) -> str:
    """A name that a reference can hold. Raises UsageError."""
    if not NAME.fullmatch(name) or name.startswith("paper/"):
        raise UsageError(f"'{name}' cannot name a selection: letters, digits, _ . + - and / "
                         "between them work, but not paper/..., which dsd ships.")  # fmt: skip
    return name


def in_words(origin: dict[str, Any]) -> str:
    """How a selection was made."""
    of = ", ".join(origin["of"])
    if origin["how"] == "published":
        return f"published: {of}"
    if origin["how"] == "run":
        return f"the network of {of}"
    kept = f" with {origin['where']}" if origin.get("where") else ""
    return (f"the {origin['k']} best of {origin['scored']} scored networks{kept} of {of} "
            f"(n = {origin['n']}), by the {origin['metric']} error")  # fmt: skip
