"""Where a worker's networks and images come from.

Nothing is claimed whose images are missing here, or are others than finished runs were trained on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from sqlalchemy import false, select

from dsd.regime import Regime
from dsd.store import queue
from dsd.store.engine import Store, reading
from dsd.store.queue import Claim
from dsd.store.schema import MEMBER_RUN, Member, Population, Run
from dsd.store.schema import Regime as StoredRegime
from dsd.store.steer import held_back
from dsd.tickets import Tickets
from dsd.train.data import Dataset, DatasetMissing, check, load
from dsd.train.ddp import check_batch
from dsd.train.events import Voice
from dsd.train.same_data import SameImages


class NothingHere(DatasetMissing):
    """No waiting network can be trained with this machine's images; starting again cannot help."""

    exit_code = 3


@dataclass(frozen=True)
class Source:
    """The queue of some populations (or of all), and the folder that holds their images."""

    store: Store
    folder: Path
    chosen: Sequence[int] | None
    voice: Voice
    reader: str = "torchvision"  # of image folders
    ranks: int = 1  # that share a batch
    skipped: set[str] = field(default_factory=set)
    loaded: dict[str, Dataset] = field(default_factory=dict)
    load: Callable[[Regime, Path, torch.device, str], Dataset] = load
    tickets: Tickets | None = None

    @cached_property
    def same(self) -> SameImages:
        """What compares the images here with those of finished runs."""
        return SameImages(self.store, self.folder)

    def claim(self, owner: str, lease_s: float, max_attempts: int) -> Claim | None:
        """The next network that can be trained here."""
        ids = self.populations()
        if not ids or (self.tickets and not self.tickets.take()):
            return None
        claim = None
        try:
            claim = queue.claim(
                self.store, owner, populations=ids, lease_s=lease_s, max_attempts=max_attempts
            )
        finally:
            if claim is None and self.tickets:
                self.tickets.give_back()
        return claim

    def populations(self, required: bool = False) -> list[int]:
        """Ids of the waiting populations whose images are here; the others are said once.

        Raises NothingHere if `required` and all that wait lack theirs, or would see others.
        """
        regimes = waiting(self.store, self.chosen)
        missing = self._missing({regime.digest: regime for regime in regimes.values()})
        found = [key for key, regime in regimes.items() if regime.digest not in missing]
        if required and missing and not found:
            why = str(next(iter(missing.values())))
            self.voice.tell("refused", message=why)
            raise NothingHere(why)
        for digest in missing.keys() - self.skipped:
            why, regime = str(missing[digest]), _named(regimes, digest)
            self.voice.tell("left-out", f"Left out: {why}", regime=regime, message=why)
            self.skipped.add(digest)
        return found

    def dataset(self, regime: Regime, device: torch.device) -> Dataset:
        """The images of a regime, loaded once. Raises Indivisible where the ranks cannot share."""
        if regime.digest not in self.loaded:
            dataset = self.load(regime, self.folder, device, self.reader)
            if dataset.reader:
                line = f"Images of '{regime.name}' are read by {dataset.reader}."
                self.voice.tell("reading", line, regime=regime.name, reader=dataset.reader)
            self.loaded[regime.digest] = dataset
        dataset = self.loaded[regime.digest]
        check_batch(regime, self.ranks, len(dataset.train))
        return dataset

    def say_held_back(self) -> None:
        """Say what waits for a person, lest an idle worker seem to overlook it."""
        held = held_back(self.store, self.chosen)
        if held:
            line = f"Networks that wait in paused populations: {held} (`dsd resume`)."
            self.voice.tell("paused", line, networks=held)

    def _missing(self, regimes: dict[str, Regime]) -> dict[str, DatasetMissing]:
        missing = {}
        for digest, regime in regimes.items():
            try:
                check_batch(regime, self.ranks)
                check(regime, self.folder)
                self.same.check(regime, self.loaded.get(digest))
            except DatasetMissing as error:
                missing[digest] = error
        return missing


def _named(regimes: Mapping[int, Regime], digest: str) -> str:
    return next(regime.name for regime in regimes.values() if regime.digest == digest)


def waiting(store: Store, chosen: Sequence[int] | None) -> dict[int, Regime]:
    """Population id -> regime, for those chosen (or all) that have runs to claim or running."""
    columns = select(Population.id, StoredRegime.name, StoredRegime.text).join(StoredRegime)
    unfinished = (Run.state == "running") | ((Run.state == "queued") & (Run.held == false()))
    runs = select(Run.id).join_from(Member, Run, MEMBER_RUN)
    runs = runs.where(Member.population_id == Population.id, unfinished).correlate(Population)
    populations = columns.where(runs.exists()).order_by(Population.id)
    if chosen is not None:
        populations = populations.where(Population.id.in_(chosen))
    with reading(store) as connection:
        rows = connection.execute(populations).all()
    return {row.id: Regime.from_text(row.text, row.name) for row in rows}
