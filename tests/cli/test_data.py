"""`dsd data`, and training on what it makes, through the real command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import Shell
from tests.photos import truncate, write_photos

REGIME = """
extends = "imagenet_400mf"
dataset = "{dataset}"
classes = 2
[train]
epochs = 1
batch = 4
precise_bn_images = 8
"""


@pytest.fixture
def photos(dsd: Shell) -> Path:
    return write_photos(dsd.folder / "photos", train=5, val=2)


def listed(dsd: Shell) -> dict[str, dict[str, object]]:
    return {one["dataset"]: one for one in json.loads(dsd("data", "list", "--json"))}


def test_the_shipped_images_need_nothing_and_missing_ones_are_said(dsd):
    known = listed(dsd)
    shipped = known["fashion-mnist-5k"]
    assert (shipped["images"], shipped["classes"], shipped["problem"]) == (7000, 10, "")
    assert shipped["regimes"] == ["fashion"]
    assert known["cifar10"]["problem"] == known["imagenet"]["problem"] == "missing"
    assert str(dsd.folder / "data" / "imagenet") in known["imagenet"]["looked"]
    assert "all can be read" in dsd("data", "verify")
    assert "ships with dsd" in dsd("data", "prepare", "fashion-mnist-5k")


def test_a_copy_is_prepared_once_verified_and_listed(dsd, photos):
    broken = truncate(photos / "train" / "n01" / "n01_4.JPEG")
    prepare = ("data", "prepare", "imagenet", "--from", "photos", "--short", "64", "--jobs", "1")
    assert "1 image cannot be read" in dsd.fails(*prepare, code=1)
    assert listed(dsd)["imagenet"]["problem"] == "missing"
    assert "not finished" in dsd.fails("data", "verify", "imagenet-short64-q90", code=1)
    out = dsd(*prepare, "--without-unreadable")
    assert "left out: train/n01/n01_4.JPEG: not a readable image" in out
    assert 'dataset = "imagenet-short64-q90"' in out
    assert "already here" in dsd(*prepare)
    one = listed(dsd)["imagenet-short64-q90"]
    assert (one["images"], one["classes"], one["regimes"]) == (13, 2, [])
    (row,) = [line for line in dsd("data", "list").splitlines() if "q90 " in line]
    assert "none" in row
    assert "13         2" in row
    assert "prepared: short side 64" in row
    assert one["fingerprint"] in dsd("data", "verify", "imagenet-short64-q90")
    shutil.copytree(photos, dsd.folder / "data" / "imagenet")
    said = dsd("data", "verify", "imagenet", "--jobs", "1", code=1)
    assert str(dsd.folder / "data" / "imagenet" / broken.relative_to(photos)) in said
    assert said.rstrip().endswith("1 amiss")
    shutil.rmtree(dsd.folder / "data" / "imagenet-short64-q90" / "val" / "n00")
    said = dsd("data", "verify", "imagenet-short64-q90", "--jobs", "1", code=1)
    assert "n00_0.JPEG: missing" in said
    assert "n00_1.JPEG: missing" in said


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["verify", "cifar10"], 1, "`dsd data prepare cifar10`"),
        (["prepare", "imagenet"], 1, "not found: looked in"),
        (["prepare", "imagenet", "--from", "nowhere"], 2, "does not exist"),
        (["prepare", "imagenet", "--from", "photos/train"], 1, "no folder train/"),
        (["prepare", "cifar10", "--from", "photos"], 1, "neither an official archive"),
        (["prepare", "x", "--from", "photos", "--size", "32", "--short", "32"], 2, "excludes"),
        (["prepar"], 2, "Did you mean 'prepare'"),
    ],
)
def test_wrong_input_is_answered_in_one_line(dsd, photos, arguments, code, words):
    assert words in dsd.fails("data", *arguments, code=code)


@pytest.mark.slow
@pytest.mark.parametrize("how", [("--short", "256"), ("--size", "160")])
def test_an_imagenet_network_is_trained_at_224_px_on_a_prepared_set(dsd, photos, how):
    out = dsd("data", "prepare", "imagenet", "--from", "photos", *how)
    name = out.split('dataset = "')[1].split('"')[0]
    assert "all can be read" in dsd("data", "verify", name)
    (dsd.folder / "regimes").mkdir()
    (dsd.folder / "regimes" / "brief.toml").write_text(REGIME.format(dataset=name))
    dsd("sample", "anynetx_d", "--n", "1", "--regime", "brief")
    assert "1 network trained" in dsd("worker", "--cpu", "--exit-when-empty")
    run = json.loads(dsd("runs", "1", "--json"))
    assert run["state"] == "done"
    assert run["provenance"]["dataset"] == listed(dsd)[name]["fingerprint"]
    assert "prepared: " in run["provenance"]["dataset"]
