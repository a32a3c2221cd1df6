"""What reads an image folder is chosen, said, and stored with the run."""

from __future__ import annotations

import json
import re

import pytest

from dsd.train.reader import installed
from tests.photos import write_photos

REGIME = """
dataset = "photos"
resolution = 16
classes = 2
[stem]
width = 4
[band]
flops = [0.02e6, 0.2e6]
[train]
epochs = 1
batch = 4
precise_bn_images = 0
[augment]
test_resize = 18
test_crop = 16
"""


@pytest.fixture
def queued(dsd):
    write_photos(dsd.folder / "photos", train=4, val=2, sides=(40, 60))
    (dsd.folder / "small.toml").write_text(REGIME)
    dsd("sample", "anynetx_d", "--n", "2", "--regime", "small.toml")
    return dsd


@pytest.mark.slow
def test_the_reader_is_said_and_stored_and_dali_is_not_imported_unasked(queued):
    worker = ("worker", "--cpu", "--exit-when-empty", "--data", ".", "--max-runs", "1")
    out, error = queued.popen(*worker, python=("-X", "importtime")).communicate()
    assert "Images of 'small' are read by torchvision 0." in out
    assert " torchvision.transforms.v2\n" in error
    assert "nvidia.dali" not in error
    first = json.loads(queued("runs", "1", "--json"))["provenance"]["reader"]
    assert re.fullmatch(r"torchvision \d[\w.+]+", first)
    queued.environment["DSD_READER"] = "dali"
    if not installed():
        assert "pip install 'dsd[dali]'" in queued.fails(*worker, code=2)
        pytest.skip("NVIDIA DALI is not installed: pip install 'dsd[dali]'")
    assert "Images of 'small' are read by dali " in queued(*worker)
    run = json.loads(queued("runs", "2", "--json"))
    assert run["state"] == "done"
    assert re.fullmatch(r"dali \d[\w.+]+", run["provenance"]["reader"])


def test_a_reader_that_is_none_is_answered_in_one_line(dsd):
    assert "'pil'" in dsd.fails("worker", "--reader", "pil", code=2)
    (dsd.folder / "dsd.toml").write_text('reader = "pil"\n')
    assert "needs one of 'auto', 'dali', 'torchvision'" in dsd.fails("worker", "--cpu", code=2)
    (dsd.folder / "dsd.toml").unlink()
    dsd("init")
    assert 'reader = "auto"' in (dsd.folder / "dsd.toml").read_text()
