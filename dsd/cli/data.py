"""`dsd data`: the images that regimes name."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dsd.cli.bar import counting
from dsd.cli.options import SuggestingGroup, pass_lab
from dsd.errors import DsdError, UsageError

if TYPE_CHECKING:
    from dsd.lab import Lab
    from dsd.train.describe import Description
    from dsd.train.prepared import Manifest, Preparation


@click.group(cls=SuggestingGroup)
def data() -> None:
    """List, get, prepare and verify the images that regimes name."""


@data.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_lab
def list_(lab: Lab, as_json: bool) -> None:
    """Datasets of all regimes and prepared sets: where they lie, how many images, which ones."""
    from dsd.cli.regimes import readable
    from dsd.cli.text import si, table
    from dsd.train.describe import describe, named

    folder = Path(lab.settings.data)
    known = named({regime.name: regime for regime in readable()}, folder)
    found = [describe(dataset, regimes, folder) for dataset, regimes in known.items()]
    if as_json:
        click.echo(json.dumps([one.as_dict() for one in found], indent=2))
        return
    rows = [
        [one.dataset, _few(one.regimes), f"{one.images:,}" if one.images else "-",
         str(one.classes or "-"), si(one.bytes, "B") if one.bytes else "-", _state(one)]
        for one in found
    ]  # fmt: skip
    table(["dataset", "regimes", "images", "classes", "size", "fingerprint"], rows, (0, 1, 5))
    for one in found:
        where = one.place or f"not in {' nor in '.join(one.looked)}"
        click.echo(f"{one.dataset}: {where}")


def _few(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - 2} more" if len(names) > 2 else ""
    return ", ".join(names[:2]) + more if names else "none"


def _state(one: Description) -> str:
    return one.problem or one.fingerprint.split(", ", 2)[2]


@data.command()
@click.argument("datasets", nargs=-1, metavar="[DATASET]...")
@click.option("--jobs", type=click.IntRange(1), help="Processes.  [one per core]")
@pass_lab
def verify(lab: Lab, datasets: tuple[str, ...], jobs: int | None) -> None:
    """Look at every image of DATASET, or of all that are here; name those that cannot be read.

    Official sets are compared with their authors' digests, prepared ones with their manifest. Exit
    code 1 if anything is amiss.
    """
    from dsd.cli.regimes import readable
    from dsd.train.describe import named
    from dsd.train.places import DatasetMissing, place

    folder = Path(lab.settings.data)
    wrong = 0
    for dataset in datasets or named({one.name: one for one in readable()}, folder):
        try:
            root = place(dataset, folder)
        except DatasetMissing:
            if datasets:
                raise
            continue
        wrong += _verify(dataset, root, jobs)
    if wrong:
        raise SystemExit(1)


def _verify(dataset: str, root: Path, jobs: int | None) -> int:
    """Say what is amiss with one dataset, and how much it is."""
    from dsd.train.describe import fingerprint
    from dsd.train.places import OFFICIAL, SHIPPED
    from dsd.train.prepared import read_manifest
    from dsd.train.verify import altered, unreadable

    found: list[str] = []
    with counting(dataset, "images") as tick:
        if dataset not in SHIPPED and dataset not in OFFICIAL:
            manifest = read_manifest(root)
            found = (
                altered(root, manifest, jobs, tick) if manifest else unreadable(root, jobs, tick)
            )
    try:
        mark = fingerprint(dataset, root)
    except DsdError as error:
        found = found or [str(error)]
        mark = "not whole"
    for line in found:
        click.echo(line)
    click.echo(f"{dataset}: {mark}; {f'{len(found)} amiss' if found else 'all can be read'}")
    return len(found)


@data.command()
@click.argument("dataset")
@click.option("--from", "given", type=click.Path(exists=True, path_type=Path), metavar="PATH",
              help="Folder or archive to take it from.")  # fmt: skip
@click.option("--short", type=click.IntRange(8), metavar="PX",
              help="A copy of JPEGs whose short side is PX.  [256]")  # fmt: skip
@click.option("--size", type=click.IntRange(8), metavar="PX",
              help="One uint8 array of PX x PX centres instead.")  # fmt: skip
@click.option("--quality", type=click.IntRange(50, 100), help="Of the JPEGs.  [90]")
@click.option("--without-unreadable", is_flag=True,
              help="Leave out images that cannot be read, and record which.")  # fmt: skip
@click.option("--jobs", type=click.IntRange(1), help="Processes.  [one per core]")
@pass_lab
def prepare(
    lab: Lab, dataset: str, given: Path | None, short: int | None, size: int | None,
    quality: int | None, without_unreadable: bool, jobs: int | None,
) -> None:  # fmt: skip
    """Get an official DATASET, or make a smaller copy of one in ImageNet's layout.

    Smaller images change results a little, so a copy is a dataset of its own name, which a regime
    has to give. Interrupted, the same command goes on where it was.

    \b
        dsd data prepare cifar10
        dsd data prepare imagenet --from /mnt/imagenet              # data/imagenet-short256-q90
        dsd data prepare imagenet --from /mnt/imagenet --size 160   # data/imagenet-160px
    """
    from dsd.train.places import OFFICIAL, SHIPPED

    if not re.fullmatch(r"[\w.+-]+", dataset):
        raise UsageError(f"'{dataset}' is no name of a dataset; a folder is given by --from.")
    if dataset in SHIPPED:
        click.echo(f"{dataset} ships with dsd: there is nothing to prepare.")
        return
    folder = Path(lab.settings.data)
    if dataset in OFFICIAL:
        if short or size or quality or without_unreadable:
            raise UsageError(
                f"{dataset} is small: --short, --size, --quality and --without-unreadable are for "
                "images in ImageNet's layout."
            )
        _get(dataset, folder, given)
        return
    _shrink(dataset, folder, given, _preparation(short, size, quality), without_unreadable, jobs)


def _get(dataset: str, folder: Path, given: Path | None) -> None:
    from dsd.train.describe import fingerprint
    from dsd.train.official import fetch
    from dsd.train.places import DatasetMissing, place

    try:
        root, new = place(dataset, folder), ""
        mark = fingerprint(dataset, root)
    except DatasetMissing:
        root, new = fetch(dataset, folder, given), "Wrote "
        mark = fingerprint(dataset, root)
    click.echo(f"{new}{root}: {mark}{'' if new else ': already here'}")


def _preparation(short: int | None, size: int | None, quality: int | None) -> Preparation:
    from dsd.train.prepared import Preparation

    if size and (short or quality):
        raise UsageError("--size makes an array of pixels: it excludes --short and --quality.")
    if size:
        return Preparation("uint8", size)
    return Preparation("jpeg", short or 256, quality or 90)


def _shrink(
    dataset: str, folder: Path, given: Path | None, preparation: Preparation,
    without_unreadable: bool, jobs: int | None,
) -> None:  # fmt: skip
    from dsd.train.describe import fingerprint
    from dsd.train.listing import fingerprint_of
    from dsd.train.places import images_in, place
    from dsd.train.prepare import Unreadable, prepare
    from dsd.train.prepared import read_manifest

    source = (given or place(dataset, folder)).absolute()
    listings = images_in(source)
    target = folder.absolute() / f"{dataset}-{preparation.suffix}"
    manifest = read_manifest(target)
    if manifest:
        fingerprint(target.name, target)
    if manifest and manifest.source != fingerprint_of(*listings):
        raise DsdError(f"{target} was made from other images: {manifest.source}. Move it away.")
    done = manifest is not None
    last = (0, 0)
    try:
        with counting(target.name, "images") as tick:

            def remember(*counts: int) -> None:
                nonlocal last
                last = (counts[0], counts[1])
                tick(*last)

            manifest = manifest or prepare(source, listings, target, preparation,
                                           without_unreadable, jobs, remember)  # fmt: skip
    except Unreadable as error:
        for line in error.images:
            click.echo(line)
        raise
    except KeyboardInterrupt:
        click.echo(f"{last[0]} of {last[1]} images are written; the same command goes on.")
        raise
    _say(target, manifest, done)


def _say(target: Path, manifest: Manifest, done: bool) -> None:
    from dsd.cli.text import si

    for line in manifest.unreadable:
        click.echo(f"left out: {line}")
    size = si(sum(manifest.bytes), "B")
    click.echo(f"{'' if done else 'Wrote '}{target}: {manifest.fingerprint}; {size}"
               f"{', already here' if done else ''}")  # fmt: skip
    click.echo(f'A regime is trained on it that says dataset = "{manifest.name}".')
