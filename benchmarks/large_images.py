"""Images a second at 224 pixels, images on the device: plain loops, dsd, and what memory allows.

A block is one pass over the training images. The clock is read after the device has done all it
was told, at both ends of a block and nowhere within; a plain loop reads no loss. The first block of
every side is thrown away: cuDNN tries algorithms in it, dsd whatever it tries. Then the sides take
turns, a block each, so that a ratio is between blocks that lie beside each other in time.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from machine import copy_bandwidth, release, row, say, wait
from plain_loops import on_device, optimizer_of, reference_flags
from random_images import RandomSet, prepared
from torch import nn
from traffic import BYTES, traffic

from dsd.errors import DsdError
from dsd.net.arch import Arch
from dsd.net.build import build
from dsd.regime import Regime, load_regime
from dsd.space.networks import published_network, under
from dsd.space.sample import sample
from dsd.space.spec import load_space
from dsd.train.data import Dataset, load
from dsd.train.how import How
from dsd.train.loop import AS_USUAL, Session

Blocks = Iterator[float]  # images a second, block by block
FORMATS = {"NCHW": torch.contiguous_format, "channels_last": torch.channels_last}
FASTER = 1.1  # a rate above what memory allows by this much says that something is wrong


@dataclass(frozen=True)
class Question:
    """What is compared: a published network and n sampled ones, on so many random images."""

    network: str
    space: str
    regime: str
    n: int
    images: RandomSet
    resolution: int
    batch: int
    repeats: int
    copied: int  # bytes of the copy that measures bandwidth


def compare(question: Question, folder: Path, device: torch.device, deadline: float) -> None:
    """Print each network's images a second on every side, ratios, and the share of the limit.

    The first network is always measured, the others while each would end before the deadline.
    """
    regime = written(question, folder)
    archs = networks(question, regime)
    say(f"{len(archs)} networks, {question.images.train} RANDOM images on the device, "
        f"{question.resolution} px, batch {question.batch}")  # fmt: skip
    speeds = copy_bandwidth(device, question.copied)
    say(row("copy bandwidth, read + write", [one / 1e9 for one in speeds], "GB/s", 1))
    bandwidth = statistics.median(speeds)
    data = load(regime, folder / "data", device)
    ratios: dict[str, list[float]] = {}
    for done, (label, arch) in enumerate(archs.items()):
        begin = time.monotonic()
        sides = measured(arch, regime, folder / "data", data, device, question.repeats)
        tell(label, arch, question, sides, bandwidth)
        for name, values in compared(sides).items():
            ratios.setdefault(name, []).append(statistics.median(values))
        if time.monotonic() + (time.monotonic() - begin) > deadline and done + 1 < len(archs):
            say(f"{done + 1} of {len(archs)} networks: the time is up")
            break
    say("over the networks, each by its median:")
    for name, values in ratios.items():
        say(row(f"{name}, {len(values)} networks", values, "times", 2))
        say(f"  {'':<46}{'geometric mean':>22}{statistics.geometric_mean(values):>11.2f}  times")
    if device.type == "cuda":
        say("with torch.compile, whose time is in no figure here:")
        sides = compiled(archs[question.network], regime, data, device, question.repeats)
        tell(question.network, archs[question.network], question, sides, bandwidth)


def networks(question: Question, regime: Regime) -> dict[str, Arch]:
    """The published network under the regime, and the first n of the space inside its band."""
    found = {question.network: under(published_network(question.network), regime)}
    if question.n:
        drawn = sample(load_space(question.space), load_regime(question.regime), question.n, 0)
        found.update({f"{question.space} {i}": under(arch, regime)
                      for i, arch in enumerate(drawn.archs)})  # fmt: skip
    return found


def written(question: Question, folder: Path) -> Regime:
    """The regime for both sides: random images, a learning rate at which labels that mean nothing
    do no harm, epochs without end and no precise BN."""
    size = question.images
    (folder / "regimes").mkdir(exist_ok=True)
    path = folder / "regimes" / "bench_large.toml"
    lines = [f'extends = "{question.regime}"', f'dataset = "{size.dataset}"',
             f"classes = {size.classes}", f"resolution = {question.resolution}",
             "train.precise_bn_images = 0", "train.epochs = 1000", "train.lr = 0.001",
             f"train.batch = {question.batch}", "augment.test_resize = 0",
             "augment.test_crop = 0"]  # fmt: skip
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    prepared(folder, size)
    return load_regime(str(path))


def measured(
    arch: Arch, regime: Regime, folder: Path, data: Dataset, device: torch.device, repeats: int
) -> dict[str, list[float]]:
    """Images a second of every side, a figure a repeat; a side that fails is said and left out."""
    sides: dict[str, Callable[[], Blocks]] = {
        f"plain {precision} {layout}": partial(plain, arch, regime, folder, device, precision, form)
        for precision, (layout, form) in itertools.product(BYTES, FORMATS.items())
    }
    for precision in BYTES:
        sides[f"dsd {precision}"] = partial(with_dsd, arch, regime, precision, data, device)
    return in_turns(sides, device, repeats)


def compiled(
    arch: Arch, regime: Regime, data: Dataset, device: torch.device, repeats: int
) -> dict[str, list[float]]:
    """Images a second of dsd with and without torch.compile, as `measured`."""
    sides: dict[str, Callable[[], Blocks]] = {
        f"dsd bf16{' compiled' * on}": partial(
            with_dsd, arch, regime, "bf16", data, device, How(compiled=on)
        )
        for on in (False, True)
    }
    return in_turns(sides, device, repeats)


def in_turns(
    sides: dict[str, Callable[[], Blocks]], device: torch.device, repeats: int
) -> dict[str, list[float]]:
    """A figure a repeat of every side, after a first block that does not count."""
    running = {name: start() for name, start in sides.items()}
    found: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(repeats + 1):
        for name in list(running):
            try:
                speed = next(running[name])
            except (RuntimeError, DsdError) as error:
                why = (str(error).splitlines() or [type(error).__name__])[0]
                say(f"    {name}: not measured: {why}")
                del running[name], found[name]
                continue
            if turn:
                found[name].append(speed)
    running.clear()
    release(device)
    return found


def plain(
    arch: Arch, regime: Regime, folder: Path, device: torch.device, precision: str,
    layout: torch.memory_format,
) -> Blocks:  # fmt: skip
    """A plain loop on images that lie on the device."""
    model = build(arch).to(device).to(memory_format=layout).train()
    optimizer, feed = optimizer_of(model, regime.train), on_device(regime, folder, device)
    while True:
        with reference_flags():
            wait(device)
            begin = time.perf_counter()
            for images, labels in feed.train():
                placed = images.contiguous(memory_format=layout)
                with torch.autocast(device.type, torch.bfloat16, precision == "bf16"):
                    logits = model(placed)
                loss = nn.functional.cross_entropy(logits.float(), labels)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            wait(device)
            seconds = time.perf_counter() - begin
        yield feed.steps * regime.train.batch / seconds


def with_dsd(
    arch: Arch, regime: Regime, precision: str, data: Dataset, device: torch.device,
    how: How = AS_USUAL,
) -> Blocks:  # fmt: skip
    """dsd's own training, epoch by epoch; its rate is that of the training pass.

    Checked by a clock of our own: images cannot have come faster than the whole epoch took.
    """
    theirs = replace(regime, train=replace(regime.train, precision=precision))
    session = Session.start(build(arch), theirs, data, device, 0, lambda: False, how)
    begin = time.perf_counter()
    for epoch in session.epochs():
        wait(device)
        whole = time.perf_counter() - begin
        if epoch.seconds > whole * 1.01:
            raise DsdError(f"dsd says that {whole:.3f} s were {epoch.seconds:.3f} s")
        yield epoch.images_per_s
        begin = time.perf_counter()


def compared(sides: dict[str, list[float]]) -> dict[str, list[float]]:
    """Ratios of dsd to plain loops, a figure a repeat; those whose sides were both measured.

    The better of two plain loops is the one of the higher median.
    """
    reduced = {name: values for name, values in sides.items() if name.startswith("plain bf16")}
    best = max(reduced, key=lambda name: statistics.median(reduced[name]), default="")
    pairs = {
        "dsd bf16 against plain fp32 NCHW": ("dsd bf16", "plain fp32 NCHW"),
        "dsd bf16 against the better plain bf16": ("dsd bf16", best),
        "dsd fp32 against plain fp32 NCHW": ("dsd fp32", "plain fp32 NCHW"),
        "dsd bf16 compiled against dsd bf16": ("dsd bf16 compiled", "dsd bf16"),
    }
    return {
        name: [a / b for a, b in zip(sides[mine], sides[other], strict=True)]
        for name, (mine, other) in pairs.items()
        if mine in sides and other in sides
    }


def tell(
    label: str, arch: Arch, question: Question, sides: dict[str, list[float]], bandwidth: float
) -> None:
    """One network's table."""
    say(f"{label}: {' '.join(f'{s.d}x{s.w}/{s.b}/{s.g}' for s in arch.stages)}  (d x w / b / g)")
    say(f"  {'':<46}{'min':>11}{'median':>11}{'max':>11}")
    for name, values in sides.items():
        say(row(name, values, "images/s"))
    for name, values in compared(sides).items():
        say(row(name, values, "times", 2))
    for precision in BYTES:
        limits = []
        for fused in (False, True):
            moved = traffic(arch, question.resolution, precision, fused).each(question.batch)
            limits.append(bandwidth / moved)
            say(f"  memory allows, {precision} {'fused' if fused else 'eager'}: "
                f"{moved / 1e6:.1f} MB an image, {limits[-1]:,.0f} images/s")  # fmt: skip
        for name in [name for name in sides if f" {precision}" in name]:
            shares = [100 * statistics.median(sides[name]) / limit for limit in limits]
            say(f"  {name:<30} {shares[0]:6.1f}% of the eager limit, {shares[1]:6.1f}% of the fused"
                f"{'' if shares[1] < 100 * FASTER else ': MORE THAN MEMORY ALLOWS'}")  # fmt: skip
