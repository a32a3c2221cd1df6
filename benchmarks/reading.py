"""Images a second read from an image folder: torchvision, and NVIDIA DALI.

python benchmarks/reading.py [--images 256] [--repeats 7] [--processes 0]

It writes JPEGs as large as ImageNet's (500 x 375, quality 92, 4:2:0): pieces of a photograph. Both
readers show the same random resized crops at 224 px; then the test images' view. The pixels of both
are compared. One process is measured by its CPU time, so that what else runs on the machine hardly
counts; with reading processes beside it, by the clock.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import numpy as np
import torch
import torchvision
from matplotlib import cbook
from PIL import Image
from PIL import __version__ as pillow

from dsd.regime import load_regime
from dsd.train.data import Dataset, load
from dsd.train.folders import Folder
from dsd.train.reader import installed

CPU = torch.device("cpu")
BATCH = 128


def write(root: Path, count: int) -> int:
    """root/photos/{train,val}/n0{0,1}/*.JPEG, in both splits `count`; their bytes on average."""
    rng = np.random.default_rng(0)
    with cbook.get_sample_data("grace_hopper.jpg") as file:
        photo = Image.open(file).convert("RGB")
    sizes = []
    for split in ("train", "val"):
        for index in range(count):
            folder = root / "photos" / split / f"n{index % 2:02}"
            folder.mkdir(parents=True, exist_ok=True)
            width, height = (500, 375) if index % 4 else (375, 500)
            part = rng.uniform(0.4, 1) * min(photo.width / width, photo.height / height)
            wide, high = int(part * width), int(part * height)
            left = int(rng.integers(photo.width - wide + 1))
            top = int(rng.integers(photo.height - high + 1))
            piece = photo.crop((left, top, left + wide, top + high)).resize((width, height))
            path = folder / f"{index:05}.JPEG"
            piece.save(path, quality=92)
            sizes.append(path.stat().st_size)
    return sum(sizes) // len(sizes)


def read(split: Folder, seed: int | None) -> tuple[float, torch.Tensor]:
    """Images a second of one pass, and its images."""
    clock = time.perf_counter if split.readers else time.process_time
    begin = clock()
    images = torch.cat([images for images, _ in split.batches(BATCH, seed)])
    return len(images) / (clock() - begin), images


def rates(data: dict[str, Dataset], what: str, repeats: int, processes: int) -> None:
    """Measure the readers in turn, and print."""
    splits = {name: replace(getattr(one, what), readers=processes) for name, one in data.items()}
    found: dict[str, list[float]] = {name: [] for name in splits}
    apart = torch.zeros(0)
    for repeat in range(-1, repeats):
        seed = repeat + 1 if what == "train" else None
        passes = {name: read(split, seed) for name, split in splits.items()}
        if repeat >= 0:  # the first one starts what is to be started
            for name, (rate, _) in passes.items():
                found[name].append(rate)
        if len(passes) == 2:
            first, second = (images.int() for _, images in passes.values())
            apart = (first - second).abs()
    for name, one in found.items():
        line = f"{min(one):>9.0f}{statistics.median(one):>9.0f}{max(one):>9.0f}"
        print(f"  {what + ', ' + name:<34}{line}  images/{'s' if processes else 'CPU s'}")
    if len(found) == 2:
        ratios = sorted(b / a for a, b in zip(*found.values(), strict=True))
        line = f"{ratios[0]:>9.2f}{statistics.median(ratios):>9.2f}{ratios[-1]:>9.2f}"
        print(f"  {what + ', dali against torchvision':<34}{line}  times")
        print(f"  {what + ', values differ by':<34}{apart.float().mean():>9.3f}  on average, "
              f"{int(apart.max())} at most")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--processes", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    regime = replace(load_regime("imagenet_400mf"), dataset="photos", classes=2)
    with tempfile.TemporaryDirectory() as name:
        size = write(Path(name), given.images)
        readers = ["torchvision", *["dali"] * installed()]
        data = {one: load(regime, Path(name), CPU, one) for one in readers}
        print(f"Python {platform.python_version()}, torch {torch.__version__}, torchvision "
              f"{torchvision.__version__}, Pillow {pillow}; {os.cpu_count()} cores")  # fmt: skip
        print(f"{given.images} JPEGs of {size / 1000:.0f} kB, read by "
              f"{' and '.join(one.reader for one in data.values())}, "
              f"{given.processes} processes beside the one that trains")  # fmt: skip
        print(f"  {'':<34}{'min':>9}{'median':>9}{'max':>9}")
        for what in ("train", "test"):
            rates(data, what, given.repeats, given.processes)


if __name__ == "__main__":
    main()
