"""Images that all processes of a machine share: one copy, whole, whoever is killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from dsd.train.held import Held, in_common

MEGABYTES = 24
PROCESS = """
import sys, time; from pathlib import Path
import numpy as np
from dsd.train.held import Held, in_common
def make():
    print("made", flush=True)
    rng = np.random.default_rng(0)
    return Held({"images": rng.integers(0, 256, (24, 1 << 20), dtype=np.uint8)}, "mark")
held = in_common(Path(sys.argv[1]), make)
print(held.arrays["images"].sum(), held.fingerprint, flush=True)
sys.stdin.read()
"""


def small() -> Held:
    rng = np.random.default_rng(0)
    return Held({"images": rng.integers(0, 256, (9, 3, 4, 4), dtype=np.uint8),
                 "labels": np.arange(9)}, "9 images")  # fmt: skip


def never() -> Held:
    raise AssertionError("they are there already")


def started(place: Path) -> subprocess.Popen[str]:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-c", PROCESS, str(place)], text=True, **pipes)


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_the_second_user_maps_what_the_first_made(tmp_path):
    first = in_common(tmp_path / "held" / "a", small)
    second = in_common(tmp_path / "held" / "a", never)
    for held in (first, second):
        assert held.fingerprint == "9 images"
        for name, array in small().arrays.items():
            assert isinstance(held.arrays[name], np.memmap)
            assert np.array_equal(held.arrays[name], array)
            with pytest.raises(ValueError, match="read-only"):
                held.arrays[name][0] = 0


def test_files_that_are_not_what_was_written_are_made_anew(tmp_path):
    place = tmp_path / "a"
    in_common(place, small)
    for damage in (lambda data: data[:-5], lambda data: data[:-1] + b"x", lambda data: b""):
        (place / "images.npy").write_bytes(damage((place / "images.npy").read_bytes()))
        assert np.array_equal(in_common(place, small).arrays["images"], small().arrays["images"])
        in_common(place, never)
    (place / "held.json").write_text("{")
    in_common(place, small)
    in_common(place, never)


def test_where_nothing_can_be_written_the_copy_is_private(tmp_path):
    (tmp_path / "file").write_text("")
    held = in_common(tmp_path / "file" / "a", small)
    assert not isinstance(held.arrays["images"], np.memmap)


def test_what_a_killed_process_left_is_removed_later(tmp_path):
    old, young = tmp_path / "a.1.partial", tmp_path / "a.2.partial"
    for folder in (old, young):
        folder.mkdir()
    past = time.time() - 7200
    os.utime(old, (past, past))
    in_common(tmp_path / "a", small)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "a.2.partial"]


@pytest.mark.slow
def test_several_processes_at_once_share_one_copy(tmp_path):
    place = tmp_path / "held" / "big"
    processes = [started(place) for _ in range(3)]
    try:
        said = []
        for process in processes:
            first = line(process)
            said.append(line(process) if first == "made" else first)
        assert len(set(said)) == 1
        assert [path.name for path in place.parent.iterdir()] == ["big"]
        assert set(json.loads((place / "held.json").read_text())["digests"]) == {"images"}
        if not sys.platform.startswith("linux"):
            return
        maps = [
            {
                m.path: m
                for m in psutil.Process(p.pid).memory_maps()
                if m.path.startswith(str(place))
            }
            for p in processes
        ]
        each = MEGABYTES << 20
        for found in maps:
            (image,) = found.values()
            assert image.rss > 0.95 * each  # it has all pages,
            assert image.pss < 1.2 * each / 3  # a third of each,
            assert image.private_dirty == image.private_clean == 0  # and none of its own
    finally:
        for process in processes:
            process.communicate()
