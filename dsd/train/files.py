"""Files that are whole or not there: written beside, synced, renamed."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from dsd.errors import DsdError


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Give `write` a file beside `path`, sync it, and put it in the place of `path`."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        sync_folder(path.parent)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


def rename_folder(partial: Path, path: Path) -> None:
    """A folder whose files are synced takes its name. Raises OSError if that is taken already."""
    sync_folder(partial)
    partial.rename(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make a rename in it last through a power cut, where folders can be synced."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files below a folder."""
    if path.is_file():
        return path.stat().st_size
    return sum((Path(top) / name).lstat().st_size
               for top, _, names in os.walk(path) for name in names)  # fmt: skip


def copy_whole(source: Path, target: Path) -> None:
    """Copy a file, synced."""
    with source.open("rb") as file:
        write_whole(target, lambda out: shutil.copyfileobj(file, out, 1 << 20))


@contextlib.contextmanager
def lock(path: Path, message: str) -> Iterator[None]:
    """Hold a lock that ends with this process. Raises DsdError(message) if another one holds it."""
    with path.open("a") as file:
        if os.name == "posix":
            import fcntl

            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise DsdError(message) from None
        yield
