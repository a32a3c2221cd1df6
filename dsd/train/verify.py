"""Looking at every image of a dataset: each that cannot be read is named, and why."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dsd.train.listing import UnreadableImage, read_image, splits_of
from dsd.train.parallel import each
from dsd.train.prepared import SPLITS, Manifest, digests_file, labels_file, map_file

CHUNK = 256  # images that one process looks at before it says so
Tick = Callable[[int, int], None]  # images done, images in all
Row = tuple[str, int, str, str]  # split, slot, name, digest


def unreadable(root: Path, processes: int | None = None, tick: Tick = lambda *_: None) -> list[str]:
    """What is wrong with a folder in ImageNet's layout: each image is decoded."""
    splits = splits_of(root)
    paths = [path for listing in splits for path, _ in listing.files]
    empty = [f"{root / split / name}: a class without images"
             for split, listing in zip(SPLITS, splits, strict=True)
             for name in listing.without_images]  # fmt: skip
    return empty + _amiss(_not_decoded, paths, processes, tick)


def altered(
    root: Path, manifest: Manifest, processes: int | None = None, tick: Tick = lambda *_: None
) -> list[str]:
    """What is not as it was written in a prepared set: each image is compared with its digest."""
    found: list[str] = []
    rows: list[Row] = []
    for split, digest in zip(SPLITS, manifest.digests, strict=True):
        path = digests_file(root, split)
        lines = path.read_bytes() if path.is_file() else b""
        if hashlib.sha256(lines).hexdigest() != digest:
            found.append(f"{path}: not as it was written: the images of {split} cannot be judged")
            continue
        images = [tuple(line.split("\t")) for line in lines.decode().split("\n")[:-1]]
        rows += [(split, slot, name, wanted)
                 for slot, (name, _, wanted) in enumerate(images) if wanted]  # fmt: skip
        names = [name for name, _, wanted in images if wanted]
        if manifest.preparation.kind == "jpeg":
            found += _strangers(root / split, set(names))
        else:
            wanted = [manifest.classes.index(name.split("/")[0]) if digest else -1
                      for name, _, digest in images]  # fmt: skip
            found += _labels_altered(labels_file(root, split), wanted)
    look = _jpegs_altered if manifest.preparation.kind == "jpeg" else _rows_altered
    return found + _amiss(partial(look, root, manifest.preparation.row), rows, processes, tick)


def _strangers(folder: Path, names: set[str]) -> list[str]:
    files = [f"{path.parent.name}/{path.name}" for path in folder.glob("*/*")]
    return [f"{folder / name}: not of this set" for name in files if name not in names]


def _labels_altered(path: Path, wanted: list[int]) -> list[str]:
    try:
        same = np.load(path, allow_pickle=False).tolist() == wanted
    except (OSError, ValueError, EOFError):
        same = False
    return [] if same else [f"{path}: not as it was written"]


def _amiss(
    look: Callable[[Sequence[Any]], list[str]], what: Sequence[Any], processes: int | None,
    tick: Tick,
) -> list[str]:  # fmt: skip
    """What `look` finds, over all of `what` in chunks, sorted."""
    chunks = [what[start : start + CHUNK] for start in range(0, len(what), CHUNK)]
    found: list[str] = []
    done = 0
    for chunk, wrong in each(look, chunks, processes):
        found += wrong
        done += len(chunk)
        tick(done, len(what))
    return sorted(found)


def _not_decoded(paths: Sequence[str]) -> list[str]:
    found = []
    for path in paths:
        try:
            read_image(path)
        except UnreadableImage as error:
            found.append(str(error))
    return found


def _jpegs_altered(root: Path, size: int, rows: Sequence[Row]) -> list[str]:
    found = []
    for split, _, name, wanted in rows:
        path = root / split / name
        if not path.is_file():
            found.append(f"{path}: missing")
        elif hashlib.sha256(path.read_bytes()).hexdigest() != wanted:
            found.append(f"{path}: not as it was written")
    return found


def _rows_altered(root: Path, size: int, rows: Sequence[Row]) -> list[str]:
    found = []
    for split, slot, name, wanted in rows:
        path = map_file(root, split)
        with path.open("rb") as file:
            file.seek(slot * size)
            if hashlib.sha256(file.read(size)).hexdigest() != wanted:
                found.append(f"{path}: row {slot} ({name}): not as it was written")
    return found
