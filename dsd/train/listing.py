"""Images on disk in ImageNet's layout, folder/<class>/<image>: their names, and reading one.

It knows no torch: the processes that check and prepare images start in a tenth of a second.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dsd.errors import DsdError

if TYPE_CHECKING:
    from PIL import Image as PIL

SUFFIXES = (".jpeg", ".jpg", ".png", ".webp", ".bmp")


class UnreadableImage(DsdError):
    """An image file that cannot be decoded; the message begins with its name."""


@dataclass(frozen=True)
class Listing:
    """The image files of a split, by class and name, and a digest of their names and sizes."""

    files: tuple[tuple[str, int], ...]  # path, label
    sizes: tuple[int, ...]  # bytes
    classes: tuple[str, ...]
    digest: str

    @property
    def without_images(self) -> list[str]:
        """Classes that have none."""
        some = {label for _, label in self.files}
        return [name for label, name in enumerate(self.classes) if label not in some]


def listed(folder: Path) -> Listing:
    """Every image of a split, classes and files in alphabetical order.

    Raises DsdError if there are none, or some that would be left out: in a folder within a class.
    """
    classes = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
    files: list[tuple[str, int]] = []
    sizes: list[int] = []
    digest = hashlib.sha256()
    for label, name in enumerate(classes):
        for entry in sorted(os.scandir(folder / name), key=lambda entry: entry.name):
            if entry.is_dir():
                _refuse_images_within(entry.path)
            elif entry.name.lower().endswith(SUFFIXES):
                size = _size(entry)
                files.append((entry.path, label))
                sizes.append(size)
                digest.update(_line(name, entry.name, size))
    if not files:
        raise DsdError(f"{folder}: no images; needs {folder}/<class>/<image>.JPEG (or .png ...).")
    return Listing(tuple(files), tuple(sizes), tuple(classes), digest.hexdigest()[:16])


def _refuse_images_within(folder: str) -> None:
    for top, _, names in os.walk(folder):
        if any(name.lower().endswith(SUFFIXES) for name in names):
            raise DsdError(f"{top} holds images within a class folder, where they are not read: "
                           "move them up into the class, or away.")  # fmt: skip


def _line(folder: str, name: str, size: int) -> bytes:
    """A file's line in a list of files. Raises DsdError for a name that no list can hold."""
    text = f"{folder}/{name}"
    try:
        if not re.search(r"[\t\n\r]", text):
            return f"{text} {size}\n".encode()
    except UnicodeEncodeError:
        pass
    raise DsdError(f"{text!a}: a file's name must be UTF-8 in one line, without tabs: rename it.")


def _size(entry: os.DirEntry[str]) -> int:
    """Bytes of a file; none of a link that leads nowhere: it is named when it is to be read."""
    try:
        return entry.stat().st_size
    except FileNotFoundError:
        return 0


def splits_of(root: Path) -> tuple[Listing, Listing]:
    """The training and the test images of a folder. Raises DsdError for other classes in them."""
    train, test = listed(root / "train"), listed(root / "val")
    if train.classes != test.classes:
        raise DsdError(f"{root}: train/ and val/ must hold the same class folders.")
    return train, test


def read_image(path: str) -> PIL.Image:
    """The image as RGB. Raises UnreadableImage, with the file's name, if it cannot be decoded."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except MemoryError:
        raise
    except Exception as error:  # each decoder has its own ways to fail on damaged bytes
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UnreadableImage(f"{path}: not a readable image: {reason}") from None


def fingerprint(count: int, classes: int, *content: bytes | memoryview) -> str:
    """Images, classes and 16 hexadecimal digits of a SHA-256, in one line."""
    digest = hashlib.sha256()
    for part in content:
        digest.update(part)
    return f"{count} images, {classes} classes, {digest.hexdigest()[:16]}"


def fingerprint_of(train: Listing, test: Listing) -> str:
    """Of images on disk: by the names and sizes of their files."""
    count = len(train.files) + len(test.files)
    return fingerprint(count, len(train.classes), (train.digest + test.digest).encode())
