"""Batches brought to a GPU one ahead: the next is copied while the present one is trained on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from typing import TypeVar

import torch
from torch import Tensor

T = TypeVar("T")
Batch = tuple[Tensor, Tensor]


def on_device(batches: Iterable[Batch], device: torch.device) -> Iterator[Batch]:
    """The batches on the device, in their order. On the CPU they are handed through.

    On a GPU a stream of its own copies them, so that the copy of one and the computation on the one
    before need not wait for each other.
    """
    if device.type != "cuda":
        return ((images.to(device), labels.to(device)) for images, labels in batches)
    stream = copying(device)
    return (arrived(*one) for one in one_ahead(copied(batch, stream) for batch in batches))


def one_ahead(items: Iterable[T]) -> Iterator[T]:
    """The items in their order; each is handed out when the next one has been asked for."""
    waiting: list[T] = []
    for item in items:
        waiting.append(item)
        if len(waiting) == 2:
            yield waiting.pop(0)
    yield from waiting


@cache
def copying(device: torch.device) -> torch.cuda.Stream:
    """The one stream that copies to a GPU: torch keeps freed memory apart for every stream."""
    return torch.cuda.Stream(device)


def copied(batch: Batch, stream: torch.cuda.Stream) -> tuple[Batch, torch.cuda.Event]:
    """A batch whose copy to the stream's GPU is under way, and the event that says it is there.

    Only from pinned memory does a copy leave the process free; torch keeps that memory until then.
    """
    images, labels = (part.pin_memory() for part in batch)
    with torch.cuda.stream(stream):
        moved = tuple(part.to(stream.device, non_blocking=True) for part in (images, labels))
        return (moved[0], moved[1]), stream.record_event()


def arrived(batch: Batch, there: torch.cuda.Event) -> Batch:
    """The batch, for work on the current stream, which waits for it (the process does not).

    The memory belongs to the copying stream: torch is told that the current one uses it, too, lest
    it be given to a later copy before that work is done.
    """
    for part in batch:
        current = torch.cuda.current_stream(part.device)
        current.wait_event(there)
        part.record_stream(current)
    return batch
