"""Official sets: got from folders and archives, read the same from either version, proved."""

from __future__ import annotations

import gzip
import hashlib
import tarfile
from pathlib import Path

import numpy as np
import pytest

from dsd.errors import DsdError
from dsd.train import official
from dsd.train.places import DatasetMissing, place


def cifar(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str = "cifar-10-batches-bin"
) -> Path:
    """Files in the official binary format with other images, which are declared official."""
    rng = np.random.default_rng(0)
    root = folder / name
    root.mkdir(parents=True)
    digests = {}
    for file in official.BINARY[name]:
        labels = 2 if "100" in name else 1
        rows = rng.integers(0, 256, (20, labels + 3072), dtype=np.uint8)
        rows[:, labels - 1] = np.arange(20) % 10
        (root / file).write_bytes(rows.tobytes())
        digests[file] = hashlib.sha1(rows.tobytes()).hexdigest()
    monkeypatch.setitem(official.BINARY, name, digests)
    for dataset in ("cifar10", "cifar100"):
        monkeypatch.setitem(official.KNOWN, dataset, "")
    return root


def fashion(folder: Path, count: int = 30, packed: bool = True) -> Path:
    """Files in Fashion-MNIST's format."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for split in ("train", "t10k"):
        images = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        heads = {"images-idx3": [2051, count, 28, 28], "labels-idx1": [2049, count]}
        for (name, head), array in zip(heads.items(), (images, labels), strict=True):
            data = np.array(head, ">i4").tobytes() + array.tobytes()
            path = folder / f"{split}-{name}-ubyte{'.gz' * packed}"
            path.write_bytes(gzip.compress(data) if packed else data)
    return folder


@pytest.mark.parametrize("name", sorted(official.BINARY))
def test_the_binary_version_is_read_row_by_row(tmp_path, monkeypatch, name):
    root = cifar(tmp_path, monkeypatch, name)
    dataset = "cifar100" if "100" in name else "cifar10"
    arrays = official.read(dataset, place(dataset, tmp_path))
    assert list(arrays) == ["train_images", "train_labels", "test_images", "test_labels"]
    files = [file for file in official.BINARY[name] if not file.startswith("test")]
    labels = 2 if "100" in name else 1
    raw = np.frombuffer((root / files[-1]).read_bytes(), np.uint8).reshape(20, -1)
    assert np.array_equal(arrays["train_images"][-20:].reshape(20, -1), raw[:, labels:])
    assert np.array_equal(arrays["train_labels"][-20:], raw[:, labels - 1])  # the fine label
    assert arrays["train_images"].shape == (20 * len(files), 3, 32, 32)
    assert arrays["train_labels"].dtype == np.int64


def test_a_changed_or_missing_file_is_named(tmp_path, monkeypatch):
    root = cifar(tmp_path, monkeypatch)
    data = bytearray((root / "data_batch_2.bin").read_bytes())
    data[5] ^= 1
    (root / "data_batch_2.bin").write_bytes(data)
    with pytest.raises(DatasetMissing, match=r"data_batch_2.bin is not the official file"):
        official.read("cifar10", root)
    (root / "data_batch_1.bin").unlink()
    with pytest.raises(DatasetMissing, match=r"data_batch_1.bin is missing"):
        official.read("cifar10", root)


def test_files_of_the_right_form_with_other_images_are_not_cifar10(tmp_path, monkeypatch):
    monkeypatch.setattr(official, "_binary", lambda place: {
        "train_images": np.zeros((50000, 3, 32, 32), np.uint8),
        "train_labels": np.arange(50000) % 10,
        "test_images": np.zeros((10000, 3, 32, 32), np.uint8),
        "test_labels": np.arange(10000) % 10,
    })  # fmt: skip
    with pytest.raises(DatasetMissing, match="not whole"):
        official.read("cifar10", tmp_path / "cifar-10-batches-bin")


@pytest.mark.parametrize("form", ["archive", "folder", "its parent"])
def test_cifar10_is_taken_from_what_was_given(tmp_path, monkeypatch, form):
    given = cifar(tmp_path / "given", monkeypatch)
    if form == "archive":
        archive = tmp_path / "cifar-10-binary.tar.gz"
        with tarfile.open(archive, "w:gz") as out:
            out.add(given, given.name)
        given = archive
    elif form == "its parent":
        given = given.parent
    root = official.fetch("cifar10", tmp_path / "data", given)
    assert root == tmp_path / "data" / "cifar10" / "cifar-10-batches-bin" == place(
        "cifar10", tmp_path / "data")  # fmt: skip
    assert official.mark(official.read("cifar10", root)).startswith("120 images, 10 classes, ")
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["cifar10"]


@pytest.mark.parametrize("packed", [True, False])
def test_fashion_mnist_is_taken_packed_or_not(tmp_path, monkeypatch, packed):
    monkeypatch.setitem(official.KNOWN, "fashion-mnist", "60 images, 10 classes, ")
    given = fashion(tmp_path / "given", packed=packed)
    root = official.fetch("fashion-mnist", tmp_path / "data", given)
    assert official.read("fashion-mnist", root)["test_images"].shape == (30, 1, 28, 28)


def test_what_is_not_whole_leaves_nothing_behind(tmp_path, monkeypatch):
    given = cifar(tmp_path / "given", monkeypatch)
    (given / "test_batch.bin").write_bytes(b"short")
    data = tmp_path / "data"
    with pytest.raises(DsdError, match=r"given.*not the official cifar10, whole") as caught:
        official.fetch("cifar10", data, given)
    assert "cifar-10-batches-bin/test_batch.bin is not the official file." in str(caught.value)
    assert "partial" not in str(caught.value), "that copy is gone"
    with pytest.raises(DsdError, match="not the official fashion-mnist, whole"):
        official.fetch("fashion-mnist", data, fashion(tmp_path / "few"))
    half = tmp_path / "half"
    fashion(half, packed=False)
    path = half / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DsdError, match="not the official fashion-mnist, whole"):
        official.fetch("fashion-mnist", data, half)
    altered = fashion(tmp_path / "altered") / "t10k-labels-idx1-ubyte.gz"
    altered.write_bytes(altered.read_bytes()[:-8] + bytes(8))
    with pytest.raises(DsdError, match="not the official fashion-mnist, whole: CRC"):
        official.fetch("fashion-mnist", data, altered.parent)
    archive = tmp_path / "cut.tar.gz"
    with tarfile.open(archive, "w:gz") as out:
        out.add(given, given.name)
    archive.write_bytes(archive.read_bytes()[:60000])
    with pytest.raises(DsdError, match="not the official cifar10, whole"):
        official.fetch("cifar10", data, archive)
    for wrong in (tmp_path / "nothing", archive.parent / "half"):
        with pytest.raises(DsdError, match="neither an official archive of cifar10 nor a folder"):
            official.fetch("cifar10", data, wrong)
    assert list(data.iterdir()) == []


def test_without_a_network_it_says_what_to_do(tmp_path, monkeypatch):
    for name in ("http_proxy", "https_proxy"):  # nobody listens there
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with pytest.raises(DsdError, match=r"be downloaded .*`dsd data prepare cifar10 --from PATH`"):
        official.fetch("cifar10", tmp_path / "data", None)
    assert list((tmp_path / "data").iterdir()) == []
