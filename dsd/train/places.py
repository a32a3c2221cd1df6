"""Where a dataset lies, by its name: looked up without reading it, and without torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dsd.errors import DsdError
from dsd.regime import Regime
from dsd.train.listing import Listing, splits_of
from dsd.train.prepared import MANIFEST, SPLITS, unfinished

SHIPPED = {"fashion-mnist-5k": Path(__file__).parent / "datasets" / "fashion_mnist_5k.npz"}
GENERIC = ("imagenet", "imagefolder")  # may be the given folder itself


@dataclass(frozen=True)
class Official:
    """A set that its authors distribute: torchvision's class, the folders that may hold it."""

    kind: str
    contents: tuple[str, ...]


OFFICIAL = {
    "fashion-mnist": Official("FashionMNIST", ("FashionMNIST/raw",)),
    "cifar10": Official("CIFAR10", ("cifar-10-batches-py", "cifar-10-batches-bin")),
    "cifar100": Official("CIFAR100", ("cifar-100-python", "cifar-100-binary")),
}


class DatasetMissing(DsdError):
    """The images of a regime are not where they were looked for."""


def check(regime: Regime, folder: Path) -> None:
    """Cheaply, before any network is claimed: raises DatasetMissing if the images are not there."""
    place(regime.dataset, folder, f" of regime '{regime.name}'")


def place(dataset: str, folder: Path, whose: str = "") -> Path:
    """The file or folder that holds a dataset. Raises DatasetMissing, which says where it looked.

    Of an official set, the folder that its authors' archive unpacks to; of images in ImageNet's
    layout, the folder of train/ and val/; of a prepared set, the folder of its manifest.
    """
    if dataset in SHIPPED:
        return SHIPPED[dataset]
    looked = candidates(dataset, folder)
    for one in looked:
        if one.is_dir() if dataset in OFFICIAL else _holds_images(one):
            return one
    where = " and ".join(map(str, looked))
    raise DatasetMissing(f"Dataset '{dataset}'{whose} not found: looked in {where}. "
                         f"Set --data FOLDER or DSD_DATA. {_hint(dataset, folder)}")  # fmt: skip


def candidates(dataset: str, folder: Path) -> list[Path]:
    """Everywhere that a dataset is looked for."""
    roots = [folder.absolute() / dataset]
    if dataset in OFFICIAL:
        roots.append(folder.absolute())
        return [root / content for root in roots for content in OFFICIAL[dataset].contents]
    return roots + [folder.absolute()] * (dataset in GENERIC)


def _holds_images(root: Path) -> bool:
    return (root / MANIFEST).is_file() or all((root / split).is_dir() for split in SPLITS)


def images_in(source: Path) -> tuple[Listing, Listing]:
    """Training and test images of a folder in ImageNet's layout that is no prepared set itself."""
    if (source / MANIFEST).is_file():
        raise DsdError(f"{source} is prepared already; give the original images by --from.")
    for split in SPLITS:
        if not (source / split).is_dir():
            raise DsdError(f"{source}: no folder {split}/; needs train/<class>/*.JPEG and "
                           "val/<class>/*.JPEG there.")  # fmt: skip
    return splits_of(source)


def _hint(dataset: str, folder: Path) -> str:
    """How to get a dataset that is not there."""
    begun = unfinished(folder.absolute() / dataset)
    if begun:
        return begun
    if dataset in OFFICIAL:
        return (f"To get it: `dsd data prepare {dataset}`, with --from FOLDER_OR_ARCHIVE where "
                "there is no network.")  # fmt: skip
    names = "" if dataset in GENERIC else f" ({', '.join((*SHIPPED, *OFFICIAL))} have names.)"
    return f"It needs train/<class>/*.JPEG and val/<class>/*.JPEG there.{names}"
