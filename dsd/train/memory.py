"""Memory: when there was too little, and how glibc's allocator treats what was freed."""

from __future__ import annotations

import ctypes
import sys
from typing import Any

import torch

OUT_OF_MEMORY = (
    "can't allocate memory", "not enough memory", "out of memory",
    "STATUS_ALLOC_FAILED", "DEVICE_ALLOCATION_FAILED",  # cuBLAS's and cuDNN's words
)  # fmt: skip
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h


def keep_freed_memory() -> None:
    """Let glibc reuse the buffers of a step instead of returning them to the kernel.

    A wide network otherwise spends a fifth of its time on page faults. Elsewhere than on glibc
    nothing happens.
    """
    mallopt = _glibc("mallopt")
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, 32 << 20)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def return_freed_memory() -> None:
    """Return to the kernel, once, what is free now: after work that needed more than follows."""
    trim = _glibc("malloc_trim")
    if trim is not None:
        trim(0)


def _glibc(name: str) -> Any:
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None


def is_out_of_memory(error: Exception) -> bool:
    """Whether the device, or the machine, had no more memory to give."""
    if isinstance(error, MemoryError | torch.cuda.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(part in str(error) for part in OUT_OF_MEMORY)
