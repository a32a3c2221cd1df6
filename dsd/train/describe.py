"""What is known of a dataset without training on it: for a list, before a study begins."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dsd.errors import DsdError
from dsd.regime import Regime
from dsd.train import official
from dsd.train.files import size_of
from dsd.train.listing import fingerprint_of
from dsd.train.places import OFFICIAL, SHIPPED, DatasetMissing, candidates, place
from dsd.train.prepared import MANIFEST, checked, images_of


@dataclass(frozen=True)
class Description:
    """A dataset: which regimes name it, where it was looked for, and what is there.

    `problem` is "" where the images can be trained on; counts and bytes are None where unknown.
    """

    dataset: str
    regimes: tuple[str, ...]
    looked: tuple[str, ...]
    place: str = ""
    problem: str = ""
    images: int | None = None
    classes: int | None = None
    fingerprint: str = ""
    bytes: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def named(regimes: dict[str, Regime], folder: Path) -> dict[str, tuple[str, ...]]:
    """Dataset -> the regimes that name it; also the prepared sets that lie in the folder."""
    found: dict[str, list[str]] = {}
    for name, regime in regimes.items():
        found.setdefault(regime.dataset, []).append(name)
    for path in sorted(folder.glob(f"*/{MANIFEST}")):
        if not path.parent.name.endswith(".partial"):
            found.setdefault(path.parent.name, [])
    return {dataset: tuple(names) for dataset, names in sorted(found.items())}


def describe(dataset: str, regimes: tuple[str, ...], folder: Path) -> Description:
    """Look for a dataset and, if it is there, take its fingerprint."""
    looked = (SHIPPED[dataset],) if dataset in SHIPPED else candidates(dataset, folder)
    bare = Description(dataset, regimes, tuple(map(str, looked)))
    try:
        root = place(dataset, folder)
    except DatasetMissing:
        return Description(**{**asdict(bare), "problem": "missing"})
    known = {**asdict(bare), "place": str(root), "bytes": size_of(root)}
    try:
        mark = fingerprint(dataset, root)
    except (DsdError, OSError) as error:
        return Description(**{**known, "problem": " ".join(str(error).split())})
    images, classes = (int(part.split()[0]) for part in mark.split(", ")[:2])
    return Description(**{**known, "fingerprint": mark, "images": images, "classes": classes})


def fingerprint(dataset: str, root: Path) -> str:
    """The fingerprint that runs on these images are stored with. Raises DsdError."""
    if dataset in SHIPPED:
        with np.load(root, allow_pickle=False) as file:
            return official.mark(dict(file.items()))
    if dataset in OFFICIAL:
        return official.mark(official.read(dataset, root))
    manifest = checked(root, dataset)
    if manifest and manifest.preparation.kind == "uint8":
        return manifest.fingerprint
    listings = images_of(root, manifest)
    return manifest.fingerprint if manifest else fingerprint_of(*listings)
