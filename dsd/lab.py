"""The laboratory as a Python object: what the commands call, and what a notebook opens."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from dsd.errors import UsageError
from dsd.settings import Settings, read_settings

if TYPE_CHECKING:
    import pandas as pd

    from dsd.space.sample import Sample
    from dsd.store.engine import Store
    from dsd.store.external import External
    from dsd.store.populations import PopulationRow, Saved
    from dsd.store.results import Status

SCORED = ("done", "diverged")
UNFINISHED = ("queued", "running")


@dataclass(frozen=True)
class Population:
    """Networks under one name: `frame` has a row for each, in sampling order.

    They were sampled here (`rows`, one for each seed) or trained elsewhere (`external`).
    """

    name: str
    rows: tuple[PopulationRow, ...] = ()
    store: Store | None = None
    external: External | None = None

    @property
    def regimes(self) -> set[str]:
        """The regimes its networks were scored under; of an import its label."""
        return {self.external.label} if self.external else {row.regime for row in self.rows}

    @property
    def parts(self) -> tuple[str, ...]:
        """Full names of the populations that it pools, one for each seed."""
        return tuple(row.name for row in self.rows) or (self.name,)

    @cached_property
    def frame(self) -> pd.DataFrame:
        """One row a network (see `dsd.store.results.frame`; an import has its file's columns)."""
        from dsd.store.results import frame

        return self.external.frame() if self.external else frame(self._store, self.rows)

    @cached_property
    def scores(self) -> pd.DataFrame:
        """The frame's columns ordinal, state, error_last and error_lowest alone, which is quick."""
        from dsd.store.results import SCORES, scores

        return self.frame[SCORES] if self.external else scores(self._store, self.rows)

    @cached_property
    def declared(self) -> dict[str, Any]:
        """Its space as it was stored, parents included: form, draw, restrict.

        {} for an import and for a selection, which no space describes.
        """
        from dsd.store.declared import stored_space

        if self.external or self.selected:
            return {}
        return stored_space(self._store, self.rows[0].space)

    @property
    def selected(self) -> bool:
        """Whether its networks were chosen, not sampled: its errors do not stand for a space."""
        return any(row.kind == "selection" for row in self.rows)

    @property
    def origin(self) -> str:
        """How the networks of a selection were chosen, in words; "" for what was sampled."""
        from dsd.space.selection import Selection, in_words
        from dsd.store.declared import selection_text

        text = selection_text(self._store, self.rows[0].space) if self.selected else None
        return in_words(Selection.from_text(text, "").origin) if text else ""

    @property
    def provenance(self) -> pd.DataFrame:
        """Beside the frame of a sampled population: when and with what each network was trained."""
        from dsd.store.export import provenance

        return provenance(self._store, self.rows)

    @property
    def timings(self) -> pd.DataFrame:
        """What `dsd time` measured of its networks (see `dsd.store.timings.timings`)."""
        from dsd.store.timings import timings

        if self.external:
            raise UsageError(f"{self.name} was trained elsewhere: its networks are not known here.")
        return timings(self._store, self.rows)

    @cached_property
    def curves(self) -> pd.DataFrame:
        """One row an epoch of every network (see `dsd.store.export.curves`)."""
        from dsd.store.export import curves

        return self.external.curves() if self.external else curves(self._store, self.rows)

    @property
    def _store(self) -> Store:
        assert self.store is not None, "a sampled population knows its database"
        return self.store

    @property
    def scored(self) -> pd.DataFrame:
        """The rows of `scores` with an error: trained, or diverged and so at chance level."""
        return self.scores[self.scores["state"].isin(SCORED)]

    def count(self, *states: str) -> int:
        """How many networks are in any of these states."""
        return int(self.scores["state"].isin(states).sum())


@dataclass(frozen=True)
class Lab:
    """A database with the settings around it."""

    settings: Settings

    @cached_property
    def store(self) -> Store:
        """The database, created and upgraded as needed."""
        from dsd.store.engine import open_store

        return open_store(self.settings.db)

    @cached_property
    def reader(self) -> Store:
        """The same, never written to. Raises DsdError when there is none."""
        from dsd.store.engine import open_store

        return open_store(self.settings.db, write=False)

    def upgrade(self) -> None:
        """Bring the schema of a database that is there up to date; make none."""
        from dsd.store.migrate import revision_of

        if revision_of(self.settings.db):
            self.store.close()

    def draw(self, space: str, n: int = 500, regime: str = "", seed: int = 0) -> Sample:
        """The first n networks of a space in a regime's band; nothing is stored."""
        from dsd.regime import load_regime
        from dsd.space.sample import sample
        from dsd.space.spec import load_space

        return sample(load_space(space), load_regime(regime or self.settings.regime), n, seed)

    def keep(self, sample: Sample, priority: int = 0) -> Saved:
        """Store a sample as a population and queue what is new."""
        from dsd.store.populations import save_sample

        return save_sample(self.store, sample, priority)

    def sample(self, space: str, n: int = 500, regime: str = "", seed: int = 0) -> Population:
        """Make the population of (space, regime, seed) n networks large; queue what is new."""
        drawn = self.draw(space, n, regime, seed)
        self.keep(drawn)
        return self.population(f"{drawn.space.name}@{drawn.regime.name}#{seed}")

    def population(self, reference: str) -> Population:
        """The population that a reference names. Raises DsdError, with what there is.

        `paper/...` is one that the RegNet paper published; then comes an import of that very name,
        then `space[@regime][#seed]`.
        """
        from dsd.store.papers import PREFIX, paper

        if reference.startswith(PREFIX):
            return Population(reference, external=paper(reference))
        from dsd.store.imports import imported
        from dsd.store.populations import resolve

        external = imported(self.reader, reference)
        if external:
            return Population(reference, external=external)
        rows = resolve(self.reader, reference, self.settings.regime_name)
        return Population(reference, tuple(rows), self.reader)

    def populations(self) -> list[str]:
        """The full names of all populations, sampled ones first, then imports."""
        from dsd.store.imports import import_sizes
        from dsd.store.populations import populations

        return [row.name for row in populations(self.reader)] + list(import_sizes(self.reader))

    @property
    def frame(self) -> pd.DataFrame:
        """One row a network of every sampled population."""
        from dsd.store.results import frame

        return frame(self.reader)

    def add(self, external: External) -> bool:
        """Keep a population trained elsewhere; False where it is kept already."""
        from dsd.store.imports import save_import

        return save_import(self.store, external)

    def status(self) -> Status:
        """How far everything is."""
        from dsd.store.results import status

        return status(self.reader)


def open_lab(db: str = "", data: str = "", regime: str = "", reader: str = "") -> Lab:
    """The lab of the working folder's settings, each replaced by what is given."""
    given = {"db": db, "data": data, "regime": regime, "reader": reader}
    return Lab(replace(read_settings(), **{key: value for key, value in given.items() if value}))
