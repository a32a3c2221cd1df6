"""dsd: a laboratory in which researchers design network design spaces."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dsd.lab import Lab

__version__ = "0.1.0"


def open(db: str = "", data: str = "", regime: str = "") -> Lab:
    """The lab of a database: `dsd.open("dsd.db").population("anynetx_c").frame`."""
    from dsd.lab import open_lab

    return open_lab(db, data, regime)
