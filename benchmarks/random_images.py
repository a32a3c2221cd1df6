"""Random images with labels, prepared by `dsd data prepare` as one array of pixels.

Speed does not depend on what images show. Nothing can be learned from these: errors mean nothing.
"""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from dsd_study import dsd
from PIL import Image


@dataclass(frozen=True)
class RandomSet:
    """How many images, of how many classes, and their side in pixels."""

    name: str
    side: int
    classes: int
    train: int
    test: int

    @property
    def dataset(self) -> str:
        """Its name in a regime."""
        return f"{self.name}-{self.side}px"


def prepared(folder: Path, wanted: RandomSet) -> str:
    """Write the set into folder/data and return its name in a regime."""
    source = folder / f"{wanted.name}-source"
    for split in ("train", "val"):
        for label in range(wanted.classes):
            (source / split / f"n{label:04}").mkdir(parents=True)
    jobs = [("train", i) for i in range(wanted.train)] + [("val", i) for i in range(wanted.test)]
    write = partial(_write, source=source, wanted=wanted)
    with ProcessPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        list(pool.map(write, jobs, chunksize=256))
    dsd(folder, "data", "prepare", wanted.name, "--from", str(source), "--size", str(wanted.side))
    return wanted.dataset


def _write(job: tuple[str, int], source: Path, wanted: RandomSet) -> None:
    """One image: noise of an eighth of the side, enlarged, so that it is a small file."""
    split, index = job
    rng = np.random.default_rng((len(split), index))
    small = max(1, wanted.side // 8)
    noise = Image.fromarray(rng.integers(0, 256, (small, small, 3), dtype=np.uint8))
    image = noise.resize((wanted.side, wanted.side), Image.Resampling.BILINEAR)
    image.save(source / split / f"n{index % wanted.classes:04}" / f"{index}.jpg", quality=85)
