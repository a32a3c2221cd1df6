"""A split that lies on disk in ImageNet's layout: folder/<class>/<image>, read as it is trained on.

Worker processes decode, crop to the resolution and flip; the rest is batched on the device.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from dsd.errors import DsdError
from dsd.regime import Augment
from dsd.train.images import shuffled, whole_batches
from dsd.train.seeds import derive

SUFFIXES = (".jpeg", ".jpg", ".png", ".webp", ".bmp")


@dataclass(frozen=True)
class Listing:
    """The image files of a split, by class and name, and a digest of their names and sizes."""

    files: tuple[tuple[str, int], ...]  # path, label
    classes: tuple[str, ...]
    digest: str


@dataclass(frozen=True)
class Folder:
    """Images read from disk as training goes, cropped to `resolution`."""

    listing: Listing
    resolution: int
    augment: Augment
    device: torch.device
    training: bool
    augmented: ClassVar[bool] = True  # crop and flip happen while reading

    def __len__(self) -> int:
        return len(self.listing.files)

    def batches(self, size: int, seed: int | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """As `Images.batches`. An image's crop depends on the seed and the image, on no process."""
        if seed is None:
            order: Sequence[Tensor] = torch.arange(len(self)).split(size)
        else:
            order = whole_batches(shuffled(len(self), seed, torch.device("cpu")), size)
        self._plan.order, self._plan.seed = order, seed or 0
        for images, labels in self._loader:
            yield (
                images.to(self.device, non_blocking=True),
                labels.to(self.device, non_blocking=True),
            )

    @cached_property
    def _plan(self) -> _Plan:
        return _Plan()

    @cached_property
    def _loader(self) -> Any:
        on_gpu = self.device.type == "cuda"
        # On the CPU a worker owns one core: helpers would only take it from its neighbours.
        helpers = min(16, os.cpu_count() or 1) if on_gpu else 0
        return torch.utils.data.DataLoader(
            _Reader(self),
            batch_sampler=self._plan,
            num_workers=helpers,
            pin_memory=on_gpu,
            persistent_workers=helpers > 0,
            generator=torch.Generator(),  # else it draws from the stream of the network's weights
        )


class _Plan:
    """The batches of the next pass; the loader and its processes outlive the pass."""

    def __init__(self) -> None:
        self.order: Sequence[Tensor] = ()
        self.seed = 0

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        return ([(index, self.seed) for index in batch.tolist()] for batch in self.order)


class _Reader(torch.utils.data.Dataset[tuple[Tensor, int]]):
    """What a loading process runs: (index, seed) -> image (3, r, r) uint8 and label."""

    def __init__(self, split: Folder) -> None:
        self.files = split.listing.files
        self.transform = transform(split.augment, split.resolution, split.training)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, int]:
        path, label = self.files[key[0]]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(key[1], key[0]))
            return self.transform(read_image(path)), label


def transform(augment: Augment, resolution: int, training: bool) -> Any:
    """torchvision's transforms of one RGB image to a uint8 tensor (3, r, r)."""
    from torchvision.transforms import v2

    steps: list[Any] = []
    if not training:
        steps += [v2.Resize(augment.test_resize or resolution)]
        steps += [v2.CenterCrop(augment.test_crop or resolution)]
    elif augment.crop == "random-resized":
        steps += [v2.RandomResizedCrop(resolution)]
    else:
        steps += [v2.Resize(resolution), v2.CenterCrop(resolution)]
        steps += [v2.RandomCrop(resolution, padding=augment.pad)] if augment.crop == "pad" else []
    if training and augment.flip:
        steps += [v2.RandomHorizontalFlip()]
    return v2.Compose([*steps, v2.PILToTensor()])


def read_image(path: str) -> Any:
    """The image as RGB. Raises DsdError, with the file's name, if it cannot be decoded."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except (OSError, SyntaxError, ValueError) as error:
        raise DsdError(f"{path}: not a readable image: {error}") from None


def listed(folder: Path) -> Listing:
    """Every image of a split, classes and files in alphabetical order. Raises DsdError if none."""
    classes = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
    files: list[tuple[str, int]] = []
    digest = hashlib.sha256()
    for label, name in enumerate(classes):
        for entry in sorted(os.scandir(folder / name), key=lambda entry: entry.name):
            if entry.name.lower().endswith(SUFFIXES):
                files.append((entry.path, label))
                digest.update(f"{name}/{entry.name} {entry.stat().st_size}\n".encode())
    if not files:
        raise DsdError(f"{folder}: no images; needs {folder}/<class>/<image>.JPEG (or .png ...).")
    return Listing(tuple(files), tuple(classes), digest.hexdigest()[:16])
