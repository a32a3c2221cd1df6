"""dsd: a laboratory in which researchers design network design spaces."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dsd.errors import DsdError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from torch.nn import Module

    from dsd.lab import Lab

__all__ = ["DsdError", "UsageError", "load_network", "open"]
__version__ = "0.1.0"


def open(db: str = "", data: str = "", regime: str = "") -> Lab:
    """The lab of a database: `dsd.open("dsd.db").population("anynetx_c").frame`."""
    from dsd.lab import open_lab

    return open_lab(db, data, regime)


def load_network(path: str | Path) -> Module:
    """The trained network of a file that `dsd weights RUN -o net.safetensors` wrote."""
    from dsd.train.formats import load_network as load

    return load(path)
