"""What happens to training images, a batch at a time, on the device, random per image.

Crops and flips map uint8 to uint8; lighting and normalisation are one multiplication and addition
at the end. Each has the distribution of torchvision's transform of one image. Where ranks share a
batch, each draws the numbers of all of it and uses those of its own images.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from dsd.regime import Augment
from dsd.train.share import WHOLE, Share

SCALE = (0.08, 1.0)  # share of the area that a random resized crop keeps
RATIO = (3 / 4, 4 / 3)  # its width over its height
TRIES = 10
# Principal components of ImageNet's RGB values in 0..1 (AlexNet, section 4.1; values as in pycls).
EIGENVALUES = (0.2175, 0.0188, 0.0045)
EIGENVECTORS = ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))


@dataclass(frozen=True)
class Normalization:
    """images uint8 -> (images / 255 + light - mean) / std, with its constants on the device."""

    scale: Tensor  # (1, c, 1, 1): 1 / (255 std)
    shift: Tensor  # (1, c, 1, 1): -mean / std
    light: Tensor | None  # (3, 3): eigenvector * eigenvalue * lighting / std

    @classmethod
    def of(cls, augment: Augment, device: torch.device) -> Normalization:
        """The constants of a regime's augmentation."""
        mean, std = (torch.tensor(values) for values in (augment.mean, augment.std))
        light = None
        if augment.lighting and len(mean) == 3:
            basis = torch.tensor(EIGENVECTORS) * torch.tensor(EIGENVALUES)
            light = (augment.lighting * basis / std[:, None]).to(device)
        scale, shift = (1 / (255 * std)).view(1, -1, 1, 1), (-mean / std).view(1, -1, 1, 1)
        return cls(scale.to(device), shift.to(device), light)

    def __call__(
        self, images: Tensor, generator: Generator | None = None, share: Share = WHOLE
    ) -> Tensor:
        """Float images (n, c, h, w); with a generator and lighting on, lit at random."""
        shift = self.shift
        if self.light is not None and generator is not None:
            n = share.whole(len(images))
            alpha = torch.randn(n, 3, generator=generator, device=images.device)
            shift = shift + (share.of(alpha) @ self.light.T)[:, :, None, None]
        given = images if images.is_cuda else images.float()  # converted as it is read, there
        return torch.addcmul(shift, given, self.scale)


def augmented(
    images: Tensor, augment: Augment, resolution: int, generator: Generator, share: Share = WHOLE
) -> Tensor:
    """Cropped and flipped training images (n, c, resolution, resolution), uint8."""
    if augment.crop == "pad":
        images = pad_crop(images, augment.pad, generator, share)
    elif augment.crop == "random-resized":
        images = random_resized_crop(images, resolution, generator, share)
    return flip(images, generator, share) if augment.flip else images


def pad_crop(images: Tensor, pad: int, generator: Generator, share: Share = WHOLE) -> Tensor:
    """`pad` black pixels on every side, then a random window of the old size."""
    n, c, h, w = images.shape
    device = images.device
    top, left = (
        share.of(
            torch.randint(2 * pad + 1, (share.whole(n), 1), generator=generator, device=device)
        )
        for _ in range(2)
    )
    rows = (top + torch.arange(h, device=device))[:, None, :, None]
    columns = (left + torch.arange(w, device=device))[:, None, None, :]
    image = torch.arange(n, device=device)[:, None, None, None]
    channel = torch.arange(c, device=device)[None, :, None, None]
    return F.pad(images, (pad, pad, pad, pad))[image, channel, rows, columns]


def flip(images: Tensor, generator: Generator, share: Share = WHOLE) -> Tensor:
    """Each image mirrored left to right with probability 1/2."""
    n = share.whole(len(images))
    chosen = torch.rand(n, 1, 1, 1, generator=generator, device=images.device) < 0.5
    return torch.where(share.of(chosen), images.flip(3), images)


def random_resized_crop(
    images: Tensor, size: int, generator: Generator, share: Share = WHOLE
) -> Tensor:
    """A random box of each image, resized to (size, size) by antialiased bilinear interpolation.

    Resizing is linear in rows and in columns: two batched matrix products do every box at once.
    """
    n, c, h, w = images.shape
    boxes = random_boxes(share.whole(n), h, w, generator, images.device)
    top, left, height, width = (share.of(side) for side in boxes)
    kind = product_type(images.device)
    rows = resize_weights(top, height, h, size, kind)
    columns = resize_weights(left, width, w, size, kind)
    # With the channels beside the columns no weights have to be copied for each channel.
    lines = images.permute(0, 2, 1, 3).to(kind, memory_format=torch.contiguous_format)
    narrow = lines.view(n, h * c, w) @ columns.transpose(1, 2)
    out = (rows @ narrow.view(n, h, c * size)).view(n, size, c, size)
    # Weights are positive with a sum of 1: nothing leaves 0..255.
    out = out.round_().permute(0, 2, 1, 3)
    return out.to(torch.uint8, memory_format=torch.contiguous_format)


def product_type(device: torch.device) -> torch.dtype:
    """What crops are computed in: on a GPU in float16, which holds pixels exactly.

    A pixel between two values may be rounded to either: of noise about one in twenty.
    """
    return torch.float16 if device.type == "cuda" else torch.float32


def random_boxes(
    n: int, h: int, w: int, generator: Generator, device: torch.device
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Top, left, height and width (n,) of torchvision's RandomResizedCrop: the first of ten draws
    of area and ratio that fits, else the largest central box of an allowed ratio."""

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(*shape, generator=generator, device=device)

    area = h * w * uniform(*SCALE, n, TRIES)
    ratio = uniform(math.log(RATIO[0]), math.log(RATIO[1]), n, TRIES).exp()
    widths, heights = (area * ratio).sqrt().round(), (area / ratio).sqrt().round()
    fits = (widths > 0) & (widths <= w) & (heights > 0) & (heights <= h)
    first = (fits.cumsum(1) == 0).sum(1)  # draws before the first that fits
    index = first.clamp(max=TRIES - 1)[:, None]
    found = first < TRIES
    width = torch.where(found, widths.gather(1, index)[:, 0], min(w, round(h * RATIO[1])))
    height = torch.where(found, heights.gather(1, index)[:, 0], min(h, round(w / RATIO[0])))
    place = torch.where(found, uniform(0, 1, 2, n), 0.5)  # a fallback box lies in the middle
    top = torch.where(found, (place[0] * (h - height + 1)).floor(), ((h - height) / 2).floor())
    left = torch.where(found, (place[1] * (w - width + 1)).floor(), ((w - width) / 2).floor())
    return top, left, height, width


def resize_weights(
    start: Tensor, length: Tensor, pixels: int, size: int, kind: torch.dtype = torch.float32
) -> Tensor:
    """Weights (n, size, pixels) that resize pixels start..start+length to `size`; rows sum to 1.

    Large for their use: 0.2 MB an image at 224 pixels, so what can be is done to a row or a column.
    """
    ratio = (length / size)[:, None, None]
    reach = ratio.clamp(min=1)
    centers = (torch.arange(size, device=start.device) + 0.5)[:, None] * ratio / reach
    at = torch.arange(pixels, device=start.device) - start[:, None, None]
    outside = (at < 0) | (at >= length[:, None, None])
    apart = (((at + 0.5) / reach).masked_fill(outside, math.inf) - centers).abs_()
    weights = torch.rsub(apart, 1).clamp_(min=0)
    out = torch.empty_like(weights, dtype=kind)
    return torch.div(weights, weights.sum(2, keepdim=True), out=out)
