"""What one of several ranks sees of a batch that all of them train on together."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Share:
    """Of every batch the `rank`-th of `count` consecutive parts, as equal as can be."""

    rank: int = 0
    count: int = 1

    def of(self, batch: Tensor) -> Tensor:
        """This rank's part of a batch; empty where there are fewer images than ranks."""
        return batch if self.count == 1 else batch.tensor_split(self.count)[self.rank]

    def whole(self, images: int) -> int:
        """Images of a batch that divides evenly, if this rank has so many of them."""
        return images * self.count


WHOLE = Share()
