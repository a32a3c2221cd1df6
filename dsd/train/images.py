"""A split of a dataset that is held whole as uint8, on the device that trains."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from dsd.regime import Regime
from dsd.train.share import WHOLE, Share


@dataclass(frozen=True)
class Images:
    """pixels (n, channels, height, width) uint8 and labels (n,) int64.

    `len` is n, batches are the `share` of each: see `dsd.train.ddp`.
    """

    pixels: Tensor
    labels: Tensor
    share: Share = WHOLE
    augmented: ClassVar[bool] = False  # crop and flip are still to be done

    def __len__(self) -> int:
        return len(self.labels)

    def batches(self, size: int, seed: int | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches to train on, shuffled by `seed`, or all images in order.

        In training a short last batch is dropped, as pycls does (unless there is no other).
        """
        if seed is None:
            for pixels, labels in zip(
                self.pixels.split(size), self.labels.split(size), strict=True
            ):
                mine = self.share.of(labels)
                if len(mine):
                    yield self.share.of(pixels), mine
            return
        for chosen in whole_batches(shuffled(len(self), seed, self.labels.device), size):
            mine = self.share.of(chosen)
            yield self.pixels[mine], self.labels[mine]


def shuffled(count: int, seed: int, device: torch.device) -> Tensor:
    """A permutation (count,) int64 that depends on the seed and the kind of device alone."""
    generator = torch.Generator(device).manual_seed(seed)
    return torch.randperm(count, generator=generator, device=device)


def whole_batches(order: Tensor, size: int) -> tuple[Tensor, ...]:
    """`order` cut into batches, the short last one dropped unless it is the only one."""
    return order[: max(len(order) // size * size, min(len(order), size))].split(size)


def tensor_of(array: Any) -> Tensor:
    """The same memory as a tensor. Of an array that is mapped read-only: not to be written to."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)


def as_trained(pixels: Tensor, regime: Regime) -> Tensor:
    """Training images before they are augmented: at the resolution, unless crops set it."""
    if regime.augment.crop == "random-resized":
        return padded(pixels, regime.resolution)
    return fitted(pixels, regime.resolution)


def as_tested(pixels: Tensor, regime: Regime) -> Tensor:
    """Resized and cropped as the regime tests; without either, fitted like the training images."""
    augment = regime.augment
    if not augment.test_resize and not augment.test_crop:
        return fitted(pixels, regime.resolution)
    crop = augment.test_crop or regime.resolution
    scaled = resized(pixels, augment.test_resize) if augment.test_resize else pixels
    return center_cropped(padded(scaled, crop), crop)


def fitted(pixels: Tensor, resolution: int) -> Tensor:
    """Square images (n, c, r, r) uint8: smaller ones padded, larger ones shrunk to r and cropped.

    Padding is black and the same on opposite sides (one more at the bottom and right if odd): 28
    pixels at r = 32 get 2 on each side. Shrinking sets the short side to r, antialiased.
    """
    return center_cropped(padded(resized(pixels, resolution, grow=False), resolution), resolution)


def resized(pixels: Tensor, short: int, grow: bool = True) -> Tensor:
    """Images whose short side is `short` pixels, by antialiased bilinear interpolation."""
    height, width = pixels.shape[2:]
    now = min(height, width)
    if now == short or (now < short and not grow):
        return pixels
    size = (short * height // now, short * width // now)
    chunks = [F.interpolate(part.float(), size, mode="bilinear", antialias=True)
              for part in pixels.split(1024)]  # fmt: skip
    return torch.cat([part.round().clamp(0, 255).to(torch.uint8) for part in chunks])


def padded(pixels: Tensor, least: int) -> Tensor:
    """Images at least `least` pixels high and wide, black around."""
    missing = [max(0, least - side) for side in pixels.shape[2:]]
    top, left = missing[0] // 2, missing[1] // 2
    return F.pad(pixels, (left, missing[1] - left, top, missing[0] - top))


def center_cropped(pixels: Tensor, size: int) -> Tensor:
    """The middle (size, size) of images at least that large."""
    top, left = ((side - size) // 2 for side in pixels.shape[2:])
    return pixels[:, :, top : top + size, left : left + size].contiguous()
