"""What is done to every batch, recorded once as a CUDA graph and then started as a whole.

A small network has hundreds of kernels of some microseconds each in a step; started one by one from
Python, most of a GPU's time goes by between them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import cache, cached_property
from typing import Any

import torch
from torch import Tensor

from dsd.train.evaluate import OnBatch

WARM_UP = 3  # plain calls before: cuDNN chooses its kernels, the optimiser makes its buffers


class Replayed:
    """`on_batch(images, labels)`, whose effects are on tensors that stay where they are.

    Called with the same shapes again and again it is recorded after WARM_UP plain calls, which
    count like any others, and replayed from then on, on CUDA only. Other shapes, such as a last
    short batch, are done plainly; so is all that shares the `pool` where recording fails, which
    `say` is told once. What it draws must come from `generator`, which may be seeded anew between
    calls.
    """

    def __init__(
        self, on_batch: OnBatch, device: torch.device, generator: torch.Generator | None,
        say: Callable[[str], None], pool: Pool | None = None,
    ) -> None:  # fmt: skip
        self.on_batch = on_batch
        self.device = device
        self.generator = generator
        self.say = say
        self.pool = pool or Pool()
        self.calls = 0
        self.inputs: tuple[Tensor, ...] = ()
        self.graph: torch.cuda.CUDAGraph | None = None
        self.plain = device.type != "cuda"

    @property
    def recorded(self) -> bool:
        """Whether it is replayed by now."""
        return self.graph is not None and not self.pool.failed

    def __call__(self, images: Tensor, labels: Tensor) -> None:
        """Do it to one batch."""
        if self.plain or self.pool.failed or not self._of_one_shape(images, labels):
            self.on_batch(images, labels)
        elif self.calls < WARM_UP:
            self.calls += 1
            self._beside(images, labels)
        elif self.graph is not None or self._record():
            assert self.graph is not None
            self.inputs[0].copy_(images, non_blocking=True)
            self.inputs[1].copy_(labels, non_blocking=True)
            self.graph.replay()
        else:
            self.on_batch(images, labels)

    def _of_one_shape(self, *given: Tensor) -> bool:
        """Whether it is the shape of the first call."""
        if not self.inputs:
            self.inputs = tuple(torch.empty_like(one) for one in given)
        return all(a.shape == b.shape and a.dtype == b.dtype
                   for a, b in zip(self.inputs, given, strict=True))  # fmt: skip

    def _beside(self, images: Tensor, labels: Tensor) -> None:
        """Plainly, on the stream that is to be recorded: what it caches belongs to that stream."""
        stream, now = recording(self.device), torch.cuda.current_stream(self.device)
        stream.wait_stream(now)
        with torch.cuda.stream(stream):
            self.on_batch(images, labels)
        now.wait_stream(stream)

    def _record(self) -> bool:
        """Record a call without doing it; whether that worked.

        Other threads, which pin memory for the next batches, may go on meanwhile.
        """
        before = None if self.generator is None else self.generator.get_state()
        now = torch.cuda.current_stream(self.device)
        graph = torch.cuda.CUDAGraph()
        try:
            if self.generator is not None:
                graph.register_generator_state(self.generator)
            with torch.cuda.graph(
                graph, pool=self.pool.name, stream=recording(self.device),
                capture_error_mode="thread_local",
            ):  # fmt: skip
                self.on_batch(*self.inputs)
        except RuntimeError as error:
            first = (str(error).splitlines() or [type(error).__name__])[0]
            self.say(f"No CUDA graph, kernels are started one by one: {first}")
            torch.cuda.set_stream(now)  # torch leaves the recorded one in its place
            self.pool.give_up(graph, self.device)
            if self.generator is not None and before is not None:
                _taken_out(self.generator, before)
            return False
        self.graph = graph
        return True


class Pool:
    """The memory that a network's graphs share: they are never at work together."""

    def __init__(self) -> None:
        self.failed = False  # what was to be recorded could not be: all goes plainly

    @cached_property
    def name(self) -> Any:
        """torch's name of it."""
        return torch.cuda.graph_pool_handle()

    def give_up(self, graph: torch.cuda.CUDAGraph, device: torch.device) -> None:
        """Leave the state in which a broken recording leaves the process.

        What waits for the device while it is recorded makes CUDA void the recording, and torch,
        which then cannot end it in good order (2.6 to 2.14), goes on taking memory for it, refuses
        to return any, and may report the error once more.
        """
        self.failed = True
        recording.cache_clear()
        with contextlib.suppress(RuntimeError):  # where it did end, as after a lack of memory
            _no_longer_taken(device.index or 0, self.name)
            _BROKEN.append(graph)  # torch may go on asking it; it holds no memory
        for _ in range(2):
            with contextlib.suppress(RuntimeError):
                torch.zeros(1, device=device)
        torch.cuda.synchronize(device)


_BROKEN: list[torch.cuda.CUDAGraph] = []


@cache
def recording(device: torch.device) -> torch.cuda.Stream:
    """The one stream that is recorded on a GPU: torch and cuBLAS keep memory for every stream."""
    return torch.cuda.Stream(device)


def _no_longer_taken(index: int, pool: Any) -> None:
    """Have torch's allocator serve all from its usual memory. Raises RuntimeError where it does."""
    names = ("_cuda_endAllocateToPool", "_cuda_endAllocateCurrentStreamToPool")  # torch 2.8, 2.6
    end = next((getattr(torch._C, name) for name in names if hasattr(torch._C, name)), None)
    if end is not None:
        end(index, pool)
        torch._C._cuda_releasePool(index, pool)


def _taken_out(generator: torch.Generator, state: Tensor) -> None:
    """Have a generator draw on from a state, whatever recording it was in."""
    generator.graphsafe_set_state(torch.Generator(generator.device))
    generator.set_state(state)
