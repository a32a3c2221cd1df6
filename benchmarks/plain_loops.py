"""A plain training loop as in torchvision's reference scripts: what dsd's speed is compared with.

One network at a time, NCHW, fp32 with the library's defaults (`plain_loop`), fed by a DataLoader
with per-image transforms and a worker a core, or by images that lie on the device. Nothing here is
dsd's but the network and the images.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from dsd.net.arch import Arch
from dsd.net.build import build
from dsd.regime import Recipe, Regime
from dsd.train.data import load

TEST_BATCH = 200
Batches = Callable[[], Iterable[tuple[Tensor, Tensor]]]


@dataclass(frozen=True)
class Feed:
    """A pass over each split; `steps` and `tested` are batches and images of them."""

    train: Batches
    test: Batches
    steps: int
    tested: int


class Files(Dataset[tuple[Tensor, int]]):
    """Images one at a time, through per-image transforms, as from files."""

    def __init__(
        self, images: Tensor, labels: Tensor, transform: Callable[[Tensor], Tensor]
    ) -> None:
        self.images, self.labels, self.transform = images, labels, transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(self.images[index]), int(self.labels[index])


def transforms(regime: Regime, training: bool) -> v2.Transform:
    """The regime's augmentation in torchvision's words, PCA lighting left out.

    Of a whole batch each transform draws once, so it does less than dsd, which draws an image each.
    """
    augment, size = regime.augment, regime.resolution
    crops: dict[str, list[Any]] = {
        "pad": [v2.RandomCrop(size, padding=augment.pad)],
        "random-resized": [v2.RandomResizedCrop(size, antialias=True)],
    }
    crop = crops.get(augment.crop, []) if training else []
    flip = [v2.RandomHorizontalFlip()] if training and augment.flip else []
    normal = v2.Normalize(list(augment.mean), list(augment.std))
    return v2.Compose([*crop, *flip, v2.ToDtype(torch.float32, scale=True), normal])


def from_loaders(regime: Regime, folder: Path, device: torch.device, workers: int) -> Feed:
    """Training and test batches as torchvision's references load them."""
    data = load(regime, folder, torch.device("cpu"))
    parts = []
    for split, training in ((data.train, True), (data.test, False)):
        files = Files(split.pixels, split.labels, transforms(regime, training))  # type: ignore[union-attr]
        size = regime.train.batch if training else TEST_BATCH
        parts.append(DataLoader(
            files, size, shuffle=training, drop_last=training, num_workers=workers,
            pin_memory=device.type == "cuda",
        ))  # fmt: skip

    def placed(loader: DataLoader[Any]) -> Iterator[tuple[Tensor, Tensor]]:
        for images, labels in loader:
            yield images.to(device, non_blocking=True), labels.to(device, non_blocking=True)

    steps = len(data.train) // regime.train.batch
    return Feed(lambda: placed(parts[0]), lambda: placed(parts[1]), steps, len(data.test))


def on_device(regime: Regime, folder: Path, device: torch.device) -> Feed:
    """The same with the images as tensors on the device, transformed a batch at a time."""
    data = load(regime, folder, device)

    def batches(split: Any, training: bool) -> Iterator[tuple[Tensor, Tensor]]:
        order = (torch.randperm if training else torch.arange)(len(split), device=device)
        size = regime.train.batch if training else TEST_BATCH
        change = transforms(regime, training)
        for start in range(0, len(order) - (size - 1) * training, size):
            rows = order[start : start + size]
            yield change(split.pixels[rows]), split.labels[rows]

    steps = len(data.train) // regime.train.batch
    test, train = (lambda: batches(data.test, False)), (lambda: batches(data.train, True))
    return Feed(train, test, steps, len(data.test))


@contextlib.contextmanager
def reference_flags() -> Iterator[None]:
    """cuDNN tries its algorithms, as in the references; what was set before comes back after."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


def optimizer_of(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """SGD as the library makes it by default."""
    return torch.optim.SGD(
        model.parameters(), recipe.lr, recipe.momentum, nesterov=recipe.nesterov,
        weight_decay=recipe.weight_decay,
    )  # fmt: skip


def plain_loop(arch: Arch, regime: Regime, feed: Feed, device: torch.device) -> float:
    """Train one network and return its test error in percent, as a reference script would."""
    model, recipe, error = build(arch).to(device), regime.train, 100.0
    optimizer = optimizer_of(model, recipe)
    for epoch in range(recipe.epochs):
        model.train()
        for step, (images, labels) in enumerate(feed.train()):
            optimizer.param_groups[0]["lr"] = rate(recipe, epoch + step / feed.steps)
            loss = nn.functional.cross_entropy(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss.item()  # the references print it
        model.eval()
        with torch.inference_mode():
            right = sum(int((model(x).argmax(1) == y).sum()) for x, y in feed.test())
        error = 100 - 100 * right / feed.tested
    return error


def rate(recipe: Recipe, at: float) -> float:
    """The learning rate after `at` epochs."""
    half_cosine = recipe.lr / 2 * (1 + math.cos(math.pi * at / recipe.epochs))
    warm = min(1.0, at / recipe.warmup_epochs) if recipe.warmup_epochs else 1.0
    return half_cosine * (0.1 * (1 - warm) + warm)
