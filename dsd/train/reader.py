"""What decodes and crops the images of a folder: torchvision, or NVIDIA DALI where asked for.

Both show a network the same part of each image; resized values differ by rounding. So the choice is
made known, and stored with every run.
"""

from __future__ import annotations

from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING

from dsd.errors import UsageError

if TYPE_CHECKING:
    import torch


def reader_for(asked: str, device: torch.device) -> str:
    """Either "dali" or "torchvision"; asked for "auto", DALI on a GPU where it is installed.

    Raises UsageError where DALI is asked for and is not installed.
    """
    if asked == "dali" and not installed():
        raise UsageError("reader = dali: NVIDIA DALI is not installed here: "
                         "pip install 'dsd[dali]' (Linux), or --reader torchvision.")  # fmt: skip
    if asked == "auto":
        return "dali" if device.type == "cuda" and installed() else "torchvision"
    return asked


def installed() -> bool:
    """Whether NVIDIA DALI is, without importing it."""
    found = find_spec("nvidia") and find_spec("nvidia.dali")
    return bool(found and found.origin)  # a folder that an uninstalled one left behind has none


def in_words(reader: str) -> str:
    """The reader with its version, as it is stored. Raises DsdError where DALI does not work."""
    if reader == "dali":
        from dsd.train.dali import works

        return f"dali {works()}"
    return f"torchvision {version('torchvision')}"
