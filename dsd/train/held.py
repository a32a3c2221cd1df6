"""One copy of a dataset for all processes of a machine: files that each maps into its memory.

The kernel keeps the pages of a mapped file once, however many processes read them. Nothing has to
run for it, and nothing is left behind but the files.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dsd.train.files import rename_folder, write_whole
from dsd.train.memory import return_freed_memory

FORMAT = 1
NOTE = "held.json"
LEFT_OVER_S = 3600.0  # a folder of another process that is older was left by a killed one


@dataclass(frozen=True)
class Held:
    """Arrays by name, and the fingerprint of the images that they were made of."""

    arrays: dict[str, Any]
    fingerprint: str


def in_common(place: Path, make: Callable[[], Held]) -> Held:
    """What `make` gives, mapped from files in the folder `place`, which the first user writes.

    Files that are not what was written are made anew. Where they cannot be written (a full disk, a
    folder that may only be read) the result is what was made: a private copy.
    """
    kept = _opened(place)
    if kept is not None:
        return kept
    made = make()
    return_freed_memory()
    try:
        _keep(place, made)
    except OSError:
        return made
    kept = _opened(place)
    return kept or made


def _opened(place: Path) -> Held | None:
    try:
        note = json.loads((place / NOTE).read_text(encoding="utf-8"))
        arrays = {name: np.load(place / f"{name}.npy", mmap_mode="r") for name in note["digests"]}
        if {name: _digest(array) for name, array in arrays.items()} != note["digests"]:
            raise ValueError("other content")
        return Held(arrays, note["fingerprint"])
    except FileNotFoundError:
        return None
    except Exception:  # damaged bytes fail in their own ways
        shutil.rmtree(place, ignore_errors=True)
        return None


def _keep(place: Path, held: Held) -> None:
    """Write the folder beside, then give it its name; the first of several processes wins."""
    _clear(place)
    partial = place.with_name(f"{place.name}.{os.getpid()}.partial")
    try:
        partial.mkdir(parents=True, exist_ok=True)
        for name, array in held.arrays.items():
            whole = np.ascontiguousarray(array)
            write_whole(partial / f"{name}.npy", lambda file, a=whole: np.save(file, a))  # type: ignore[misc]
        digests = {name: _digest(array) for name, array in held.arrays.items()}
        note = {"format": FORMAT, "fingerprint": held.fingerprint, "digests": digests}
        write_whole(partial / NOTE, lambda file: file.write(json.dumps(note).encode()))
        with contextlib.suppress(FileExistsError):
            _take_name(partial, place)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _take_name(partial: Path, place: Path) -> None:
    try:
        rename_folder(partial, place)
    except OSError:
        if not place.is_dir():
            raise
        raise FileExistsError(place) from None


def _clear(place: Path) -> None:
    """Remove what killed processes left."""
    for left in place.parent.glob(f"{place.name}.*.partial"):
        if time.time() - left.stat().st_mtime > LEFT_OVER_S:
            shutil.rmtree(left, ignore_errors=True)


def _digest(array: Any) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()
