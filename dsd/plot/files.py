"""Figures on disk, by the file's ending: whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from dsd.errors import DsdError, UsageError
from dsd.plot.style import styled

__all__ = ["Figure", "save", "writable"]

# No dates inside: the same figure gives the same bytes.
METADATA: dict[str, dict[str, Any]] = {
    ".png": {"Software": "dsd"},
    ".pdf": {"Creator": "dsd", "CreationDate": None},
    ".svg": {"Creator": "dsd", "Date": None},
}


def writable(path: str | Path) -> Path:
    """The path, if a figure can be written there; ask before the work that the figure shows.

    Raises UsageError for an ending other than .png, .pdf and .svg, DsdError for a missing or
    unwritable folder.
    """
    path = Path(path)
    if path.suffix.lower() not in METADATA:
        raise UsageError(f"{path}: figures are written as {', '.join(METADATA)}; end it so.")
    if path.is_dir():
        raise UsageError(f"{path}: is a folder; name a file.")
    if not path.parent.is_dir():
        raise DsdError(f"{path}: no folder {path.parent} to write into; make it first.")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise DsdError(f"{path}: folder {path.parent} cannot be written to; choose another.")
    return path


def save(figure: Figure, path: str | Path) -> Path:
    """Write the figure as PNG, PDF or SVG by the path's ending, replacing a file that is there.

    A reader sees the old file or the new one, never half. Raises as `writable` does, and
    DsdError where the disk refuses.
    """
    path = writable(path)
    ending = path.suffix.lower()
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with styled():
            figure.savefig(part, format=ending[1:], metadata=METADATA[ending])
        os.replace(part, path)
    except OSError as error:
        raise DsdError(f"{path}: cannot be written: {error.strerror or error}.") from None
    finally:
        part.unlink(missing_ok=True)
    return path
