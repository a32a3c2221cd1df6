"""The machine that a benchmark of training runs on: what it is, and how fast it copies memory."""

from __future__ import annotations

import gc
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Sequence

import torch

from dsd.train.device import hardware

ASKED = ("driver_version", "clocks.sm", "clocks.max.sm", "clocks.mem", "power.limit",
         "temperature.gpu", "utilization.gpu")  # fmt: skip


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def described(device: torch.device) -> list[str]:
    """Lines that say what times depend on: versions, device, and a GPU's clocks where known."""
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    lines = [
        f"Python {platform.python_version()}, torch {torch.__version__}, {cores()} cores{load}",
        hardware(device),
    ]
    if device.type == "cuda":
        lines[1] += f", CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}"
        lines.append(_asked(device.index or 0))
    return lines


def _asked(index: int) -> str:
    """What nvidia-smi says of a GPU. (Its numbers are the machine's, not CUDA_VISIBLE_DEVICES'.)"""
    command = ["nvidia-smi", "-i", str(index), f"--query-gpu={','.join(ASKED)}",
               "--format=csv,noheader"]  # fmt: skip
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return "nvidia-smi tells nothing here: driver and clocks unknown"
    values = found.stdout.strip().split(", ")
    return ", ".join(f"{key} {value}" for key, value in zip(ASKED, values, strict=False))


def wait(device: torch.device) -> None:
    """Until the device has done all it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def release(device: torch.device) -> None:
    """Give back what is held of the device's memory and no longer used."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def copy_bandwidth(device: torch.device, size: int = 1 << 30, repeats: int = 20) -> list[float]:
    """Bytes a second of large copies, read and written both counted; one figure a repeat."""
    source = torch.zeros(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    target.copy_(source)
    found = []
    for _ in range(repeats):
        wait(device)
        begin = time.perf_counter()
        target.copy_(source)
        wait(device)
        found.append(2 * size / (time.perf_counter() - begin))
    return found


def row(name: str, values: Sequence[float], unit: str, digits: int = 0) -> str:
    """A line of a table: min, median, max."""
    three = (min(values), statistics.median(values), max(values))
    return f"  {name:<46}" + "".join(f"{one:>11,.{digits}f}" for one in three) + f"  {unit}"


def say(line: str = "") -> None:
    """Print at once: a run may be cut off."""
    print(line, flush=True)
