"""Prepared sets: what is in them, what stops them, and that no interruption harms them."""

from __future__ import annotations

import io
import json
import re
import shutil
import signal
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
from torchvision.transforms.v2 import functional as one

from dsd.errors import DsdError
from dsd.train import prepare as preparing
from dsd.train.data import DatasetMissing, check, load
from dsd.train.files import lock
from dsd.train.listing import listed, splits_of
from dsd.train.mapped import Mapped, ahead, gathered
from dsd.train.prepare import Unreadable, prepare
from dsd.train.prepared import Manifest, Preparation, checked, partial_of
from dsd.train.verify import altered, unreadable
from tests.photos import truncate, write_photos
from tests.train.conftest import make_regime

JPEG, MAP = Preparation("jpeg", 64, 90), Preparation("uint8", 48)
CPU = torch.device("cpu")
FOLDER = {"resolution": 32, "classes": 2, "stem": {"inputs": 3},
          "augment": {"mean": [0.5] * 3, "std": [0.25] * 3, "crop": "random-resized"},
          "train": {"batch": 4}}  # fmt: skip


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return write_photos(tmp_path / "photos", sides=(50, 200))


def made(
    source: Path, how: Preparation, name: str = "", **options: object
) -> tuple[Path, Manifest]:
    target = source.parent / (name or f"photos-{how.suffix}")
    options = {"processes": 1, **options}
    return target, prepare(source, splits_of(source), target, how, **options)  # type: ignore[arg-type]


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes()
            for path in root.rglob("*") if path.is_file()}  # fmt: skip


def test_a_copy_has_the_same_images_with_a_short_side_at_most_as_asked(photos):
    target, manifest = made(photos, JPEG)
    kept = 0
    for split in ("train", "val"):
        before, after = listed(photos / split), listed(target / split)
        assert [label for _, label in before.files] == [label for _, label in after.files]
        assert before.classes == after.classes
        for (old, _), (new, _) in zip(before.files, after.files, strict=True):
            source = Image.open(old)
            if min(source.size) <= 64:
                assert Path(old).read_bytes() == Path(new).read_bytes()
                kept += 1
                continue
            buffer = io.BytesIO()
            one.resize(source, 64).save(buffer, "JPEG", quality=90)  # torchvision's own resizing
            assert np.array_equal(Image.open(new), Image.open(buffer))
    assert 0 < kept < 18
    assert manifest.counts == (12, 6)
    assert not partial_of(target).exists()
    assert altered(target, manifest, 1) == []


def test_a_map_holds_torchvisions_resized_centres(photos):
    target, manifest = made(photos, MAP)
    rows = np.memmap(target / "train.u8", np.uint8, "r").reshape(-1, 3, 48, 48)
    for row, (path, _) in zip(rows, listed(photos / "train").files, strict=True):
        expected = one.center_crop(one.resize(Image.open(path), 48), [48, 48])
        assert np.array_equal(row, one.pil_to_tensor(expected))
    assert np.load(target / "train-labels.npy").tolist() == [0] * 6 + [1] * 6
    assert altered(target, manifest, 1) == []


@pytest.mark.parametrize("how", [JPEG, MAP])
def test_a_regime_that_names_it_is_trained_on_it_and_its_fingerprint_says_so(photos, how):
    target, manifest = made(photos, how)
    regime = make_regime(dataset=target.name, **FOLDER)
    data = load(regime, photos.parent, CPU)
    assert data.fingerprint == manifest.fingerprint
    source = load(replace(regime, dataset="photos"), photos.parent, CPU).fingerprint
    assert re.fullmatch(
        rf"18 images, 2 classes, \w{{16}}, prepared: {how.words}, from {source}", data.fingerprint
    )
    for split, shape in ((data.train, (4, 3)), (data.test, (4, 3))):
        images, labels = next(split.batches(4, seed=1))
        assert images.shape[:2] == shape
        assert images.dtype == torch.uint8
        assert set(labels.tolist()) <= {0, 1}


def test_under_another_name_a_prepared_set_is_refused(photos):
    target, _ = made(photos, JPEG)
    target.rename(photos.parent / "imagenet")
    with pytest.raises(DsdError, match='dataset = "photos-short64-q90"'):
        load(make_regime(dataset="imagenet", **FOLDER), photos.parent, CPU)


@pytest.mark.parametrize("how", [JPEG, MAP])
def test_unreadable_images_are_named_and_left_out_only_if_asked(photos, how):
    whole = sorted((photos / "train" / "n00").iterdir())
    broken = truncate(whole[2])
    (photos / "val" / "n01" / "text.JPEG").write_text("no image")
    named = unreadable(photos, 2)
    assert [line.split(":")[0] for line in named] == [
        str(broken), str(photos / "val" / "n01" / "text.JPEG")]  # fmt: skip
    assert "truncated" in named[0]
    with pytest.raises(Unreadable, match="--without-unreadable") as caught:
        made(photos, how)
    assert [line.split(":")[0] for line in caught.value.images] == [
        f"train/n00/{broken.name}", "val/n01/text.JPEG"]  # fmt: skip
    target, manifest = made(photos, how, without_unreadable=True)
    assert manifest.unreadable == caught.value.images
    assert manifest.counts == (11, 6)
    assert manifest.fingerprint.endswith(", without 2 unreadable")
    data = load(make_regime(dataset=target.name, **FOLDER), photos.parent, CPU)
    assert (len(data.train), len(data.test)) == (11, 6)
    labels = torch.cat([labels for _, labels in data.train.batches(4)])
    assert labels.tolist() == [0] * 5 + [1] * 6
    assert altered(target, manifest, 1) == []


def test_a_mended_image_is_taken_in_by_the_next_call(photos):
    broken = photos / "train" / "n00" / "n00_2.JPEG"
    whole = broken.read_bytes()
    broken.write_bytes(bytes(len(whole)))  # a disk's error, say: names and sizes stay the same
    with pytest.raises(Unreadable):
        made(photos, MAP)
    broken.write_bytes(whole)
    _, manifest = made(photos, MAP)
    assert (manifest.counts, manifest.unreadable) == ((12, 6), ())


def test_a_class_without_a_readable_image_keeps_the_labels_of_the_others(photos):
    for path in (photos / "train" / "n00").iterdir():
        truncate(path)
    target, _ = made(photos, JPEG, without_unreadable=True)
    found = listed(target / "train")
    assert found.classes == ("n00", "n01")
    assert {label for _, label in found.files} == {1}


WRITER = """
import sys; from pathlib import Path
from dsd.train.listing import splits_of
from dsd.train.prepare import prepare
from dsd.train.prepared import Preparation
if __name__ == "__main__":
    source, target, kind, side = sys.argv[1:]
    how = Preparation(kind, int(side), 90 if kind == "jpeg" else 0)
    prepare(Path(source), splits_of(Path(source)), Path(target), how, processes=2, chunk=2)
"""


@pytest.mark.parametrize("how", [JPEG, MAP])
def test_killed_in_the_middle_it_goes_on_and_ends_like_one_that_was_not(tmp_path, how):
    photos = write_photos(tmp_path / "photos", train=24, sides=(300, 500))
    target, script = tmp_path / f"photos-{how.suffix}", tmp_path / "writer.py"
    script.write_text(WRITER)
    command = [sys.executable, str(script), str(photos), str(target), how.kind, str(how.side)]
    writer = subprocess.Popen(command, stderr=subprocess.PIPE)
    records = partial_of(target) / "chunks"
    end = time.monotonic() + 60
    while len(list(records.glob("*.json"))) < 3:
        assert time.monotonic() < end
        assert writer.poll() is None
        time.sleep(0.002)
    helpers = psutil.Process(writer.pid).children(recursive=True)
    writer.send_signal(signal.SIGKILL)
    writer.communicate()
    psutil.wait_procs(helpers, timeout=20)
    assert not any(helper.is_running() for helper in helpers)  # nobody goes on writing
    assert not target.exists()
    kept = {path: path.stat().st_mtime_ns for path in records.glob("*.json")}
    assert 3 <= len(kept) < 27
    with pytest.raises(DatasetMissing, match="goes on where it was"):
        check(make_regime(dataset=target.name), tmp_path)
    counts: list[int] = []
    made(photos, how, chunk=2, tick=lambda done, of: counts.append(done))
    assert counts[0] == 2 * len(kept)  # what was recorded is not done again
    again, _ = made(photos, how, f"other-{how.suffix}")
    first, second = contents(target), contents(again)
    assert json.loads(first.pop("prepared.json"))["name"] == target.name
    second.pop("prepared.json")
    assert first == second


def test_images_added_and_removed_between_two_calls_are_seen(photos, monkeypatch):
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(preparing, "_manifest", interrupted)
        with pytest.raises(KeyboardInterrupt):
            made(photos, JPEG, chunk=3)
    shutil.copy(photos / "train" / "n00" / "n00_0.JPEG", photos / "train" / "n00" / "a.JPEG")
    (photos / "train" / "n01" / "n01_5.JPEG").unlink()
    target, _ = made(photos, JPEG, chunk=3)
    fresh, _ = made(photos, JPEG, "fresh", chunk=3)
    assert contents(target / "train") == contents(fresh / "train")


@pytest.mark.parametrize("how", [JPEG, MAP])
def test_a_set_that_is_not_whole_is_refused_with_the_reason(photos, how):
    target, manifest = made(photos, how)
    regime = make_regime(dataset=target.name, **FOLDER)
    if how is JPEG:
        victim = target / "val" / "n01" / "n01_1.JPEG"
        reason = "val/ has 5 images, should have 6"
    else:
        victim = target / "train.u8"
        reason = "train.u8 has 0 bytes, should have 82944"
    victim.unlink()
    with pytest.raises(DsdError, match=reason):
        load(regime, photos.parent, CPU)
    assert str(victim) in "\n".join(altered(target, manifest, 1)) if how is JPEG else True
    (target / "prepared.json").write_text('{"format": 1}')
    with pytest.raises(DsdError, match="not a manifest"):
        load(regime, photos.parent, CPU)


@pytest.mark.parametrize("how", [JPEG, MAP])
def test_a_flipped_byte_is_found_and_its_image_named(photos, how):
    target, manifest = made(photos, how)
    victim = target / ("val/n01/n01_1.JPEG" if how is JPEG else "val.u8")
    data = bytearray(victim.read_bytes())
    place = len(data) // 2 if how is JPEG else 4 * 3 * 48 * 48 + 7
    data[place] ^= 1
    victim.write_bytes(data)
    checked(target, target.name)  # names and sizes are still those
    (found,) = altered(target, manifest, 1)
    assert "n01_1.JPEG" in found
    assert "not as it was written" in found
    (target / "val-images.tsv").write_text("")
    assert any("cannot be judged" in line for line in altered(target, manifest, 1))


def test_labels_are_compared_with_the_names(photos):
    target, manifest = made(photos, MAP)
    labels = np.load(target / "val-labels.npy")
    np.save(target / "val-labels.npy", labels[::-1])
    assert altered(target, manifest, 1) == [f"{target / 'val-labels.npy'}: not as it was written"]


def test_only_one_process_prepares_a_set(photos):
    target = photos.parent / "photos-48px"
    partial_of(target).mkdir()
    with (
        lock(partial_of(target) / "lock", "busy"),
        pytest.raises(DsdError, match="another process"),
    ):
        made(photos, MAP)


def test_a_full_disk_is_said_before_anything_is_written(photos):
    with pytest.raises(DsdError, match=r"GB free; these images take .* at 5000000 px"):
        made(photos, Preparation("uint8", 5_000_000))
    assert not list((partial_of(photos.parent / "photos-5000000px")).glob("*.u8"))


def test_a_map_is_streamed_in_the_order_in_which_it_would_be_held(photos):
    target, _ = made(photos, MAP)
    regime = make_regime(dataset=target.name, **FOLDER)
    held = load(regime, photos.parent, CPU).train
    assert isinstance(held, Mapped)
    direct = [(images, labels) for images, labels in held.batches(5, seed=3)]
    rows = [labels for _, labels in direct]
    assert [len(part) for part in rows] == [5, 5]
    order = torch.arange(12).split(5)
    for (pixels, chosen), expected in zip(
        ahead(order, lambda rows: gathered(held.pixels, rows, pin=False)), order, strict=True
    ):
        assert torch.equal(chosen, expected)
        assert torch.equal(pixels, held.pixels[expected])
    many = torch.arange(12).repeat(20).split(7)
    assert [chosen.tolist() for _, chosen in ahead(many, lambda rows: rows)] == [
        chosen.tolist() for chosen in many
    ]
    tested = load(regime, photos.parent, CPU).test
    assert next(tested.batches(4))[0].shape == (4, 3, 32, 32)
    assert next(held.batches(4, seed=0))[0].shape == (4, 3, 48, 48)  # cropped later
