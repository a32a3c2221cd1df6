"""Rebuild `fashion_mnist_5k.npz` from the four official idx files of Fashion-MNIST.

    python make_fashion_mnist_5k.py FOLDER_WITH_THE_IDX_GZ_FILES [OUT.npz]

The subset: the first 500 images of each class of the official training set and the first 200 of
each class of the official test set, in the official order. Nothing is drawn.
"""

from __future__ import annotations

import gzip
import hashlib
import sys
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
IDX_IMAGES, IDX_LABELS = 16, 8  # header bytes of the two kinds of idx file


def main(folder: Path, out: Path) -> None:
    """Write the subset and print the digests that SOURCE.md states."""
    train = first_of_each_class(*official(folder, "train"), per_class=500)
    test = first_of_each_class(*official(folder, "t10k"), per_class=200)
    names = ("train_images", "train_labels", "test_images", "test_labels")
    arrays = dict(zip(names, (*train, *test), strict=True))
    np.savez_compressed(out, **arrays)
    for name, array in arrays.items():
        print(f"{name} {array.shape} sha256 {hashlib.sha256(array.tobytes()).hexdigest()}")
    print(f"{out.name} {out.stat().st_size} bytes {hashlib.sha256(out.read_bytes()).hexdigest()}")


def official(folder: Path, split: str) -> tuple[Any, Any]:
    """Images (n, 28, 28) and labels (n,), uint8, of one official split."""
    images = gzip.decompress((folder / f"{split}-images-idx3-ubyte.gz").read_bytes())
    labels = gzip.decompress((folder / f"{split}-labels-idx1-ubyte.gz").read_bytes())
    pixels = np.frombuffer(images, np.uint8, offset=IDX_IMAGES).reshape(-1, 28, 28)
    return pixels, np.frombuffer(labels, np.uint8, offset=IDX_LABELS)


def first_of_each_class(images: Any, labels: Any, per_class: int) -> tuple[Any, Any]:
    """The first `per_class` images of every class, kept in the given order."""
    firsts = [np.flatnonzero(labels == label)[:per_class] for label in np.unique(labels)]
    kept = np.sort(np.concatenate(firsts))
    return images[kept], labels[kept]


if __name__ == "__main__":
    main(
        Path(sys.argv[1]), Path(sys.argv[2] if len(sys.argv) > 2 else HERE / "fashion_mnist_5k.npz")
    )
