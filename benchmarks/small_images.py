"""Networks an hour at 28 to 32 pixels: plain loops, and dsd with one worker or several a device."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from dsd_study import NotDone, Study, queued, trained
from machine import cores, release, row, say
from plain_loops import Feed, from_loaders, on_device, plain_loop, reference_flags
from random_images import RandomSet, prepared

from dsd.net.arch import Arch
from dsd.regime import Regime, load_regime
from dsd.space.sample import sample
from dsd.space.spec import load_space


@dataclass(frozen=True)
class Question:
    """What is compared: n networks of a space under a regime of so many images and epochs.

    `data` is the folder of the real CIFAR-10, or None: random images take its place. Epochs of 0
    mean the regime's own.
    """

    regime: str
    space: str
    n: int
    epochs: int
    images: int
    data: Path | None
    slots: tuple[str, ...]
    repeats: int


def compare(question: Question, folder: Path, device: torch.device, deadline: float) -> None:
    """Print the networks an hour of every side, and dsd's against both plain loops.

    At least one repeat is made, and another while it would end before the deadline.
    """
    regime, about = written(question, folder)
    archs = list(sample(load_space(question.space), regime, question.n, 0).archs)
    say(f"{question.regime}: {question.n} networks of {question.space}, {about}, "
        f"{regime.train.epochs} epochs")  # fmt: skip
    found: dict[str, dict[int, float]] = {}  # of each side, seconds by repeat
    for repeat in range(question.repeats):
        begin = time.monotonic()
        for name, seconds in one_repeat(question, regime, archs, folder, device):
            found.setdefault(name, {})[repeat] = seconds
            say(f"    repeat {repeat + 1}: {name}: {seconds:.1f} s")
        if time.monotonic() + (time.monotonic() - begin) > deadline:
            say(f"    {repeat + 1} of {question.repeats} repeats: the time is up")
            break
    report(found, question.n)


def one_repeat(
    question: Question, regime: Regime, archs: list[Arch], folder: Path, device: torch.device
) -> Iterator[tuple[str, float]]:
    """Each side's name and seconds for all the networks; a side that fails is said and left out."""
    data = folder / "data"
    feeds: dict[str, Callable[[], Feed]] = {
        "plain, loaders": lambda: from_loaders(regime, data, device, cores()),
        "plain, images on the device": lambda: on_device(regime, data, device),
    }
    for name, feed in feeds.items():
        yield name, plain(archs, regime, feed, device)
    for slots in question.slots:
        name = f"dsd, {slots} slot{'s'[: slots != '1']}"
        try:
            queued(folder, question.space, question.n, f"bench_{question.regime}")
            study: Study = trained(folder, *command(device, slots))
        except NotDone as error:
            say(f"    {name}: not measured: {error}")
            continue
        yield name, study.seconds
        yield f"{name}, from first claim to last result", study.working


def command(device: torch.device, slots: str) -> list[str]:
    """How dsd trains all that is queued with so many networks at a time on the device."""
    if device.type == "cpu":
        many = [] if slots == "auto" else ["--slots", slots]
        return ["launch", "local", "--cpu", *many]
    many = [] if slots == "1" else ["--slots", slots]
    return ["worker", "--gpu", str(device.index or 0), *many, "--exit-when-empty"]


def plain(
    archs: list[Arch], regime: Regime, feed: Callable[[], Feed], device: torch.device
) -> float:
    """Seconds of a plain loop for all networks, its process and the device being up already."""
    begin = time.perf_counter()
    with reference_flags():
        ready = feed()
        for arch in archs:
            plain_loop(arch, regime, ready, device)
    seconds = time.perf_counter() - begin
    del ready
    release(device)
    return seconds


def written(question: Question, folder: Path) -> tuple[Regime, str]:
    """The regime's file for both sides, and what its images are.

    BN is not made precise before each test: torchvision's references do not, and both sides shall
    do the same work.
    """
    lines = [f'extends = "{question.regime}"', "train.precise_bn_images = 0"]
    if question.epochs:
        lines.append(f"train.epochs = {question.epochs}")
    base = load_regime(question.regime)
    about = f"images of {base.dataset}"
    if base.dataset == "cifar10" and question.data is None:
        size = RandomSet("random", base.resolution, base.classes, question.images, 2000)
        if not (folder / "data" / size.dataset).is_dir():
            prepared(folder, size)
        lines.insert(1, f'dataset = "{size.dataset}"')
        about = f"{size.train} + {size.test} RANDOM images in place of {base.dataset}'s"
    elif question.data is not None and not (folder / "data").exists():
        (folder / "data").symlink_to(question.data.absolute(), target_is_directory=True)
    (folder / "regimes").mkdir(exist_ok=True)
    path = folder / "regimes" / f"bench_{question.regime}.toml"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return load_regime(str(path)), about


def report(found: dict[str, dict[int, float]], n: int) -> None:
    """The table: networks an hour, then the ratios within each repeat."""
    say(f"  {'':<46}{'min':>11}{'median':>11}{'max':>11}")
    for name, seconds in found.items():
        say(row(name, [3600 * n / one for one in seconds.values()], "networks/hour"))
    for base in [name for name in found if name.startswith("plain")]:
        for name, seconds in found.items():
            if name.startswith("dsd"):
                ratios = [found[base][repeat] / one for repeat, one in seconds.items()]
                say(f"  {name} against {base}")
                say(row("", ratios, "times", 2))
