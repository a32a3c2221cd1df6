"""A split that lies on disk in ImageNet's layout: folder/<class>/<image>, read as it is trained on.

Worker processes decode, crop to the resolution and flip; the rest is batched on the device. What
does it is torchvision, or NVIDIA DALI (see `reader`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor

from dsd.regime import Augment
from dsd.train.images import shuffled, whole_batches
from dsd.train.listing import Listing, UnreadableImage, read_image
from dsd.train.parallel import cores
from dsd.train.prefetch import on_device
from dsd.train.seeds import derive
from dsd.train.share import WHOLE, Share

Key = tuple[int, int, str, int]  # index, the pass's seed, path, label


@dataclass(frozen=True)
class Folder:
    """Images read from disk as training goes, cropped to `resolution`."""

    listing: Listing
    resolution: int
    augment: Augment
    device: torch.device
    training: bool
    readers: int = 0  # processes that read beside the one that trains
    reader: str = "torchvision"  # or "dali"
    share: Share = WHOLE  # of each batch: only these images are read
    augmented: ClassVar[bool] = True  # crop and flip happen while reading

    def __len__(self) -> int:
        return len(self.listing.files)

    def batches(self, size: int, seed: int | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """As `Images.batches`. An image's crop depends on the seed and the image, on no process."""
        if seed is None:
            order: Sequence[Tensor] = torch.arange(len(self)).split(size)
        else:
            order = whole_batches(shuffled(len(self), seed, torch.device("cpu")), size)
        mine = [batch for batch in map(self.share.of, order) if len(batch)]
        self._plan.order, self._plan.seed = mine, seed or 0
        yield from on_device(map(_readable, self._loader), self.device)

    @cached_property
    def _plan(self) -> _Plan:
        return _Plan(self.listing.files)

    @cached_property
    def _loader(self) -> Any:
        on_gpu = self.device.type == "cuda"
        return torch.utils.data.DataLoader(
            self._source,
            batch_sampler=self._plan,
            collate_fn=_collated,
            num_workers=self.readers,
            pin_memory=on_gpu,
            persistent_workers=self.readers > 0,
            generator=torch.Generator(),  # else it draws from the stream of the network's weights
            **self._processes,
        )

    @cached_property
    def _source(self) -> torch.utils.data.Dataset[Any]:
        plain = Plain(transform(self.augment, self.resolution, self.training))
        if self.reader != "dali":
            return plain
        from dsd.train.dali import DaliReader

        return DaliReader(plain)

    @property
    def _processes(self) -> dict[str, Any]:
        """How reading processes start, if not as copies of this one."""
        if self.reader != "dali" or not self.readers:
            return {}
        from dsd.train.dali import leave_with_parent, server

        return {"multiprocessing_context": server(), "worker_init_fn": leave_with_parent}


def readers(device: torch.device) -> int:
    """Reading processes for a worker on this device.

    On the CPU a worker owns one core: they would only take it from its neighbours.
    """
    return min(16, cores()) if device.type == "cuda" else 0


class _Plan:
    """The batches of the next pass; the loader and its processes outlive the pass.

    An image is its index, the pass's seed, its path and its label: a reading process holds no list.
    """

    def __init__(self, files: Sequence[tuple[str, int]]) -> None:
        self.files = files
        self.order: Sequence[Tensor] = ()
        self.seed = 0

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[list[Key]]:
        for batch in self.order:
            yield [(index, self.seed, *self.files[index]) for index in batch.tolist()]


def _collated(items: list[Any]) -> Any:
    """A batch, or why there is none: raised in a loading process, it would lose its file's name."""
    for item in items:
        if isinstance(item, UnreadableImage):
            return item
    return torch.utils.data.default_collate(items)


def _readable(batch: Any) -> tuple[Tensor, Tensor]:
    """The batch's images and labels. Raises the error that is in their place."""
    if isinstance(batch, UnreadableImage):
        raise batch
    images, labels = batch
    return images, labels


class Plain(torch.utils.data.Dataset[Any]):
    """What a loading process runs: torchvision's transform of Pillow's image.

    Gives an image (3, r, r) uint8 and its label; of an image that cannot be read, the error.
    """

    def __init__(self, transform: Any) -> None:
        self.transform = transform

    def __getitem__(self, key: Key) -> tuple[Tensor, int] | UnreadableImage:
        _, _, path, label = key
        with self.stream(key):
            try:
                return self.transform(read_image(path)), label
            except UnreadableImage as error:
                return error

    @contextmanager
    def stream(self, key: Key) -> Iterator[None]:
        """torch's CPU generator as the image's own under the pass's seed, then as it was."""
        with torch.random.fork_rng(devices=[]):
            # The stream of torch.manual_seed, which takes 0.15 ms for seeding GPUs not in use yet.
            torch.default_generator.manual_seed(derive(key[1], key[0]))
            yield


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
