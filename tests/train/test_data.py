"""Which images a regime gets, and what is said when they are not there."""

from __future__ import annotations

import hashlib
import pickle
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as one

from dsd.errors import DsdError, UsageError
from dsd.train import listing, official
from dsd.train.data import SHIPPED, DatasetMissing, check, load
from dsd.train.folders import Folder
from dsd.train.images import Images, fitted, resized, shuffled
from dsd.train.listing import listed
from dsd.train.seeds import derive
from tests.train.conftest import make_regime

SHIPPED_FILE = SHIPPED["fashion-mnist-5k"]
COLOUR = {"stem": {"inputs": 3}, "augment": {"mean": [0.5] * 3, "std": [0.25] * 3}}


def test_the_shipped_images_are_those_that_their_source_states():
    stated = SHIPPED_FILE.with_name("SOURCE.md").read_text(encoding="utf-8")
    with np.load(SHIPPED_FILE, allow_pickle=False) as file:
        for name, array in file.items():
            assert f"{name} | {', '.join(map(str, array.shape))} | " in stated
            assert hashlib.sha256(array.tobytes()).hexdigest() in stated
        for split, each in (("train", 500), ("test", 200)):
            assert np.bincount(file[f"{split}_labels"]).tolist() == [each] * 10


def test_the_shipped_set_is_held_whole_and_padded_with_black(fashion, cpu, tmp_path):
    data = load(replace(fashion, resolution=32), tmp_path, cpu)
    assert data.train.pixels.shape == (5000, 1, 32, 32)
    assert data.test.pixels.shape == (2000, 1, 32, 32)
    assert data.train.pixels.dtype == torch.uint8
    frame = data.train.pixels.clone()
    frame[:, :, 2:30, 2:30] = 0
    assert not frame.any()
    with np.load(SHIPPED_FILE) as file:
        inside = data.test.pixels[:, 0, 2:30, 2:30].numpy()
        assert np.array_equal(inside, file["test_images"])
    assert re.fullmatch(r"7000 images, 10 classes, [0-9a-f]{16}", data.fingerprint)


def test_the_shipped_set_needs_no_torchvision(tmp_path):
    code = (
        "import sys, torch; sys.modules['torchvision'] = None\n"
        "from pathlib import Path; from dsd.regime import load_regime; import dsd.train.worker\n"
        "from dsd.train.data import load\n"
        "print(len(load(load_regime('fashion'), Path('.'), torch.device('cpu')).train))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stdout == "5000\n", run.stderr


def test_larger_images_are_shrunk_like_torchvision_does():
    images = torch.randint(256, (3, 1, 40, 60), dtype=torch.uint8)
    theirs = one.center_crop(one.resize(images, 20, antialias=True), [20, 20])
    assert (fitted(images, 20).int() - theirs.int()).abs().max() <= 1
    assert resized(images, 80).shape == (3, 1, 80, 120)


def test_batches_are_shuffled_by_their_seed_and_whole():
    images = Images(torch.arange(10, dtype=torch.uint8).view(10, 1, 1, 1), torch.arange(10))
    first = [labels.tolist() for _, labels in images.batches(4, seed=1)]
    assert [len(batch) for batch in first] == [4, 4]  # two images are left out, as in pycls
    assert first == [labels.tolist() for _, labels in images.batches(4, seed=1)]
    assert first != [labels.tolist() for _, labels in images.batches(4, seed=2)]
    assert all(torch.equal(p.flatten(), y) for p, y in images.batches(4, seed=3))
    assert [len(y) for _, y in images.batches(64, seed=1)] == [10]
    assert torch.cat([y for _, y in images.batches(4)]).tolist() == list(range(10))


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "fashion-mnist", "imagenet", "flowers"])
def test_a_missing_dataset_says_where_it_looked_and_what_to_set(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    regime = make_regime(dataset=name)
    with pytest.raises(DatasetMissing) as caught:
        check(regime, Path("pictures"))
    message = str(caught.value)
    assert f"'{name}'" in message
    assert str(tmp_path / "pictures") in message  # absolute, whatever was given
    assert "--data FOLDER" in message
    assert "DSD_DATA" in message
    assert "\n" not in message
    official = name not in ("imagenet", "flowers")
    assert (f"dsd data prepare {name}" in message) == official
    assert ("train/<class>/*.JPEG" in message) != official
    with pytest.raises(DatasetMissing, match="not found"):
        load(regime, Path("pictures"), torch.device("cpu"))


def test_half_an_official_set_is_missing_too(tmp_path, cpu):
    (tmp_path / "cifar10" / "cifar-10-batches-py").mkdir(parents=True)
    regime = make_regime(dataset="cifar10", **COLOUR)
    check(regime, tmp_path)
    with pytest.raises(DatasetMissing, match="not whole"):
        load(regime, tmp_path, cpu)


def test_official_files_are_read_through_torchvision(tmp_path, cpu, monkeypatch):
    from torchvision.datasets import CIFAR10

    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    rng = np.random.default_rng(0)
    batches = [name for name, _ in CIFAR10.train_list + CIFAR10.test_list]
    rows = {name: rng.integers(0, 256, (20, 3072), dtype=np.uint8) for name in batches}
    for name, data in rows.items():
        content = {"data": data, "labels": [i % 10 for i in range(20)]}
        (folder / name).write_bytes(pickle.dumps(content))
    names = {"label_names": list("abcdefghij")}
    (folder / "batches.meta").write_bytes(pickle.dumps(names))
    monkeypatch.setattr(CIFAR10, "_check_integrity", lambda self: True)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    monkeypatch.setitem(official.KNOWN, "cifar10", "120 images, 10 classes, ")
    data = load(make_regime(dataset="cifar10", resolution=32, **COLOUR), tmp_path, cpu)
    assert data.train.pixels.shape == (100, 3, 32, 32)
    assert np.array_equal(data.test.pixels.flatten(1).numpy(), rows["test_batch"])
    assert data.fingerprint.startswith("120 images, 10 classes, ")

    binary = tmp_path / "cifar-10-batches-bin"
    binary.mkdir()
    digests = {}
    for name, content in rows.items():
        labelled = np.hstack([np.arange(20, dtype=np.uint8)[:, None] % 10, content]).tobytes()
        (binary / f"{name}.bin").write_bytes(labelled)
        digests[f"{name}.bin"] = hashlib.sha1(labelled).hexdigest()
    monkeypatch.setitem(official.BINARY, binary.name, digests)
    same = official.mark(official.read("cifar10", binary))
    assert same == data.fingerprint  # whichever version the authors' images were taken from


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"classes": 12}, "classes = 12; its images have 10"),
        ({"stem": {"inputs": 3}}, "stem.inputs = 3; its images have 1 channels"),
        ({"augment": {"std": [0.2] * 3}}, r"len\(augment.std\) = 3"),
    ],
)
def test_a_regime_of_other_images_is_refused(change, words, cpu, tmp_path):
    with pytest.raises(UsageError, match=words):  # so a crew does not try again
        load(make_regime(**change), tmp_path, cpu)


def folder_regime(**augment: object):
    changes = {"crop": "random-resized", "test_resize": 36, "test_crop": 32, **COLOUR["augment"]}
    return make_regime(
        dataset="imagenet", resolution=32, classes=2, stem={"inputs": 3},
        augment={**changes, **augment},
    )  # fmt: skip


def test_an_image_folder_is_read_in_imagenets_layout(pictures, cpu):
    regime = folder_regime()
    check(regime, pictures)
    check(regime, pictures / "imagenet")  # the folder itself serves too
    data = load(regime, pictures, cpu)
    assert isinstance(data.train, Folder)
    assert (len(data.train), len(data.test)) == (12, 6)
    assert re.fullmatch(r"18 images, 2 classes, [0-9a-f]{16}", data.fingerprint)
    for images, labels in data.test.batches(4):
        assert images.shape[1:] == (3, 32, 32)
        assert images.dtype == torch.uint8
        assert torch.equal((images.float().mean((1, 2, 3)) > 100).long(), labels)
    assert [len(y) for _, y in data.test.batches(4)] == [4, 2]
    assert [len(y) for _, y in data.train.batches(5, seed=0)] == [5, 5]


def test_crops_of_a_folder_depend_on_seed_and_image_alone(pictures, cpu):
    split = load(folder_regime(), pictures, cpu).train

    def crops(seed: int, batch: int = 12) -> dict[str, torch.Tensor]:
        plan = split.batches(batch, seed)
        return {str(image.sum().item()): image for part, _ in plan for image in part}

    assert crops(1).keys() == crops(1, batch=4).keys()
    assert crops(1).keys() != crops(2).keys()
    before = torch.random.get_rng_state()
    crops(3)
    assert torch.equal(before, torch.random.get_rng_state())  # the run's own stream is untouched


def test_a_folders_test_image_is_torchvisions_resize_and_center_crop(pictures, cpu):
    split = load(folder_regime(), pictures, cpu).test
    image = Image.open(split.listing.files[0][0])
    expected = one.pil_to_tensor(one.center_crop(one.resize(image, 36), [32, 32]))
    assert torch.equal(next(split.batches(1))[0][0], expected)


def test_a_folders_crop_is_torchvisions_under_the_images_own_seed(pictures, cpu):
    """What finished runs have seen stays what a seed and an image mean."""
    split = load(folder_regime(), pictures, cpu).train
    steps = [v2.RandomResizedCrop(32), v2.RandomHorizontalFlip(), v2.PILToTensor()]
    expected = []
    for index in shuffled(len(split), 7, cpu).tolist():
        torch.manual_seed(derive(7, index))
        with Image.open(split.listing.files[index][0]) as image:
            expected.append(v2.Compose(steps)(image))
    ((images, _),) = split.batches(12, seed=7)
    assert torch.equal(images, torch.stack(expected))


def test_a_broken_image_is_named(pictures, cpu):
    broken = pictures / "imagenet" / "train" / "n02" / "n02_0.JPEG"
    broken.write_bytes(broken.read_bytes()[:200])
    with pytest.raises(DsdError, match=re.escape(str(broken))):
        list(load(folder_regime(), pictures, cpu).train.batches(4, seed=0))


def test_a_changed_file_changes_the_fingerprint(pictures, cpu):
    before = load(folder_regime(), pictures, cpu).fingerprint
    (pictures / "imagenet" / "train" / "n01" / "n01_5.JPEG").unlink()
    assert load(folder_regime(), pictures, cpu).fingerprint != before
    for image in (pictures / "imagenet" / "val" / "n02").iterdir():
        image.unlink()
    (pictures / "imagenet" / "val" / "n02").rmdir()
    with pytest.raises(DsdError, match="same class folders"):
        load(folder_regime(), pictures, cpu)


def test_a_folder_without_images_is_said(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(DsdError, match="no images"):
        listed(tmp_path)
    assert ".jpeg" in listing.SUFFIXES
