"""CIFAR-10, CIFAR-100 and Fashion-MNIST as their authors distribute them: fetched, read, proved."""

from __future__ import annotations

import gzip
import hashlib
import shutil
import tarfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from dsd.errors import DsdError
from dsd.train.files import copy_whole, rename_folder, write_whole
from dsd.train.listing import fingerprint
from dsd.train.places import OFFICIAL, DatasetMissing

# Of the binary version's files, as MXNet publishes them; a row is labels, then 3 x 32 x 32 pixels.
BINARY = {
    "cifar-10-batches-bin": {
        "data_batch_1.bin": "aadd24acce27caa71bf4b10992e9e7b2d74c2540",
        "data_batch_2.bin": "c0ba65cce70568cd57b4e03e9ac8d2a5367c1795",
        "data_batch_3.bin": "1dd00a74ab1d17a6e7d73e185b69dbf31242f295",
        "data_batch_4.bin": "aab85764eb3584312d3c7f65fd2fd016e36a258e",
        "data_batch_5.bin": "26e2849e66a845b7f1e4614ae70f4889ae604628",
        "test_batch.bin": "67eb016db431130d61cd03c7ad570b013799c88c",
    },
    "cifar-100-binary": {
        "train.bin": "e207cd2e05b73b1393c74c7f5e7bea451d63e08e",
        "test.bin": "8fb6623e830365ff53cf14adec797474f5478006",
    },
}
PIXELS = 3 * 32 * 32
# How the fingerprint of the official images begins: whole where published digests prove it.
KNOWN = {
    "cifar10": "60000 images, 10 classes, 9048fcbac9c08a64",
    "cifar100": "60000 images, 100 classes, ",
    "fashion-mnist": "70000 images, 10 classes, ",
}


class NotOfficial(DatasetMissing):
    """The files are there, but not those of the authors, or not all: what is wrong, what helps."""

    def __init__(self, wrong: str, advice: str) -> None:
        super().__init__(f"{wrong} {advice}")
        self.wrong = wrong


def read(dataset: str, place: Path) -> dict[str, Any]:
    """Arrays train_images (n, c, h, w) uint8, train_labels (n,), test_images, test_labels.

    The same for the Python and the binary version. Raises NotOfficial.
    """
    arrays = _binary(place) if place.name in BINARY else _by_torchvision(dataset, place)
    if not mark(arrays).startswith(KNOWN[dataset]):
        raise _not_whole(dataset, place, f"they hold {mark(arrays)}")
    return arrays


def mark(arrays: dict[str, Any]) -> str:
    """The fingerprint of held images: by their content."""
    count = sum(len(array) for name, array in arrays.items() if name.endswith("labels"))
    classes = int(arrays["train_labels"].max()) + 1
    content = [np.ascontiguousarray(part).data.cast("B") for part in arrays.values()]
    return fingerprint(count, classes, *content)


def _binary(place: Path) -> dict[str, Any]:
    """The binary version (cifar-10-binary.tar.gz); of CIFAR-100 the fine labels."""
    parts: dict[str, list[Any]] = {"train": [], "test": []}
    for name, digest in BINARY[place.name].items():
        path = place / name
        data = path.read_bytes() if path.is_file() else b""
        if hashlib.sha1(data).hexdigest() != digest:
            what = "is not the official file" if data else "is missing"
            raise NotOfficial(f"{path} {what}.", f"Remove {place} and get it again.")
        labels = 2 if "100" in place.name else 1
        rows = np.frombuffer(data, np.uint8).reshape(-1, labels + PIXELS)
        parts["test" if name.startswith("test") else "train"].append(rows)
    arrays: dict[str, Any] = {}
    for split, rows_of in parts.items():
        rows = np.concatenate(rows_of)
        arrays[f"{split}_images"] = rows[:, -PIXELS:].reshape(-1, 3, 32, 32)
        arrays[f"{split}_labels"] = rows[:, -PIXELS - 1].astype(np.int64)
    return arrays


def _by_torchvision(dataset: str, place: Path) -> dict[str, Any]:
    """torchvision's own reading of the official files, which it compares with their MD5."""
    from torchvision import datasets

    kind = getattr(datasets, OFFICIAL[dataset].kind)
    content = OFFICIAL[dataset].contents[0]
    root = place.parents[len(Path(content).parts) - 1]
    try:
        parts = [kind(root, train=train, download=False) for train in (True, False)]
    except (RuntimeError, ValueError, OSError, EOFError, AssertionError) as error:
        raise _not_whole(dataset, place, " ".join(str(error).split())) from None
    arrays: dict[str, Any] = {}
    for name, part in zip(("train", "test"), parts, strict=True):
        data = np.asarray(part.data)
        arrays[f"{name}_images"] = data[:, None] if data.ndim == 3 else data.transpose(0, 3, 1, 2)
        arrays[f"{name}_labels"] = np.asarray(part.targets)
    return arrays


def _not_whole(dataset: str, place: Path, why: str) -> NotOfficial:
    return NotOfficial(
        f"Dataset '{dataset}': the files in {place} are not whole ({why}).",
        f"Remove that folder and get it again: `dsd data prepare {dataset}`.",
    )


def fetch(dataset: str, folder: Path, given: Path | None) -> Path:
    """Put an official set into folder/<dataset>, from the network or from a folder or archive.

    It is read there before it gets its name, so what has the name is whole. Returns its place.
    """
    root = folder.absolute() / dataset
    if root.exists():
        raise DsdError(f"{root} is in the way: it is not the whole of {dataset}. Move it away.")
    partial = root.with_name(f"{dataset}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        _take(dataset, given, partial) if given else _download(dataset, partial)
        content = next(c for c in OFFICIAL[dataset].contents if (partial / c).is_dir())
        read(dataset, partial / content)
        rename_folder(partial, root)
    except (NotOfficial, tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError) as error:
        source = given or "the download"
        # Its copy is gone again: no advice about it, nor its name.
        why = error.wrong if isinstance(error, NotOfficial) else str(error)
        why = why.replace(f"{partial}/", "")
        raise DsdError(f"{source}: not the official {dataset}, whole: {why}") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return root / content


def _download(dataset: str, root: Path) -> None:
    from torchvision import datasets

    kind = OFFICIAL[dataset].kind
    try:
        getattr(datasets, kind)(root, download=True)
    except (RuntimeError, OSError) as error:  # URLError is an OSError
        why = (" ".join(str(error).split()) or type(error).__name__)[:200]
        raise DsdError(
            f"{dataset} cannot be downloaded ({why}). Copy its official archive or folder to this "
            f"machine and give it: `dsd data prepare {dataset} --from PATH`."
        ) from None


def _take(dataset: str, given: Path, root: Path) -> None:
    """Copy or unpack what was given: an archive, the folder it unpacks to, or one that holds it."""
    if given.is_file() and tarfile.is_tarfile(given):
        with tarfile.open(given) as archive:
            archive.extractall(root, filter="data")
        found = [root / content for content in OFFICIAL[dataset].contents]
        if not any(path.is_dir() for path in found):
            raise DsdError(_unknown(dataset, given))
        return
    for content in OFFICIAL[dataset].contents:
        source = _folder_of(given, content)
        if source is not None:
            (root / content).mkdir(parents=True)
            for path in sorted(source.iterdir()):
                _take_file(path, root / content)
            return
    raise DsdError(_unknown(dataset, given))


def _folder_of(given: Path, content: str) -> Path | None:
    """The folder of that content in or at `given`; Fashion-MNIST's is known by its files."""
    by_files = "*-ubyte*" if "MNIST" in content else content
    for path in (given / content, given):
        if path.is_dir() and (path.name == Path(content).name or any(path.glob(by_files))):
            return path
    return None


def _take_file(path: Path, folder: Path) -> None:
    if path.suffix == ".gz" and "ubyte" in path.name:
        with gzip.open(path) as packed:
            write_whole(folder / path.stem, lambda out: shutil.copyfileobj(packed, out, 1 << 20))
    elif path.is_file():
        copy_whole(path, folder / path.name)


def _unknown(dataset: str, given: Path) -> str:
    contents = " or ".join(OFFICIAL[dataset].contents)
    return (f"{given}: neither an official archive of {dataset} nor a folder {contents}"
            f"{' (nothing is there)' if not given.exists() else ''}.")  # fmt: skip
