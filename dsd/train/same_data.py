"""Whether the images here are those that a regime's finished runs were trained on.

Errors of one regime are compared with each other, so all of it must see the same images: what the
regime's first finished run has recorded (provenance "dataset") is what every later one has to use.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch
from sqlalchemy import select

from dsd.regime import Regime
from dsd.store.engine import Store, reading
from dsd.store.schema import Regime as StoredRegime
from dsd.store.schema import Run
from dsd.train.data import Dataset, DatasetMissing, load


class OtherImages(DatasetMissing):
    """The images here are others than those of the regime's finished runs."""


@dataclass(frozen=True)
class SameImages:
    """Compares fingerprints; each is found out once, as the first finished run stays the first."""

    store: Store
    folder: Path
    first: dict[str, tuple[int, str]] = field(default_factory=dict)
    here: dict[str, str] = field(default_factory=dict)

    def check(self, regime: Regime, loaded: Dataset | None) -> None:
        """Raises OtherImages, before anything is claimed.

        Without finished runs there is nothing to compare, and nothing is read. Image folders are
        listed (names and sizes), not decoded.
        """
        known = self.first.get(regime.digest) or first_fingerprint(self.store, regime)
        if known is None:
            return
        self.first[regime.digest] = known
        run, theirs = known
        if regime.digest not in self.here:
            images = loaded or load(regime, self.folder, torch.device("cpu"))
            self.here[regime.digest] = images.fingerprint
        ours = self.here[regime.digest]
        if ours != theirs:
            raise OtherImages(
                f"Dataset '{regime.dataset}' in {self.folder.absolute()} holds other images than "
                f"the finished runs of regime '{regime.name}': here {ours}; run {run} used "
                f"{theirs}. Point --data at those, or give the regime another name."
            )


def first_fingerprint(store: Store, regime: Regime) -> tuple[int, str] | None:
    """The first finished run of a regime that says which images it saw, and what it says."""
    said = Run.provenance["dataset"].as_string()
    scored = (Run.state.in_(("done", "diverged")), said.is_not(None))
    runs = select(Run.id, said).join(StoredRegime, StoredRegime.id == Run.regime_id)
    first = runs.where(StoredRegime.digest == regime.digest, *scored)
    with reading(store) as connection:
        row = connection.execute(first.order_by(Run.finished, Run.id).limit(1)).first()
    return None if row is None else (row[0], row[1])
