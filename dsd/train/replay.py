"""What is done to every batch, recorded once as a CUDA graph and then started as a whole.

A small network has hundreds of kernels of some microseconds each in a step; started one by one from
Python, most of a GPU's time goes by between them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from dsd.train.evaluate import OnBatch

WARM_UP = 3  # plain calls before: cuDNN chooses its kernels, the optimiser makes its buffers


class Replayed:
    """`on_batch(images, labels)`, whose effects are on tensors that stay where they are.

    Called with the same shapes again and again it is recorded after WARM_UP plain calls, which
    count like any others, and replayed from then on, on CUDA only. Other shapes, such as a last
    short batch, are done plainly; so is everything where recording fails, which `say` is told once.
    What it draws must come from `generator`, which may be seeded anew between calls.
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

    def __call__(self, images: Tensor, labels: Tensor) -> None:
        """Do it to one batch."""
        if self.plain or not self._of_one_shape(images, labels):
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
        stream, now = self.pool.stream(self.device), torch.cuda.current_stream(self.device)
        stream.wait_stream(now)
        with torch.cuda.stream(stream):
            self.on_batch(images, labels)
        now.wait_stream(stream)

    def _record(self) -> bool:
        """Record a call without doing it; whether that worked.

        Other threads, which pin memory for the next batches, may go on meanwhile.
        """
        before = None if self.generator is None else self.generator.get_state()
        try:
            graph = torch.cuda.CUDAGraph()
            if self.generator is not None:
                graph.register_generator_state(self.generator)
            with torch.cuda.graph(
                graph, pool=self.pool.handle, stream=self.pool.stream(self.device),
                capture_error_mode="thread_local",
            ):  # fmt: skip
                self.on_batch(*self.inputs)
        except RuntimeError as error:
            self.plain = True
            first = (str(error).splitlines() or [type(error).__name__])[0]
            self.say(f"No CUDA graph, kernels are started one by one: {first}")
            torch.cuda.synchronize(self.device)
            if self.generator is not None and before is not None:
                self.generator.set_state(before)
            return False
        self.graph, self.pool.handle = graph, graph.pool()
        return True


class Pool:
    """The stream and the memory that a network's graphs share: they are never at work together."""

    def __init__(self) -> None:
        self.handle: Any = None  # torch's name of the memory
        self._stream: torch.cuda.Stream | None = None

    def stream(self, device: torch.device) -> torch.cuda.Stream:
        """The stream that is recorded."""
        if self._stream is None:
            self._stream = torch.cuda.Stream(device)
        return self._stream
