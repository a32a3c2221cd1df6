"""From a regime's dataset name and a folder to images ready to train on."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dsd.errors import UsageError
from dsd.regime import Regime
from dsd.train import official, prepared
from dsd.train.folders import Folder, readers
from dsd.train.held import FORMAT, Held, in_common
from dsd.train.images import Images, as_tested, as_trained, tensor_of
from dsd.train.listing import fingerprint_of
from dsd.train.mapped import Mapped, mapped
from dsd.train.places import OFFICIAL, SHIPPED, DatasetMissing, check, place
from dsd.train.reader import in_words

__all__ = ["SHIPPED", "Dataset", "DatasetMissing", "check", "load"]

Split = Images | Folder | Mapped


@dataclass(frozen=True)
class Dataset:
    """What a network is trained and tested on; the fingerprint says which images these are."""

    train: Split
    test: Split
    fingerprint: str
    reader: str = ""  # what decodes them as training goes, with its version


def load(
    regime: Regime, folder: Path, device: torch.device, reader: str = "torchvision",
    hold: bool = True,
) -> Dataset:  # fmt: skip
    """The dataset of a regime: small ones whole on the device, image folders read as they train.

    Prepared arrays are held on a GPU where they fit, unless not to `hold`: read as they train then.
    Test images get their final size here. Smaller images are padded with black, larger ones shrunk
    (see `images.fitted`). Raises DatasetMissing, and DsdError for other classes or channels, or
    where the `reader` of image folders, torchvision or dali, does not work.
    """
    check(regime, folder)
    root = place(regime.dataset, folder)
    if regime.dataset in SHIPPED:
        return _placed(regime, _made(regime, _shipped(root)), device)
    if regime.dataset in OFFICIAL:
        common = folder.absolute() / "held" / f"{regime.dataset}-{_view_key(regime)}"
        held = in_common(common, lambda: _made(regime, official.read(regime.dataset, root)))
        return _placed(regime, held, device)
    manifest = prepared.checked(root, regime.dataset)
    if manifest and manifest.preparation.kind == "uint8":
        _agree(regime, len(manifest.classes), 3)
        return Dataset(*mapped(root, manifest, regime, device, hold), manifest.fingerprint)
    train, test = prepared.images_of(root, manifest)
    _agree(regime, len(train.classes), 3)
    mark = manifest.fingerprint if manifest else fingerprint_of(train, test)
    splits = [
        Folder(part, regime.resolution, regime.augment, device, training, readers(device), reader)
        for part, training in ((train, True), (test, False))
    ]
    return Dataset(splits[0], splits[1], mark, in_words(reader))


def _made(regime: Regime, arrays: dict[str, Any]) -> Held:
    """Whole splits at the sizes that the regime trains and tests on."""
    mark = official.mark(arrays)
    train, test = (torch.from_numpy(np.ascontiguousarray(arrays[f"{split}_images"]))
                   for split in ("train", "test"))  # fmt: skip
    views = {"train_images": as_trained(train, regime), "test_images": as_tested(test, regime)}
    labels = {name: arrays[name].astype(np.int64) for name in ("train_labels", "test_labels")}
    return Held({**{name: view.numpy() for name, view in views.items()}, **labels}, mark)


def _view_key(regime: Regime) -> str:
    """16 hexadecimal digits of all that decides how the images of a whole set are resized."""
    augment = regime.augment
    keep = augment.crop == "random-resized"
    view = [FORMAT, regime.resolution, keep, augment.test_resize, augment.test_crop]
    return hashlib.sha256(json.dumps(view).encode()).hexdigest()[:16]


def _placed(regime: Regime, held: Held, device: torch.device) -> Dataset:
    """Whole splits as uint8 tensors on the device; on the CPU, where they are mapped."""
    arrays = held.arrays
    _agree(regime, int(arrays["train_labels"].max()) + 1, arrays["train_images"].shape[1])
    splits = [
        Images(tensor_of(arrays[f"{split}_images"]).to(device),
               tensor_of(arrays[f"{split}_labels"]).to(device))
        for split in ("train", "test")
    ]  # fmt: skip
    return Dataset(splits[0], splits[1], held.fingerprint)


def _shipped(path: Path) -> dict[str, Any]:
    with np.load(path, allow_pickle=False) as file:
        return {k: v[:, None] if v.ndim == 3 else v for k, v in file.items()}


def _agree(regime: Regime, classes: int, channels: int) -> None:
    """Raises UsageError for a regime that speaks of other images: no worker can train it."""
    if classes != regime.classes:
        raise UsageError(
            f"Regime '{regime.name}' says classes = {regime.classes}; its images have {classes}."
        )
    given = {"stem.inputs": regime.stem.inputs, "len(augment.mean)": len(regime.augment.mean),
             "len(augment.std)": len(regime.augment.std)}  # fmt: skip
    for key, value in given.items():
        if value != channels:
            raise UsageError(
                f"Regime '{regime.name}' says {key} = {value}; its images have {channels} channels."
            )
