"""A split that was prepared as one uint8 array: held on the GPU, or read from a mapped file.

Processes of one machine that map the file share its pages; a batch is copied out of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from dsd.regime import Regime
from dsd.train.images import as_tested, fitted, shuffled, tensor_of, whole_batches
from dsd.train.prefetch import on_device
from dsd.train.prepared import SPLITS, Manifest, labels_file, map_file
from dsd.train.share import WHOLE, Share

RESERVE = 16 << 30  # bytes of a GPU that stay free for training, when images are to be held on it
AHEAD = 4  # batches that are gathered while one is trained on


@dataclass(frozen=True)
class Mapped:
    """pixels (slots, 3, side, side) uint8, on the device or mapped; rows (n,) are those to use.

    `view` is done to each batch on the device: what the regime does before augmentation, or, of
    test images, all that it does.
    """

    pixels: Tensor
    labels: Tensor  # (slots,) int64, on the device
    rows: Tensor  # (n,) int64, on the CPU
    device: torch.device
    view: Callable[[Tensor], Tensor]
    share: Share = WHOLE  # of each batch
    augmented: ClassVar[bool] = False

    def __len__(self) -> int:
        return len(self.rows)

    def batches(self, size: int, seed: int | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """As `Images.batches`; the order is the same wherever the pixels lie."""
        if seed is None:
            order = self.rows.split(size)
        else:
            drawn = shuffled(len(self), seed, self.rows.device)
            order = tuple(self.rows[chosen] for chosen in whole_batches(drawn, size))
        mine = [rows for rows in map(self.share.of, order) if len(rows)]
        for pixels, rows in self._gathered(mine):
            yield self.view(pixels), self.labels[rows]

    def _gathered(self, order: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Pixels and their rows, on the device."""
        if self.pixels.device == self.device:
            return ((self.pixels[rows], rows) for rows in self._placed(order))
        streamed = ahead(order, partial(gathered, self.pixels, pin=self.device.type == "cuda"))
        return on_device(streamed, self.device)

    def _placed(self, order: Sequence[Tensor]) -> Sequence[Tensor]:
        """The rows on the device, in one copy: one for each batch would wait for the device."""
        if self.device.type != "cuda" or not order:
            return order
        whole = torch.cat([*order]).pin_memory().to(self.device, non_blocking=True)
        return whole.split([len(rows) for rows in order])


def ahead(
    order: Sequence[Tensor], gather: Callable[[Tensor], Tensor]
) -> Iterator[tuple[Tensor, Tensor]]:
    """(gather(rows), rows) for each rows of the order; AHEAD of them are under way in threads."""
    with ThreadPoolExecutor(AHEAD) as threads:
        jobs = deque(threads.submit(gather, rows) for rows in order[:AHEAD])
        for index, rows in enumerate(order):
            done = jobs.popleft().result()
            if index + AHEAD < len(order):
                jobs.append(threads.submit(gather, order[index + AHEAD]))
            yield done, rows


def gathered(pixels: Tensor, rows: Tensor, pin: bool) -> Tensor:
    """pixels[rows] in memory of its own; pinned, it can be copied to a GPU while that computes."""
    out = torch.empty((len(rows), *pixels.shape[1:]), dtype=pixels.dtype, pin_memory=pin)
    return torch.index_select(pixels, 0, rows, out=out)


def mapped(
    root: Path, manifest: Manifest, regime: Regime, device: torch.device, hold: bool = True
) -> tuple[Mapped, Mapped]:
    """The training and the test images of a prepared map, on the GPU where both fit, if asked."""
    side = manifest.preparation.side
    sizes = [(slots, 3, side, side) for slots in manifest.slots]
    pixels = [tensor_of(np.memmap(map_file(root, split), np.uint8, "r", shape=size))
              for split, size in zip(SPLITS, sizes, strict=True)]  # fmt: skip
    if hold and fits(sum(part.nbytes for part in pixels), device):
        pixels = [part.to(device) for part in pixels]
    views = (partial(_as_trained, regime=regime), partial(as_tested, regime=regime))
    splits = []
    for split, part, view in zip(SPLITS, pixels, views, strict=True):
        labels = torch.from_numpy(np.load(labels_file(root, split), allow_pickle=False))
        rows = (labels >= 0).nonzero()[:, 0]
        splits.append(Mapped(part, labels.to(device), rows, device, view))
    return splits[0], splits[1]


def fits(size: int, device: torch.device) -> bool:
    """Whether so many bytes can be held on a GPU and leave RESERVE of its memory free."""
    return device.type == "cuda" and size <= torch.cuda.mem_get_info(device)[0] - RESERVE


def _as_trained(pixels: Tensor, regime: Regime) -> Tensor:
    """As they are where crops set the resolution, else at the resolution."""
    keep = regime.augment.crop == "random-resized"
    return pixels if keep else fitted(pixels, regime.resolution)
