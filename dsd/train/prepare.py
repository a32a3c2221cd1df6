"""Writing a prepared set once, in all processes of a machine, going on after any interruption.

Everything lies in <name>.partial until it is whole. A chunk of images whose record is there is not
done again; the last step verifies the counts, writes the manifest and gives the folder its name.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from dsd.errors import DsdError
from dsd.train.files import lock, rename_folder, sync_folder, write_whole
from dsd.train.listing import Listing, fingerprint_of, listed
from dsd.train.parallel import each
from dsd.train.prepared import (
    MANIFEST,
    SPLITS,
    Manifest,
    Preparation,
    digests_file,
    labels_file,
    map_file,
    partial_of,
)  # fmt: skip
from dsd.train.shrink import Chunk, Written, recorded, write_chunk

CHUNK = 256  # images that are written and recorded together
Tick = Callable[[int, int], None]  # images done, images in all


class Unreadable(DsdError):
    """Images of the source cannot be read; `images` says which, and why."""

    def __init__(self, images: Sequence[str]) -> None:
        many = f"{len(images)} images" if len(images) != 1 else "1 image"
        super().__init__(f"{many} cannot be read: no set was made. Mend or remove them, or leave "
                         "them out with --without-unreadable; the rest is not done again."
                         )  # fmt: skip
        self.images = tuple(images)


@dataclass(frozen=True)
class Part:
    """A split that is written whole: its images, and those that are left out."""

    images: tuple[Written, ...]
    names: str
    digest: str

    @property
    def kept(self) -> list[Written]:
        """The images that are there."""
        return [one for one in self.images if not one.error]


def prepare(
    source: Path, listings: Sequence[Listing], target: Path, preparation: Preparation,
    without_unreadable: bool = False, processes: int | None = None,
    tick: Tick = lambda done, of: None, chunk: int = CHUNK,
) -> Manifest:  # fmt: skip
    """Write the set `target` from the training and the test images of the folder `source`.

    Raises Unreadable if images are and are not to be left out, DsdError if the disk is too small or
    another process prepares the same set. What has been written is kept for the next call.
    """
    if target.exists():
        raise DsdError(f"{target} is in the way: it is not this set. Move it away.")
    root = partial_of(target)
    (root / "chunks").mkdir(parents=True, exist_ok=True)
    with lock(root / "lock", f"{target.name} is being prepared by another process."):
        chunks = [list(chunks_of(*split, chunk)) for split in zip(SPLITS, listings, strict=True)]
        _make_room(root, preparation, listings)
        _write(root, preparation, [*chunks[0], *chunks[1]], processes, tick)
        images = [[one for chunk in part for one in recorded(chunk.record(root, preparation))]
                  for part in chunks]  # fmt: skip
        missing = [one.error.removeprefix(f"{source}/") for part in images for one in part
                   if one.error]  # fmt: skip
        if missing and not without_unreadable:
            raise Unreadable(missing)
        parts = [_finished(root, preparation, *split)
                 for split in zip(SPLITS, listings, images, strict=True)]  # fmt: skip
        manifest = _manifest(target.name, preparation, listings, parts, missing)
        write_whole(root / MANIFEST, lambda file: file.write(manifest.as_json().encode()))
        rename_folder(root, target)
        (target / "lock").unlink()
    shutil.rmtree(target / "chunks", ignore_errors=True)
    return manifest


def chunks_of(split: str, listing: Listing, size: int) -> Iterator[Chunk]:
    """The images of a split, so many at a time."""
    pairs = zip(listing.files, listing.sizes, strict=True)
    images = [(path, size, label) for (path, label), size in pairs]
    for first in range(0, len(images), size):
        yield Chunk(split, first, tuple(images[first : first + size]))


def _make_room(root: Path, preparation: Preparation, listings: Sequence[Listing]) -> None:
    """Give the files of a map their size. Raises DsdError if the disk cannot hold them."""
    if preparation.kind != "uint8":
        return
    files = [map_file(root, split) for split in SPLITS]
    sizes = [len(listing.files) * preparation.row for listing in listings]
    held = sum(getattr(file.stat(), "st_blocks", 0) * 512 for file in files if file.exists())
    free = shutil.disk_usage(root).free
    if sum(sizes) - held > free:
        raise DsdError(f"{root.parent} has {free / 1e9:.1f} GB free; these images take "
                       f"{sum(sizes) / 1e9:.1f} GB at {preparation.side} px.")  # fmt: skip
    for file, size in zip(files, sizes, strict=True):
        with file.open("ab") as opened:
            opened.truncate(size)


def _write(
    root: Path, preparation: Preparation, chunks: Sequence[Chunk], processes: int | None, tick: Tick
) -> None:
    """Write the chunks that have no record yet, and those with images that could not be read."""

    def written(chunk: Chunk) -> bool:
        images = recorded(chunk.record(root, preparation))
        return bool(images) and not any(one.error for one in images)

    left = [chunk for chunk in chunks if not written(chunk)]
    total = sum(len(chunk.images) for chunk in chunks)
    done = total - sum(len(chunk.images) for chunk in left)
    tick(done, total)
    if left:
        for chunk, _ in each(partial(write_chunk, root, preparation), left, processes):
            done += len(chunk.images)
            tick(done, total)


def _finished(
    root: Path, preparation: Preparation, split: str, listing: Listing, images: list[Written]
) -> Part:
    """Verify what was written of a split, and describe it."""
    if len(images) != len(listing.files):
        raise DsdError(f"{root}: {len(images)} of {len(listing.files)} images of {split} are there:"
                       " run the same command again.")  # fmt: skip
    kept = [one for one in images if not one.error]
    names = ""
    if preparation.kind == "jpeg":
        names = _verified(root, split, listing, kept)
    else:
        labels = [-1 if one.error else label
                  for one, (_, label) in zip(images, listing.files, strict=True)]  # fmt: skip
        array = np.array(labels, np.int64)
        write_whole(labels_file(root, split), lambda file: np.save(file, array))
    lines = "".join(f"{one.name}\t{one.size}\t{one.digest}\n" for one in images).encode()
    write_whole(digests_file(root, split), lambda file: file.write(lines))
    return Part(tuple(images), names, hashlib.sha256(lines).hexdigest())


def _verified(root: Path, split: str, listing: Listing, kept: list[Written]) -> str:
    """The digest of a copy's names and sizes, once its files are those recorded and no others.

    A class all of whose images are unreadable keeps its folder, and so the others their labels.
    """
    for name in listing.classes:
        (root / split / name).mkdir(parents=True, exist_ok=True)
    wanted = {f"{split}/{one.name}": one.size for one in kept}
    found = {path.relative_to(root).as_posix(): path.stat().st_size
             for path in (root / split).rglob("*") if path.is_file()}  # fmt: skip
    for name in found.keys() - wanted.keys():  # of images that the source no longer has
        (root / name).unlink()
    amiss = sorted(name for name, size in wanted.items() if found.get(name) != size)
    if amiss:
        shutil.rmtree(root / "chunks")
        raise DsdError(f"{root / amiss[0]} is not as it was written ({len(amiss)} such): run the "
                       "same command again, which writes all anew.")  # fmt: skip
    for name in ("", *listing.classes):
        sync_folder(root / split / name)
    return listed(root / split).digest


def _manifest(
    name: str, preparation: Preparation, listings: Sequence[Listing], parts: Sequence[Part],
    missing: Sequence[str],
) -> Manifest:  # fmt: skip
    import PIL

    train, val = parts
    return Manifest(
        name, preparation, fingerprint_of(listings[0], listings[1]), listings[0].classes,
        counts=(len(train.kept), len(val.kept)),
        slots=(len(train.images), len(val.images)),
        bytes=(sum(one.size for one in train.kept), sum(one.size for one in val.kept)),
        names=(train.names, val.names), digests=(train.digest, val.digest),
        unreadable=tuple(missing), made_with=f"Pillow {PIL.__version__}",
    )  # fmt: skip
