"""Which device trains, and what is written down about it."""

from __future__ import annotations

import gc
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import torch

import dsd
from dsd.errors import DsdError, UsageError
from dsd.train.memory import keep_freed_memory

CPU = torch.device("cpu")


def gpus() -> list[torch.device]:
    """The GPUs that torch can use here: every CUDA or ROCm device, or Apple's one (MPS)."""
    if torch.cuda.is_available():
        return [torch.device(f"cuda:{index}") for index in range(torch.cuda.device_count())]
    return [torch.device("mps")] if torch.backends.mps.is_available() else []


def pick_device(gpu: int | None = None, cpu: bool = False) -> torch.device:
    """The device asked for; with neither, GPU 0 if there is one and the CPU otherwise.

    Raises DsdError when the GPU asked for is not there, UsageError when both are asked for.
    """
    if gpu is not None and cpu:
        raise UsageError("--gpu and --cpu exclude each other; give one.")
    there = gpus()
    if gpu is None:
        return there[0] if there and not cpu else CPU
    if not there:
        raise DsdError(f"--gpu {gpu}: no CUDA device on this machine. Train on the CPU with --cpu.")
    if not 0 <= gpu < len(there):
        raise DsdError(
            f"--gpu {gpu}: this machine has {len(there)}, numbered from 0. Or use --cpu."
        )
    return there[gpu]


def pick_devices(gpus: str) -> list[torch.device]:
    """The GPUs of a list such as "0,1", or "all". Raises DsdError, UsageError."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not count:
        raise DsdError(f"--gpus {gpus}: no CUDA device on this machine. --cpu --ranks 2 does the "
                       "same on CPU cores.")  # fmt: skip
    numbers = gpu_numbers(gpus, count, distinct=True)
    return [torch.device(f"cuda:{number}") for number in numbers]


def gpu_numbers(given: str, there: int, distinct: bool = False) -> list[int]:
    """The numbers in a list such as "0,1", or "all", of so many GPUs. Raises UsageError."""
    if given == "all":
        return list(range(there))
    numbers = [int(part) if part.isdigit() else -1 for part in given.split(",")]
    repeated = distinct and len({*numbers}) < len(numbers)
    if repeated or not all(0 <= number < there for number in numbers):
        kind = "different numbers" if distinct else "numbers"
        raise UsageError(f"--gpus {given}: this machine has {there}; all, or {kind} from 0 to "
                         f"{there - 1} between commas, would work.")  # fmt: skip
    return numbers


def prepare(device: torch.device, deterministic: bool = False) -> None:
    """Settle what the process needs to train on the device.

    On CUDA cuDNN measures which of its kernels are the fastest (a network may settle it anew),
    unless only those are to be used that give the same bits every time (which raise where there is
    none).

    On the CPU one thread a process: several such processes fill the cores, while threads of one
    process wait for each other as soon as anything else runs. torch imports what an optimiser needs
    with the first one, for a second: better now than with a network claimed.
    """
    torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    if device.type == "cpu":
        torch.set_num_threads(1)
        keep_freed_memory()
    elif device.type == "cuda":
        torch.cuda.set_device(device)
        measure_kernels(device, not deterministic)
        gc.freeze()  # torch up to 2.8 collects garbage before each recording: 0.2 s without this
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
        # A kernel for each new tensor, and no other result.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def measure_kernels(device: torch.device, measured: bool) -> None:
    """Whether cuDNN times its kernels on each new shape, from now on, or goes by its rules."""
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = measured


def device_name(device: torch.device) -> str:
    """What people call it: "GPU 0 (NVIDIA H100)" or "CPU (x86_64), 1 thread"."""
    if device.type != "cpu":
        return f"GPU {device.index or 0} ({hardware(device)})"
    return f"CPU ({platform.machine()}), {torch.get_num_threads()} thread"


def hardware(device: torch.device) -> str:
    """What times depend on: "NVIDIA H100 80GB HBM3", or "CPU AMD EPYC 9654, 1 thread"."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "mps":
        return f"{_processor()}, MPS"
    return f"CPU {_processor()}, {torch.get_num_threads()} thread"


def _processor() -> str:
    """The processor's name where the system tells it, else its kind."""
    known = Path("/proc/cpuinfo")
    lines = known.read_text(encoding="utf-8").splitlines() if known.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    if not names and sys.platform == "darwin":
        names = [_output("sysctl", "-n", "machdep.cpu.brand_string")]  # "Apple M3 Max"
    return next((name for name in names if name), platform.processor() or platform.machine())


def named_device(name: str) -> torch.device:
    """The device of a name such as cpu, cuda, cuda:1 or mps. Raises UsageError, DsdError."""
    if not re.fullmatch(r"cpu|mps|cuda(:\d+)?", name):
        raise UsageError(f"'{name}' is no device; cpu, cuda:0, cuda:1 or mps would be one.")
    there = {str(device): device for device in [CPU, *gpus()]}
    found = there.get("cuda:0" if name == "cuda" else name)
    if found is None:
        raise DsdError(f"This machine has no device {name}; there is {', '.join(there)}.")
    return found


def peak_memory(device: torch.device) -> int:
    """Bytes: most allocated on this GPU since the network began, or held by this process now.

    Apple's GPU keeps no such record: what Metal holds for this process now.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if device.type == "mps":
        return torch.mps.driver_allocated_memory()
    import psutil

    return int(psutil.Process().memory_info().rss)


def synchronize(device: torch.device) -> None:
    """Wait until the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def provenance(device: torch.device) -> dict[str, str]:
    """Where and with what a run was made: versions, device, host, and dsd's commit where known."""
    known = {
        "dsd": dsd.__version__,
        "commit": commit(Path(__file__).parent),
        "torch": str(torch.__version__),
        **(_cuda() if device.type == "cuda" else {}),
        "device": device_name(device),
        "host": platform.node(),
        "pid": str(os.getpid()),
    }
    return {key: value for key, value in known.items() if value}


def _cuda() -> dict[str, str]:
    """The version of CUDA or of ROCm (hip), and what may compute fp32 with TF32's 10 bits."""
    allowed = {
        "conv": torch.backends.cudnn.allow_tf32,
        "matmul": torch.backends.cuda.matmul.allow_tf32,
    }
    tf32 = ", ".join(part for part, may in allowed.items() if may) or "none"
    return {"cuda": torch.version.cuda or "", "hip": torch.version.hip or "", "tf32": tf32}


def commit(folder: Path) -> str:
    """The commit of dsd's own checkout, "-dirty" after it where files have changed since.

    "" where dsd is installed otherwise or git is missing.
    """
    if not (folder.parents[1] / ".git").exists():
        return ""
    try:
        known = _output("git", "-C", str(folder), "rev-parse", "HEAD")
        status = ("status", "--porcelain", "--untracked-files=no")
        changed = _output("git", "-C", str(folder), *status)
    except (OSError, subprocess.SubprocessError):
        return ""
    return f"{known}-dirty" if known and changed else known


def _output(*command: str) -> str:
    """What a program prints. Raises OSError where there is none of that name."""
    return subprocess.run(command, capture_output=True, text=True, timeout=5).stdout.strip()
