"""What the machine decides about training: speed, never what is learnt but for rounding."""

from __future__ import annotations

from dataclasses import dataclass

import torch

# Steps of training from which on it pays to have cuDNN time its kernels for each new shape (seconds
# a network): reasoned, not measured.
MEASURED = 10_000
FORMATS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}


@dataclass(frozen=True)
class How:
    """How a network is trained here; each choice is stored with its run.

    graphs: record each step as a CUDA graph. compiled: through torch.compile, whose time counts.
    deterministic: only kernels that give the same bits every time, and no choice by the clock.
    memory_format: a name of FORMATS, or "" for the faster one (on the CPU, channels_last).
    """

    graphs: bool = True
    compiled: bool = False
    deterministic: bool = False
    memory_format: str = ""

    def choice(self, device: torch.device) -> str:
        """The memory format where it needs no probe, else ""."""
        if self.memory_format:
            return self.memory_format
        if device.type == "cuda" and not self.deterministic:
            return ""
        return "channels_last" if device.type == "cpu" else "contiguous"

    def measures(self, steps: float) -> bool:
        """Whether cuDNN shall choose its kernels by the clock, for so many steps of training."""
        return not self.deterministic and steps >= MEASURED

    def asked(self) -> dict[str, str]:
        """What of it is not as usual, for a run's provenance."""
        known = {"graphs": not self.graphs and "no", "compiled": self.compiled and "yes",
                 "deterministic": self.deterministic and "yes"}  # fmt: skip
        return {key: value for key, value in known.items() if value}
