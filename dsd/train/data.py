"""From a regime's dataset name and a folder to images ready to train on."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dsd.errors import DsdError
from dsd.regime import Regime
from dsd.train.folders import Folder, listed
from dsd.train.images import Images, center_cropped, fitted, padded, resized

SHIPPED = {"fashion-mnist-5k": Path(__file__).parent / "datasets" / "fashion_mnist_5k.npz"}
# Name -> class in torchvision.datasets, and what lies in the folder once it is there.
OFFICIAL = {
    "fashion-mnist": ("FashionMNIST", "FashionMNIST/raw"),
    "cifar10": ("CIFAR10", "cifar-10-batches-py"),
    "cifar100": ("CIFAR100", "cifar-100-python"),
}
GENERIC = ("imagenet", "imagefolder")  # may be the given folder itself

Split = Images | Folder


@dataclass(frozen=True)
class Dataset:
    """What a network is trained and tested on; the fingerprint says which images these are."""

    train: Split
    test: Split
    fingerprint: str


class DatasetMissing(DsdError):
    """The images of a regime are not where they were looked for."""


def check(regime: Regime, folder: Path) -> None:
    """Cheaply, before any network is claimed: raises DatasetMissing if the images are not there."""
    if regime.dataset not in SHIPPED:
        _official_folder(regime, folder) if regime.dataset in OFFICIAL else _root(regime, folder)


def load(regime: Regime, folder: Path, device: torch.device) -> Dataset:
    """The dataset of a regime: small ones whole on the device, image folders read as they train.

    Test images get their final size here. Smaller images are padded with black, larger ones shrunk
    (see `images.fitted`). Raises DatasetMissing, and DsdError for other classes or channels.
    """
    if regime.dataset in SHIPPED or regime.dataset in OFFICIAL:
        return _held(regime, folder, device)
    root = _root(regime, folder)
    train, test = listed(root / "train"), listed(root / "val")
    if train.classes != test.classes:
        raise DsdError(f"{root}: train/ and val/ must hold the same class folders.")
    _agree(regime, len(train.classes), 3)
    count = len(train.files) + len(test.files)
    make = (regime.resolution, regime.augment, device)
    mark = fingerprint(count, len(train.classes), (train.digest + test.digest).encode())
    return Dataset(Folder(train, *make, training=True), Folder(test, *make, training=False), mark)


def fingerprint(count: int, classes: int, *content: bytes) -> str:
    """Images, classes and 16 hexadecimal digits of a SHA-256, in one line."""
    digest = hashlib.sha256()
    for part in content:
        digest.update(part)
    return f"{count} images, {classes} classes, {digest.hexdigest()[:16]}"


def _held(regime: Regime, folder: Path, device: torch.device) -> Dataset:
    """Whole splits as uint8 tensors on the device."""
    arrays = _shipped(regime) if regime.dataset in SHIPPED else _official(regime, folder)
    pixels, labels = (arrays["train_images"], arrays["test_images"]), arrays["train_labels"]
    classes = int(labels.max()) + 1
    _agree(regime, classes, pixels[0].shape[1])
    train, test = (torch.from_numpy(part) for part in pixels)
    keep = regime.augment.crop == "random-resized"  # crops are taken from the images as they are
    train = padded(train, regime.resolution) if keep else fitted(train, regime.resolution)
    content = [np.ascontiguousarray(part).tobytes() for part in arrays.values()]
    return Dataset(
        _placed(train, labels, device),
        _placed(_test_view(test, regime), arrays["test_labels"], device),
        fingerprint(len(train) + len(test), classes, *content),
    )


def _placed(pixels: torch.Tensor, labels: Any, device: torch.device) -> Images:
    return Images(pixels.to(device), torch.from_numpy(labels.astype(np.int64)).to(device))


def _test_view(pixels: torch.Tensor, regime: Regime) -> torch.Tensor:
    """Resized and cropped as the regime tests; without either, fitted like the training images."""
    if not regime.augment.test_resize and not regime.augment.test_crop:
        return fitted(pixels, regime.resolution)
    crop = regime.augment.test_crop or regime.resolution
    scaled = resized(pixels, regime.augment.test_resize) if regime.augment.test_resize else pixels
    return center_cropped(padded(scaled, crop), crop)


def _shipped(regime: Regime) -> dict[str, Any]:
    with np.load(SHIPPED[regime.dataset], allow_pickle=False) as file:
        return {k: v[:, None] if v.ndim == 3 else v for k, v in file.items()}


def _official(regime: Regime, folder: Path) -> dict[str, Any]:
    """Arrays (n, c, h, w) and labels of torchvision's own reading of the official files."""
    from torchvision import datasets

    kind = OFFICIAL[regime.dataset][0]
    root = _official_folder(regime, folder)
    try:
        parts = [
            getattr(datasets, kind)(root, train=train, download=False) for train in (True, False)
        ]
    except RuntimeError as error:
        raise DatasetMissing(
            _missing(regime, [root], f"the files are not whole ({error}).")
        ) from None
    arrays: dict[str, Any] = {}
    for name, part in zip(("train", "test"), parts, strict=True):
        data = np.asarray(part.data)
        arrays[f"{name}_images"] = data[:, None] if data.ndim == 3 else data.transpose(0, 3, 1, 2)
        arrays[f"{name}_labels"] = np.asarray(part.targets)
    return arrays


def _official_folder(regime: Regime, folder: Path) -> Path:
    kind, content = OFFICIAL[regime.dataset]
    roots = [folder.absolute() / regime.dataset, folder.absolute()]
    for root in roots:
        if (root / content).is_dir():
            return root
    get = f"torchvision.datasets.{kind}('{roots[1]}', download=True)"
    hint = f'To get it: python -c "import torchvision; {get}"'
    raise DatasetMissing(_missing(regime, [root / content for root in roots], hint))


def _root(regime: Regime, folder: Path) -> Path:
    """The folder of an image folder set: folder/<dataset>, or folder itself for ImageNet."""
    roots = [folder.absolute() / regime.dataset]
    roots += [folder.absolute()] if regime.dataset in GENERIC else []
    for root in roots:
        if (root / "train").is_dir() and (root / "val").is_dir():
            return root
    hint = "It needs train/<class>/*.JPEG and val/<class>/*.JPEG there."
    raise DatasetMissing(_missing(regime, roots, hint))


def _missing(regime: Regime, looked: list[Path], hint: str) -> str:
    where = " and ".join(map(str, looked))
    known = (
        ""
        if regime.dataset in (*OFFICIAL, *GENERIC)
        else f" ({', '.join((*SHIPPED, *OFFICIAL))} have names.)"
    )
    return (
        f"Dataset '{regime.dataset}' of regime '{regime.name}' not found: looked in {where}. "
        f"Set --data FOLDER or DSD_DATA. {hint}{known}"
    )


def _agree(regime: Regime, classes: int, channels: int) -> None:
    """Refuse a regime that speaks of other images."""
    if classes != regime.classes:
        raise DsdError(
            f"Regime '{regime.name}' says classes = {regime.classes}; its images have {classes}."
        )
    given = {"stem.inputs": regime.stem.inputs, "len(augment.mean)": len(regime.augment.mean),
             "len(augment.std)": len(regime.augment.std)}  # fmt: skip
    for key, value in given.items():
        if value != channels:
            raise DsdError(
                f"Regime '{regime.name}' says {key} = {value}; its images have {channels} channels."
            )
