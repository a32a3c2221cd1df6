"""Real JPEGs in ImageNet's layout: pieces of a photograph that matplotlib ships."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib import cbook
from PIL import Image, ImageEnhance


def write_photos(
    root: Path, classes: int = 2, train: int = 6, val: int = 3, sides: tuple[int, int] = (90, 400)
) -> Path:
    """root/{train,val}/<class>/*.JPEG of sizes that differ; classes differ in brightness."""
    rng = np.random.default_rng(0)
    with cbook.get_sample_data("grace_hopper.jpg") as file:
        photo = Image.open(file).convert("RGB")
    for split, count in (("train", train), ("val", val)):
        for label in range(classes):
            folder = root / split / f"n{label:02}"
            folder.mkdir(parents=True)
            for index in range(count):
                width, height = (int(side) for side in rng.integers(*sides, 2))
                left = int(rng.integers(photo.width - width + 1))
                top = int(rng.integers(photo.height - height + 1))
                piece = photo.crop((left, top, left + width, top + height))
                lit = ImageEnhance.Brightness(piece).enhance(0.6 + 0.8 * label / classes)
                lit.save(folder / f"n{label:02}_{index}.JPEG", quality=92)
    return root


def truncate(path: Path) -> Path:
    """Cut a file in its middle."""
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    return path
