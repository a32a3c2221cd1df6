"""An image that cannot be read has a defined end: its run fails by name, the others go on."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
from sqlalchemy import select

from dsd.errors import DsdError
from dsd.net.arch import Stem
from dsd.store.engine import Store, reading
from dsd.store.schema import Epoch, Run
from dsd.train.data import load
from dsd.train.listing import UnreadableImage, listed, splits_of
from dsd.train.prepare import prepare
from dsd.train.prepared import Preparation
from dsd.train.verify import altered, unreadable
from tests.photos import truncate, write_photos
from tests.train.conftest import fill, make_regime, small_arch

FOLDER = {"dataset": "photos", "resolution": 32, "classes": 2, "stem": {"inputs": 3},
          "augment": {"mean": [0.5] * 3, "std": [0.25] * 3, "crop": "random-resized"}}  # fmt: skip
WORKER = """
import sys; from pathlib import Path; import torch
from dsd.store.engine import open_store
from dsd.train.worker import work
work(open_store(sys.argv[1]), folder=Path(sys.argv[2]), device=torch.device("cpu"),
     exit_when_empty=True)
"""


def epochs_of(store: Store) -> int:
    with reading(store) as connection:
        return len(connection.execute(select(Epoch.epoch)).all())


def runs(store: Store) -> dict[str, tuple[str, str | None]]:
    with reading(store) as connection:
        rows = connection.execute(select(Run.network, Run.state, Run.message))
        return {row[0]: (row[1], row[2]) for row in rows}


def test_an_image_broken_while_a_worker_trains_fails_that_run_by_name(store, tmp_path):
    photos = write_photos(tmp_path / "photos", sides=(40, 80))
    on_photos = make_regime("folder", **FOLDER, train={"epochs": 3000, "batch": 4})
    colour = replace(small_arch(8), stem=Stem(inputs=3, width=8), classes=2)
    other = small_arch(16)
    fill(store, [colour], on_photos, "on photos")
    fill(store, [other], make_regime(train={"epochs": 1, "batch": 500}), "elsewhere")
    command = [sys.executable, "-c", WORKER, str(store.url.database), str(tmp_path)]
    worker = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    end = time.monotonic() + 60
    while epochs_of(store) < 2:
        assert time.monotonic() < end
        time.sleep(0.02)
    broken = truncate(photos / "train" / "n01" / "n01_3.JPEG")
    out, _ = worker.communicate(timeout=60)
    assert worker.returncode == 0
    state, message = runs(store)[colour.digest]
    assert state == "failed"
    assert message is not None
    assert message.startswith(f"UnreadableImage: {broken}: not a readable image")
    assert str(broken) in out
    assert runs(store)[other.digest] == ("done", None)


@pytest.mark.parametrize("processes", [0, 1])
def test_the_name_survives_a_reading_process(tmp_path, processes):
    photos = write_photos(tmp_path / "photos", train=3, val=1, sides=(40, 80))
    split = load(make_regime(**FOLDER), tmp_path, torch.device("cpu")).train
    split = replace(split, readers=processes)
    whole = [labels.tolist() for _, labels in split.batches(3, seed=1)]
    path = photos / "train" / "n00" / "n00_1.JPEG"
    data = path.read_bytes()
    truncate(path)
    with pytest.raises(UnreadableImage, match=f"^{re.escape(str(path))}: not a readable image"):
        list(split.batches(3, seed=1))
    path.write_bytes(data)
    again = [labels.tolist() for _, labels in split.batches(3, seed=1)]
    assert again == whole  # the processes live on


def test_what_a_list_of_files_cannot_hold_is_refused(pictures):
    """Names and nested folders that would otherwise be left out or misread, in one line."""
    train = pictures / "imagenet" / "train" / "n01"
    whole = listed(train.parent)
    (train / "notes").mkdir()
    (train / "notes" / "a.txt").touch()
    assert listed(train.parent) == whole, "a folder without images is nobody's concern"
    nested = train / "notes" / "more"
    nested.mkdir()
    (nested / "a.JPEG").touch()
    with pytest.raises(DsdError, match=r"notes/more holds images within a class folder"):
        listed(train.parent)
    shutil.rmtree(train / "notes")
    for name in (b"a\tb.JPEG", b"a\nb.JPEG", b"a\xff.JPEG"):
        path = os.fsencode(train) + b"/" + name
        with open(path, "wb"):
            pass
        with pytest.raises(DsdError, match="rename it"):
            listed(train.parent)
        os.unlink(path)


def test_dangling_links_and_classes_without_images_are_named(pictures):
    root = pictures / "imagenet"
    (root / "train" / "n01" / "gone.JPEG").symlink_to("nowhere")
    for split in ("train", "val"):
        (root / split / "n03").mkdir()
    found = unreadable(root, processes=1)
    assert [line.removeprefix(f"{root}/").split(":")[0] for line in found] == [
        "train/n03", "val/n03", "train/n01/gone.JPEG",
    ]  # fmt: skip


def test_names_of_any_language_are_prepared_and_verified(pictures):
    root = pictures / "imagenet"
    names = ("日本 ü.JPEG", "a\u2028b.JPEG", "a\x85b.JPEG")  # some of which splitlines would cut
    for name in names:
        shutil.copy(root / "val" / "n01" / "n01_0.JPEG", root / "train" / "n02" / name)
    target = pictures / "imagenet-16px"
    manifest = prepare(root, splits_of(root), target, Preparation("uint8", 16), processes=1)
    assert manifest.counts == (15, 6)
    assert altered(target, manifest, processes=1) == []
