"""NVIDIA DALI shows a network what torchvision shows it, up to rounding; errors are the same."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from PIL import Image

from dsd.errors import UsageError
from dsd.train import reader
from dsd.train.data import load
from dsd.train.folders import Folder
from dsd.train.listing import UnreadableImage
from tests.photos import truncate, write_photos
from tests.train.conftest import make_regime

CPU = torch.device("cpu")
CROPS = ["random-resized", "pad", "none"]
dali = pytest.mark.skipif(
    not reader.installed(), reason="NVIDIA DALI is not installed: pip install 'dsd[dali]'"
)


def split_of(
    folder: Path, read_by: str, crop: str = "random-resized", train: bool = True
) -> Folder:
    augment = {"mean": [0.5] * 3, "std": [0.25] * 3, "crop": crop, "test_resize": 73,
               "test_crop": 64}  # fmt: skip
    regime = make_regime(
        dataset="photos", resolution=64, classes=2, stem={"inputs": 3}, augment=augment
    )
    data = load(regime, folder, CPU, read_by)
    return data.train if train else data.test


def all_of(split: Folder, size: int, seed: int | None) -> tuple[torch.Tensor, torch.Tensor]:
    images, labels = zip(*split.batches(size, seed), strict=True)
    return torch.cat(images), torch.cat(labels)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    write_photos(root / "photos", train=20, val=10)
    return root


@dali
@pytest.mark.parametrize(("crop", "train"), [*((crop, True) for crop in CROPS), ("none", False)])
def test_both_readers_show_the_same(photos, crop, train):
    seed = 5 if train else None
    plain, labels = all_of(split_of(photos, "torchvision", crop, train), 20, seed)
    by_dali, same_labels = all_of(split_of(photos, "dali", crop, train), 20, seed)
    assert torch.equal(labels, same_labels)
    apart = (plain.int() - by_dali.int()).abs()
    assert apart.max() <= 2
    assert apart.float().mean() < 0.1
    again, _ = all_of(split_of(photos, "dali", crop, train), 10, seed)
    assert torch.equal(by_dali, again)  # whatever else is in an image's batch
    if train:
        other, _ = all_of(split_of(photos, "dali", crop), 20, 6)
        assert not torch.equal(by_dali, other)


def jpeg(image: Image.Image, **how: object) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", **how)
    return file.getvalue()


def turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x112] = 6  # to be shown turned by a quarter, which Pillow leaves to others
    return exif


def photo(root: Path) -> Image.Image:
    with Image.open(
        max((root / "photos").rglob("*.JPEG"), key=lambda path: path.stat().st_size)
    ) as im:
        return im.convert("RGB")


@dali
def test_decoded_boxes_are_pillows_pixels(photos):
    from dsd.train.dali import Decoder, Planned
    from dsd.train.views import View

    image = photo(photos)
    kinds = [
        jpeg(image, quality=90), jpeg(image, subsampling=0), jpeg(image, subsampling=1),
        jpeg(image, progressive=True), jpeg(image.convert("L")), jpeg(image, exif=turned()),
        jpeg(image, keep_rgb=True), jpeg(image.crop((0, 0, 133, 77))),
    ]  # fmt: skip
    boxes = [(0, 0, 77, 133), (9, 31, 50, 33), (13, 0, 1, 1), (40, 17, 37, 116)]
    cases = [(data, box) for data in kinds for box in boxes]
    found = Decoder()([Planned(np.frombuffer(data, np.uint8), View(box, (1, 1))) for data, box in
                       cases])  # fmt: skip
    for (data, (top, left, high, wide)), pixels in zip(cases, found, strict=True):
        with Image.open(io.BytesIO(data)) as decoded:
            whole = np.asarray(decoded.convert("RGB"))
        assert pixels is not None
        expected = whole[top : top + high, left : left + wide]
        assert np.array_equal(pixels.permute(1, 2, 0).numpy(), expected)


@dali
def test_what_dali_is_not_to_decode_is_torchvisions_to_the_bit(photos, tmp_path):
    image = photo(photos)
    for split in ("train", "val"):
        for name in ("n00", "n01"):
            folder = tmp_path / "photos" / split / name
            folder.mkdir(parents=True)
            image.save(folder / "png.JPEG", "PNG")
            image.save(folder / "webp.webp")
            image.convert("P").save(folder / "palette.png")
            (folder / "cmyk.jpg").write_bytes(jpeg(image.convert("CMYK")))
            (folder / "tail.jpg").write_bytes(jpeg(image) + bytes(5000))
    images, labels = all_of(split_of(tmp_path, "dali"), 10, 1)
    expected, as_labelled = all_of(split_of(tmp_path, "torchvision"), 10, 1)
    assert torch.equal(images, expected)
    assert torch.equal(labels, as_labelled)


def without_tables(data: bytes) -> bytes:
    """A JPEG whose header and end are in order, but that cannot be decoded: no Huffman tables."""
    at = data.index(b"\xff\xc4")
    while data[at : at + 2] == b"\xff\xc4":
        data = data[:at] + data[at + 2 + int.from_bytes(data[at + 2 : at + 4], "big") :]
    start = data.index(b"\xff\xda")
    return data[:start] + b"\xff\xd9"


@dali
@pytest.mark.parametrize("harm", ["cut in the middle", "cut at the end", "no scan", "empty"])
def test_a_broken_image_is_named_and_the_others_are_read_as_before(tmp_path, harm):
    root = write_photos(tmp_path / "photos", train=20, val=1)
    split = split_of(tmp_path, "dali")
    whole, labels = all_of(split, 40, 3)
    path = root / "train" / "n01" / "n01_3.JPEG"
    data = path.read_bytes()
    if harm == "cut in the middle":
        truncate(path)
    else:
        harmed = {"cut at the end": data[:-2], "no scan": without_tables(data), "empty": b""}
        path.write_bytes(harmed[harm])
    with pytest.raises(UnreadableImage, match=f"^{re.escape(str(path))}: not a readable image"):
        all_of(split, 40, 3)
    keys = [(index, 3, *file) for index, file in enumerate(split.listing.files)]
    items = split._source.__getitems__(keys)
    (wrong,) = [item for item in items if isinstance(item, UnreadableImage)]
    assert str(path) in str(wrong)
    path.write_bytes(data)
    again = split._source.__getitems__(keys)
    for key, item, before in zip(keys, items, again, strict=True):
        assert key[2] == str(path) or torch.equal(item[0], before[0])
    assert torch.equal(all_of(split, 40, 3)[0], whole)
    assert labels.sum() == 20


@dali
def test_a_reading_process_reads_the_same_and_names_what_is_broken(tmp_path):
    root = write_photos(tmp_path / "photos", train=6, val=1)
    split = split_of(tmp_path, "dali")
    expected = all_of(split, 4, 2)
    beside = replace(split, readers=1)
    for _ in range(2):
        found = all_of(beside, 4, 2)
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    path = truncate(root / "train" / "n00" / "n00_1.JPEG")
    with pytest.raises(UnreadableImage, match=f"^{re.escape(str(path))}: not a readable image"):
        all_of(beside, 4, 2)


KILLED = """
import os, signal, sys
from dataclasses import replace
from pathlib import Path
import psutil
from tests.train.test_dali import split_of
batches = replace(split_of(Path(sys.argv[1]), "dali"), readers=1).batches(4, 1)
next(batches)
print(*(one.pid for one in psutil.Process().children(recursive=True)), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@dali
@pytest.mark.slow
def test_reading_processes_leave_with_the_one_that_trains(photos):
    command = [sys.executable, "-c", KILLED, str(photos)]
    said = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=120).stdout
    reading = [int(pid) for pid in said.split()]
    assert len(reading) >= 2
    end = time.monotonic() + 20
    while any(psutil.pid_exists(pid) for pid in reading):
        assert time.monotonic() < end
        time.sleep(0.1)


def test_dali_is_chosen_on_a_gpu_only_and_only_where_it_is(monkeypatch):
    gpu = torch.device("cuda:0")
    monkeypatch.setattr(reader, "installed", lambda: True)
    assert reader.reader_for("auto", gpu) == "dali"
    assert reader.reader_for("torchvision", gpu) == "torchvision"
    assert reader.reader_for("auto", CPU) == "torchvision"
    assert reader.reader_for("dali", CPU) == "dali"
    monkeypatch.setattr(reader, "installed", lambda: False)
    assert reader.reader_for("auto", gpu) == "torchvision"
    with pytest.raises(UsageError, match="pip install 'dsd\\[dali\\]'"):
        reader.reader_for("dali", gpu)
