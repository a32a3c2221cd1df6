"""One network trained by several processes (ranks), each on its share of every batch.

The regime decides all that changes results: the batch is its batch, in its order, with the same
crop of each image, one batch norm over all of it, and the gradient of its mean loss. What remains
is rounding: sums are added up in another order.
"""

from __future__ import annotations

import inspect
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from dsd.errors import DsdError
from dsd.regime import Regime
from dsd.train.data import Dataset, DatasetMissing
from dsd.train.evaluate import Tally
from dsd.train.share import WHOLE, Share
from dsd.train.synced_norm import synced

AGREE_S, MOST_STEPS = 0.5, 64  # between agreements whether to stop, whichever ends first
CPU = torch.device("cpu")
TIMEOUT_S = 600.0  # a rank that answers no collective for so long has failed


class Indivisible(DatasetMissing):
    """A batch cannot be split evenly over the ranks; starting again cannot help."""

    exit_code = 3


@dataclass(frozen=True)
class Ranks:
    """The place of this process among those that train a network together; alone by default.

    `side` is their group on the CPU, for words that must not wait for a GPU. `begin` is called
    with the index of every epoch before it (see `dsd.train.team`).
    """

    share: Share = WHOLE
    device: torch.device = CPU
    side: Any = None
    begin: Callable[[int], None] = lambda index: None

    @property
    def count(self) -> int:
        """How many there are."""
        return self.share.count

    @classmethod
    def join(cls, share: Share, device: torch.device, meeting: Path, timeout_s: float) -> Ranks:
        """Meet the others by a file that all know; returns once all are there."""
        os.environ.setdefault("GLOO_SOCKET_IFNAME", _loopback())
        store = dist.FileStore(str(meeting), share.count)
        backend = "nccl" if device.type == "cuda" else "gloo"
        patience = timedelta(seconds=timeout_s)
        dist.init_process_group(backend, store=store, rank=share.rank, world_size=share.count,
                                timeout=patience)  # fmt: skip
        side = dist.new_group(backend="gloo", timeout=patience)
        return cls(share, device, side)

    def leave(self) -> None:
        """End the group, whatever is under way in it."""
        if self.count == 1 or not dist.is_initialized():
            return
        abort = getattr(dist.distributed_c10d, "_abort_process_group", None)
        if self.device.type == "cuda" and abort is not None:
            abort()  # NCCL's kernels wait for ranks that may be gone
        else:
            dist.destroy_process_group()

    def part(self, dataset: Dataset) -> Dataset:
        """The dataset as this rank sees it: of every batch its share."""
        if self.count == 1:
            return dataset
        train, test = (replace(part, share=self.share) for part in (dataset.train, dataset.test))
        return replace(dataset, train=train, test=test)

    def normed(self, model: nn.Module) -> nn.Module:
        """The model with its batch norm over the images of all ranks."""
        return model if self.count == 1 else synced(model, self.device)

    def joined(self, call: Any) -> Callable[[Tensor], Tensor]:
        """What calls the model such that its gradients are averaged over the ranks.

        It is set up at the first call, when the others do the same, with rank 0's weights.
        """
        return call if self.count == 1 else _Joined(call, self.device)

    def together(self, stopped: Callable[[], bool]) -> Callable[[], bool]:
        """What is asked before every step whether to stop, and answered alike on all ranks."""
        return stopped if self.count == 1 else Agreement(self, stopped)

    def summed(self, tally: Tally) -> Tally:
        """The counts of all ranks. Waits for the device."""
        if self.count == 1:
            return tally
        sums = torch.tensor([*tally.sums.tolist(), tally.images], dtype=torch.float64)
        dist.all_reduce(sums, group=self.side)
        return Tally(sums[:3], int(sums[3]))


ALONE = Ranks()


# Batch norm's are the same on all ranks. A later torch has renamed the option.
_BUFFERS = ("forward_sync_buffers", "broadcast_buffers")
_KNOWN = inspect.signature(DistributedDataParallel).parameters
_NO_BUFFERS: dict[str, Any] = {next(name for name in _BUFFERS if name in _KNOWN): False}


class _Joined:
    """A module behind DistributedDataParallel, made when it is first called."""

    def __init__(self, module: Any, device: torch.device) -> None:
        self.module = module
        self.device = device
        self.parallel: Any = None

    def __call__(self, images: Tensor) -> Tensor:
        """Logits of this rank's images."""
        if not torch.is_grad_enabled():
            logits: Tensor = self.module(images)
            return logits
        if self.parallel is None:
            ids = [self.device] if self.device.type == "cuda" else None
            self.parallel = DistributedDataParallel(
                self.module, device_ids=ids, gradient_as_bucket_view=True, **_NO_BUFFERS
            )
        logits = self.parallel(images)
        return logits


class Agreement:
    """Whether to stop: rank 0 decides, and says with every answer after how many steps the next.

    So all ranks leave at the same step, none waits for a GPU, and it is asked about twice a second
    however long a step takes.
    """

    def __init__(self, ranks: Ranks, stopped: Callable[[], bool]) -> None:
        self.ranks = ranks
        self.stopped = stopped
        self.steps = self.left = 0
        self.since = time.monotonic()

    def __call__(self) -> bool:
        """The answer for the next step."""
        if self.left:
            self.left -= 1
            return False
        word = torch.zeros(2, dtype=torch.int64)
        if self.ranks.share.rank == 0:
            word = torch.tensor([int(self.stopped()), self._pause()])
        dist.broadcast(word, 0, group=self.ranks.side)
        stop, self.left = word.tolist()
        return bool(stop)

    def _pause(self) -> int:
        """Steps without a question, by the pace since the last one."""
        now = time.monotonic()
        a_step = (now - self.since) / (self.steps + 1)
        self.since = now
        self.steps = int(min(MOST_STEPS, AGREE_S / max(a_step, 1e-6)))
        return self.steps


def check_batch(regime: Regime, ranks: int, images: int | None = None) -> None:
    """Raises Indivisible where the ranks cannot have equal shares of a batch.

    With the number of training `images`: a batch has not more of them.
    """
    batch = regime.train.batch if images is None else min(regime.train.batch, images)
    if batch % ranks:
        works = [str(count) for count in range(1, min(batch, 64) + 1) if batch % count == 0]
        raise Indivisible(f"{regime.name}: a batch of {batch} images cannot be split over {ranks} "
                          f"ranks; {', '.join(works)} would work.")  # fmt: skip


class RankLost(DsdError):
    """A rank was killed or does not answer: nothing is known about the network itself."""


def is_lost_contact(error: BaseException) -> bool:
    """Whether a collective failed because of another rank, which then knows the cause."""
    known = isinstance(error, dist.DistError) or "NCCL" in str(error) or "gloo" in str(error)
    return isinstance(error, RuntimeError) and known


def _loopback() -> str:
    names = [name for _, name in socket.if_nameindex()]
    return next((name for name in ("lo", "lo0") if name in names), "")
