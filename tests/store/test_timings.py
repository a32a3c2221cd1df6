"""Measured times: kept for ever, the latest counts, and only like conditions become a column."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dsd.store.engine import Store, open_store
from dsd.store.merge import merge
from dsd.store.populations import populations, save_sample, stored_archs
from dsd.store.results import frame
from dsd.store.steer import delete_population
from dsd.store.timings import Conditions, conditions_in, save_timing, timed, timings

GPU = Conditions("NVIDIA H100", "2.14.1", 28, 64, "fp32")


def keep(store: Store, arch: Any, ms: float | None, conditions: Conditions = GPU) -> None:
    time.sleep(0.002)  # a measurement takes longer than a tick of SQLite's clock
    times = {"inference_ms": 2.0, "training_ms": ms, "samples": 9, "others": 0.0}
    save_timing(store, arch, conditions, "host", times)


def test_the_latest_measurement_counts(store: Store, draw: Any) -> None:
    sample = draw(3)
    save_sample(store, sample)
    for ms in (5.0, 7.0):
        keep(store, sample.archs[1], ms)
    digests = [arch.digest for arch in sample.archs]
    found = timed(store, GPU, digests)
    assert {key: row["training_ms"] for key, row in found.items()} == {digests[1]: 7.0}
    assert timed(store, replace(GPU, batch=32), digests) == {}
    table = frame(store)
    assert table["training_ms"].tolist()[1] == 7.0
    assert table["training_ms"].isna().tolist() == [True, False, True]
    assert "training_ms" not in frame(store, []).columns


def test_only_like_conditions_become_columns(store: Store, draw: Any) -> None:
    sample = draw(2)
    save_sample(store, sample)
    assert "inference_ms" not in frame(store)
    keep(store, sample.archs[0], None, replace(GPU, resolution=224))
    keep(store, sample.archs[0], None, replace(GPU, precision="bf16"))
    assert "inference_ms" not in frame(store), "the regime works at 28 px in fp32"
    keep(store, sample.archs[0], None)
    assert frame(store)["inference_ms"].tolist()[0] == 2.0
    assert frame(store)["training_ms"].isna().all()
    keep(store, sample.archs[1], 1.0, replace(GPU, torch="2.15.0"))
    assert "inference_ms" not in frame(store)
    assert [one.torch for one in conditions_in(timings(store))] == ["2.14.1", "2.15.0"]


def test_a_timed_network_outlives_its_population(store: Store, draw: Any) -> None:
    sample = draw(2)
    save_sample(store, sample)
    keep(store, sample.archs[0], 5.0)
    (row,) = populations(store)
    assert [arch.digest for arch in stored_archs(store, row)[0]] == [
        arch.digest for arch in sample.archs
    ]
    delete_population(store, row)
    digest = sample.archs[0].digest
    assert list(timed(store, GPU, [digest])) == [digest]
    save_sample(store, sample)
    assert frame(store)["training_ms"].tolist()[0] == 5.0


def test_times_are_merged_once(store: Store, tmp_path: Path, draw: Any) -> None:
    theirs = open_store(str(tmp_path / "theirs.db"))
    sample = draw(1)
    save_sample(theirs, sample)
    keep(theirs, sample.archs[0], 5.0)
    for known in (0, 1):
        merged = merge(store, theirs)
        assert (merged.added["timings"], merged.known["timings"]) == (1 - known, known)
    assert frame(store)["training_ms"].tolist() == [5.0]
    assert len(timings(store)) == 1
    theirs.close()


def test_a_network_that_nobody_drew_is_kept_with_its_time(store: Store, draw: Any) -> None:
    arch = draw(1).archs[0]
    keep(store, arch, 5.0)
    assert timed(store, GPU, [arch.digest])[arch.digest]["training_ms"] == pytest.approx(5.0)
    assert len(timings(store)) == 0
