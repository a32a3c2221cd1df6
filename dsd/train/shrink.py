"""Images made smaller, a chunk at a time, each chunk with a record of what became of its images.

It knows no torch: processes that do nothing else start quickly.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dsd.train.files import sync_folder, write_whole
from dsd.train.listing import UnreadableImage, read_image
from dsd.train.prepared import Preparation, map_file

if TYPE_CHECKING:
    from PIL.Image import Image

JPEG_START = b"\xff\xd8\xff"


@dataclass(frozen=True)
class Chunk:
    """Images of one split in order: (path, bytes, label) each, the first one at slot `first`."""

    split: str
    first: int
    images: tuple[tuple[str, int, int], ...]

    def record(self, root: Path, preparation: Preparation) -> Path:
        """Its record; another one where the images or the preparation change."""
        text = json.dumps([preparation.suffix, self.split, self.first, self.images])
        return root / "chunks" / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"


@dataclass(frozen=True)
class Written:
    """What became of an image: <class>/<name>, bytes and SHA-256; or why there is none."""

    name: str
    size: int = 0
    digest: str = ""
    error: str = ""

    @classmethod
    def of(cls, name: str, data: bytes) -> Written:
        """An image that was written."""
        return cls(name, len(data), hashlib.sha256(data).hexdigest())


def recorded(path: Path) -> list[Written]:
    """What is known of a chunk's images; [] if it has not been written whole, or was damaged."""
    try:
        return [Written(*one) for one in json.loads(path.read_text(encoding="utf-8"))]
    except (FileNotFoundError, ValueError, TypeError):
        return []


def write_chunk(root: Path, preparation: Preparation, chunk: Chunk) -> None:
    """Write a chunk's images and sync them, then its record."""
    write = _write_jpegs if preparation.kind == "jpeg" else _write_rows
    rows = [astuple(one) for one in write(root, preparation, chunk)]
    record = chunk.record(root, preparation)
    write_whole(record, lambda file: file.write(json.dumps(rows).encode()))


def _write_jpegs(root: Path, preparation: Preparation, chunk: Chunk) -> list[Written]:
    written, folders = [], set()
    for path, _, _ in chunk.images:
        name = jpeg_name(path)
        try:
            data = jpeg(path, preparation)
        except UnreadableImage as error:
            written.append(Written(name, error=str(error)))
            continue
        target = root / chunk.split / name
        target.parent.mkdir(parents=True, exist_ok=True)
        folders.add(target.parent)
        with target.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        written.append(Written.of(name, data))
    for folder in folders:
        sync_folder(folder)
    return written


def _write_rows(root: Path, preparation: Preparation, chunk: Chunk) -> list[Written]:
    written = []
    with map_file(root, chunk.split).open("r+b") as file:
        file.seek(chunk.first * preparation.row)
        for path, _, _ in chunk.images:
            name = "/".join(Path(path).parts[-2:])
            try:
                data = row(path, preparation.side)
                written.append(Written.of(name, data))
            except UnreadableImage as error:
                data = bytes(preparation.row)
                written.append(Written(name, error=str(error)))
            file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return written


def jpeg_name(path: str) -> str:
    """<class>/<image>, with the ending of a JPEG."""
    name = "/".join(Path(path).parts[-2:])
    return name if name.lower().endswith((".jpeg", ".jpg")) else f"{name}.jpeg"


def jpeg(path: str, preparation: Preparation) -> bytes:
    """The image with its short side at most `side`; a JPEG that is as small already stays."""
    image = read_image(path)
    if min(image.size) > preparation.side:
        image = short_side(image, preparation.side)
    else:
        data = Path(path).read_bytes()
        if data.startswith(JPEG_START):
            return data
    out = io.BytesIO()
    image.save(out, "JPEG", quality=preparation.quality)
    return out.getvalue()


def row(path: str, side: int) -> bytes:
    """The centre (3, side, side) of the image with its short side at `side`, as bytes."""
    image = short_side(read_image(path), side)
    left, top = (round((length - side) / 2) for length in image.size)
    centre = np.asarray(image.crop((left, top, left + side, top + side)))
    return np.ascontiguousarray(centre.transpose(2, 0, 1)).tobytes()


def short_side(image: Image, side: int) -> Image:
    """Resized as torchvision's Resize(side) does a PIL image: bilinear, antialiased."""
    from PIL.Image import Resampling

    width, height = image.size
    short = min(width, height)
    size = (side * width // short, side * height // short)
    return image.resize(size, Resampling.BILINEAR)
