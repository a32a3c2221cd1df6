"""Small real regimes and data sets, and stores filled with small real networks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dsd.net.arch import Arch, Stage, Stem, text_digest
from dsd.regime import Regime, load_regime, regime_from
from dsd.store.engine import Store, open_store
from dsd.store.populations import save_sample
from dsd.train.device import prepare
from dsd.train.images import Images

TABLES: dict[str, Any] = {
    "dataset": "fashion-mnist-5k", "resolution": 14, "classes": 10,
    "stem": {"inputs": 1, "width": 8},
    "train": {"epochs": 2, "batch": 64, "lr": 0.1, "precise_bn_images": 0},
    "augment": {"crop": "none", "lighting": 0.0, "test_resize": 0, "test_crop": 0,
                "mean": [0.286], "std": [0.353]},
}  # fmt: skip


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    prepare(torch.device("cpu"))


@pytest.fixture
def cpu() -> torch.device:
    return torch.device("cpu")


def make_regime(name: str = "small", **changes: Any) -> Regime:
    """TABLES with some keys changed; `train` and `augment` merge."""
    data = {**TABLES, **changes}
    for table in ("train", "augment", "stem"):
        data[table] = {**TABLES[table], **changes.get(table, {})}
    return regime_from(data, name, name)


@pytest.fixture(scope="session")
def fashion() -> Regime:
    return load_regime("fashion")


def small_arch(width: int = 8, depth: int = 1, **changes: Any) -> Arch:
    stages = (Stage(depth, width, 1, 4), Stage(1, 2 * width, 1, 8))
    return Arch(**{"stem": Stem(inputs=1, width=8), "stages": stages, "classes": 10, **changes})


def random_images(n: int, size: int = 14, channels: int = 1, classes: int = 10) -> Images:
    rng = torch.Generator().manual_seed(n)
    pixels = torch.randint(256, (n, channels, size, size), generator=rng, dtype=torch.uint8)
    return Images(pixels, torch.arange(n) % classes)


def fill(store: Store, archs: list[Arch], regime: Regime, space: str = "hand") -> None:
    """Queue these networks as the population (space, regime, seed 0)."""
    n, text = len(archs), f'{{"space":"{space}"}}'
    sample: Any = SimpleNamespace(
        space=SimpleNamespace(name=space, text=text, digest=text_digest(text)),
        regime=regime, seed=0, archs=tuple(archs), draws=({"d1": 1.0},) * n, tally={},
        **dict.fromkeys(("flops", "params", "acts"), np.full(n, 1000)),
    )  # fmt: skip
    save_sample(store, sample)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(str(tmp_path / "dsd.db"))
    yield opened
    opened.close()


@pytest.fixture
def said() -> Any:
    """A `say` that keeps its lines."""
    lines: list[str] = []
    keep: Callable[[str], None] = lines.append
    return SimpleNamespace(lines=lines, say=keep)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Real JPEGs in ImageNet's layout: two classes of another mean colour, sizes that differ."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 6), ("val", 3)):
        for label, name in enumerate(("n01", "n02")):
            folder = tmp_path / "imagenet" / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                noise = rng.integers(0, 60, (40 + 5 * i, 50, 3))
                pixels = (noise + 150 * label).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{name}_{i}.JPEG", quality=95)
    return tmp_path
