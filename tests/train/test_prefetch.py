"""Batches one ahead: the same, in the same order, whatever copies them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dsd.train.data import load
from dsd.train.folders import Folder
from dsd.train.mapped import Mapped
from dsd.train.prefetch import on_device, one_ahead
from tests.photos import write_photos
from tests.train.conftest import make_regime
from tests.train.test_unreadable import FOLDER

CPU, GPU = torch.device("cpu"), torch.device("cuda:0")
gpu = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here"),
]


@given(st.lists(st.integers()))
def test_what_is_one_ahead_is_the_same_in_the_same_order(items):
    assert list(one_ahead(items)) == items


def test_the_next_is_asked_for_before_one_is_handed_out_and_no_other():
    asked: list[int] = []

    def batches() -> Iterator[int]:
        for index in range(5):
            asked.append(index)
            yield index

    seen = [(item, len(asked)) for item in one_ahead(batches())]
    assert seen == [(0, 2), (1, 3), (2, 4), (3, 5), (4, 5)]


def test_an_error_of_a_later_batch_is_raised_and_leaving_closes_the_source():
    closed: list[bool] = []

    def batches(broken: bool) -> Iterator[int]:
        try:
            yield from range(3)
            if broken:
                raise OSError("no more")
        finally:
            closed.append(True)

    with pytest.raises(OSError, match="no more"):
        list(one_ahead(batches(broken=True)))
    left = one_ahead(batches(broken=False))
    assert next(left) == 0
    del left
    assert closed == [True, True]


def test_on_the_cpu_batches_are_handed_through():
    batches = [(torch.rand(2, 3), torch.arange(2)) for _ in range(3)]
    found = list(on_device(batches, CPU))
    assert all(a is c and b is d for (a, b), (c, d) in zip(batches, found, strict=True))


class TestOnAGpu:
    pytestmark = gpu

    def test_copies_are_the_same_while_the_gpu_is_busy(self):
        """Batches are let go at once: memory that is given away too early shows in the sums."""
        rng = torch.Generator().manual_seed(0)
        batches = [(torch.randint(256, (64, 3, 64, 64), generator=rng, dtype=torch.uint8),
                    torch.full((64,), index)) for index in range(40)]  # fmt: skip
        sums = []
        for images, labels in on_device(batches, GPU):
            torch.cuda._sleep(2_000_000)
            sums.append((images.long().sum(), labels.sum()))
        found = [(int(a), int(b)) for a, b in sums]
        assert found == [(int(a.long().sum()), int(b.sum())) for a, b in batches]

    @pytest.mark.parametrize("seed", [None, 4])
    def test_a_streamed_map_is_the_one_on_the_cpu(self, seed):
        rng = torch.Generator().manual_seed(1)
        pixels = torch.randint(256, (100, 3, 32, 32), generator=rng, dtype=torch.uint8)
        labels = torch.arange(100)
        held = Mapped(pixels, labels, torch.arange(0, 100, 2), CPU, view=lambda images: images)
        streamed = replace(held, labels=labels.to(GPU), device=GPU)
        self.same(held.batches(8, seed), streamed.batches(8, seed))

    @pytest.mark.parametrize("processes", [0, 2])
    def test_a_folder_is_the_one_on_the_cpu(self, tmp_path, processes):
        write_photos(tmp_path / "photos", train=20, val=1, sides=(40, 80))
        split = load(make_regime(**FOLDER), tmp_path, CPU).train
        assert isinstance(split, Folder)
        on_gpu = replace(split, device=GPU, readers=processes)
        self.same(split.batches(6, seed=1), on_gpu.batches(6, seed=1))

    def same(self, expected, found):
        for (images, labels), (there, labelled) in zip(expected, found, strict=True):
            assert there.device == labelled.device == GPU
            assert torch.equal(there.cpu(), images)
            assert torch.equal(labelled.cpu(), labels)
