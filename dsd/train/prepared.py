"""What a prepared set is: ImageNet's layout made smaller once, with a manifest of what was done.

Smaller images change results a little, so a prepared set is a dataset of its own name, such as
imagenet-short256-q90: only a regime that says so is trained on it. It knows no torch.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dsd.errors import DsdError
from dsd.train.listing import Listing, fingerprint, splits_of

MANIFEST = "prepared.json"
FORMAT = 1
SPLITS = ("train", "val")


@dataclass(frozen=True)
class Preparation:
    """How each image is made smaller: "jpeg" or "uint8", the side in pixels, JPEG's quality."""

    kind: str
    side: int
    quality: int = 0

    @property
    def suffix(self) -> str:
        """What it adds to the name of the dataset."""
        jpeg = self.kind == "jpeg"
        return f"short{self.side}-q{self.quality}" if jpeg else f"{self.side}px"

    @property
    def words(self) -> str:
        """What it does, for a fingerprint."""
        if self.kind == "jpeg":
            return f"short side {self.side}, JPEG quality {self.quality}"
        return f"short side {self.side}, centre {self.side} x {self.side}, uint8"

    @property
    def row(self) -> int:
        """Bytes of an image in a map."""
        return 3 * self.side * self.side


@dataclass(frozen=True)
class Manifest:
    """What lies in a prepared set. Lists go by split: train, then val.

    `slots` counts the rows of a map, the empty ones of unreadable images among them; `digests` are
    of the files of digests, which have a line (name, bytes, SHA-256) an image.
    """

    name: str
    preparation: Preparation
    source: str  # its fingerprint
    classes: tuple[str, ...]
    counts: tuple[int, int]
    slots: tuple[int, int]
    bytes: tuple[int, int]
    names: tuple[str, str]  # of a JPEG copy: digests of its files' names and sizes
    digests: tuple[str, str]
    unreadable: tuple[str, ...]
    made_with: str
    format: int = FORMAT

    @property
    def fingerprint(self) -> str:
        """Which images these are, and what was done to them."""
        base = fingerprint(sum(self.counts), len(self.classes), "".join(self.digests).encode())
        left = f", without {len(self.unreadable)} unreadable" if self.unreadable else ""
        return f"{base}, prepared: {self.preparation.words}, from {self.source}{left}"

    def as_json(self) -> str:
        """Its file."""
        return json.dumps(asdict(self), indent=1) + "\n"


def read_manifest(root: Path) -> Manifest | None:
    """The manifest of a folder, None if it has none. Raises DsdError for one that is of no use."""
    path = root / MANIFEST
    if not path.is_file():
        return None
    try:
        known: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        preparation = Preparation(**known.pop("preparation"))
        lists: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in known.items()
        }
        manifest = Manifest(preparation=preparation, **lists)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DsdError(f"{path}: not a manifest of this dsd ({error}): prepare again.") from None
    if manifest.format != FORMAT:
        raise DsdError(f"{path}: format {manifest.format}, this dsd reads {FORMAT}: prepare again.")
    return manifest


def checked(root: Path, dataset: str) -> Manifest | None:
    """The manifest of a folder; None if it has none, and so holds images as they came.

    Raises DsdError where a map is not whole, by the sizes of its files (`images_of` looks at a
    copy's), or where another dataset's name was asked for: what was done to the images would not
    stand in the regime.
    """
    manifest = read_manifest(root)
    if manifest is None:
        return None
    if manifest.name != dataset:
        raise DsdError(
            f"{root} holds the prepared set '{manifest.name}', not '{dataset}': a regime has to say"
            f' so by dataset = "{manifest.name}" (and the folder has to have that name).'
        )
    if manifest.preparation.kind == "uint8":
        _refuse(root, manifest, _map_amiss(root, manifest))
    return manifest


def images_of(root: Path, manifest: Manifest | None) -> tuple[Listing, Listing]:
    """The images of a folder. Raises DsdError where a copy's are not those of its manifest."""
    listings = splits_of(root)
    if manifest:
        parts = zip(SPLITS, listings, manifest.names, manifest.counts, strict=True)
        for split, found, names, count in parts:
            there = f"{split}/ has {len(found.files)} images, should have {count}, or other ones."
            _refuse(root, manifest, there if found.digest != names else "")
    return listings


def _refuse(root: Path, manifest: Manifest, wrong: str) -> None:
    if wrong:
        raise DsdError(f"{root} is not the set that its manifest describes: {wrong} "
                       f"`dsd data verify {manifest.name}` names the files.")  # fmt: skip


def _map_amiss(root: Path, manifest: Manifest) -> str:
    for split, slots in zip(SPLITS, manifest.slots, strict=True):
        path, size = map_file(root, split), slots * manifest.preparation.row
        there = path.stat().st_size if path.is_file() else 0
        if there != size:
            return f"{path.name} has {there} bytes, should have {size}."
        if not labels_file(root, split).is_file():
            return f"{labels_file(root, split).name} is missing."
    return ""


def map_file(root: Path, split: str) -> Path:
    """The images of a split: (slots, 3, side, side) uint8, nothing else."""
    return root / f"{split}.u8"


def labels_file(root: Path, split: str) -> Path:
    """Their labels (slots,) int64 as .npy; -1 where an image could not be read."""
    return root / f"{split}-labels.npy"


def digests_file(root: Path, split: str) -> Path:
    """A line an image: name, bytes and SHA-256 of what was written, divided by tabs."""
    return root / f"{split}-images.tsv"


def partial_of(root: Path) -> Path:
    """Where a set lies while it is being prepared."""
    return root.with_name(f"{root.name}.partial")


def unfinished(root: Path) -> str:
    """What to do about a set whose preparation was interrupted; "" where there is none."""
    partial = partial_of(root)
    if not partial.is_dir():
        return ""
    return (f"{partial} is not finished: the `dsd data prepare` that began it goes on where it "
            "was.")  # fmt: skip
