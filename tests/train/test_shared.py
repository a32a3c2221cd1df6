"""One copy of the images for several processes: real processes, the memory itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from sqlalchemy import select

from dsd.errors import DsdError
from dsd.store.engine import Store, reading
from dsd.store.schema import Epoch, Run
from dsd.train.data import load
from dsd.train.images import Images
from dsd.train.shared import HolderGone, borrowed, holding, lies_on
from tests.train.conftest import fill, make_regime, small_arch

CPU = torch.device("cpu")
HOLDER = """
import json, sys; from pathlib import Path; import torch
from dsd.train.shared import holding
with holding(Path(sys.argv[1]), torch.device(sys.argv[2])) as environment:
    print(json.dumps(environment), flush=True)
    sys.stdin.read()
"""
READER = """
import json, os, sys; from pathlib import Path; import torch
from dsd.regime import Regime
from dsd.train.shared import borrowed
device = torch.device(sys.argv[2])
lent = borrowed(os.environ, lambda: os._exit(9))
data = lent.load(Regime.from_text(sys.argv[1], "small"), Path("nowhere"), device)
pixels = data.train.pixels
print(data.fingerprint, tuple(pixels.shape), int(pixels.sum()), pixels.device.type, flush=True)
for line in sys.stdin:
    if line == "write\\n":
        pixels[0] = 77
    print(int(pixels[0].sum()), flush=True)
"""
WORKER = """
import os, sys; from pathlib import Path; import torch
from dsd.store.engine import open_store
from dsd.train.shared import borrowed
from dsd.train.stop import Stop
from dsd.train.worker import work
stop = Stop()
work(open_store(sys.argv[1]), folder=Path("."), device=torch.device("cpu"), stop=stop,
     lent=borrowed(os.environ, stop.set))
"""


def process(code: str, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], text=True, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, env={**os.environ, **environment},
    )  # fmt: skip


@contextmanager
def holder(device: str = "cpu") -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    one = process(HOLDER, ".", device)
    try:
        assert one.stdout
        yield one, json.loads(one.stdout.readline())
    finally:
        one.kill()
        one.communicate()


def ask(one: subprocess.Popen[str], word: str) -> str:
    assert one.stdin
    assert one.stdout
    one.stdin.write(f"{word}\n")
    one.stdin.flush()
    return one.stdout.readline().strip()


def same_memory(device: str) -> None:
    """Two readers of a holder: what one writes the other sees, and both leave with the holder."""
    regime = make_regime()
    expected = load(regime, Path("."), CPU)
    with holder(device) as (held, environment):
        readers = [process(READER, regime.text, device, **environment) for _ in "ab"]
        pixels, kind = expected.train.pixels, torch.device(device).type
        sums = f"{tuple(pixels.shape)} {int(pixels.sum())} {kind}"
        for one in readers:
            assert one.stdout
            assert one.stdout.readline().strip() == f"{expected.fingerprint} {sums}"
        first, second = readers
        before = ask(second, "read")
        written = ask(first, "write")
        assert written == str(77 * 14 * 14) != before
        assert ask(second, "read") == written
        held.kill()
        assert [one.wait(20) for one in readers] == [9, 9]


def test_two_processes_see_one_memory_and_leave_with_its_holder():
    same_memory("cpu")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_two_processes_see_one_memory_of_the_gpu():
    same_memory("cuda:0")


def test_a_worker_whose_holder_is_gone_gives_its_network_back(store: Store) -> None:
    fill(store, [small_arch(8)], make_regime(train={"epochs": 400, "batch": 500}))

    def found(columns: Any) -> list[tuple[Any, ...]]:
        with reading(store) as connection:
            return [tuple(row) for row in connection.execute(select(*columns))]

    with holder() as (held, environment):
        worker = process(WORKER, str(store.url.database), **environment)
        end = time.monotonic() + 60
        while not found([Epoch.epoch]):
            assert time.monotonic() < end
            time.sleep(0.1)
        held.kill()
        out, _ = worker.communicate(timeout=60)
    assert worker.returncode == 0
    assert "given back" in out
    assert found([Run.state, Run.attempts - Run.forgiven]) == [("queued", 0)]


def test_what_the_holder_cannot_load_is_said_to_whoever_asks(tmp_path, pictures):
    with holding(tmp_path, CPU) as environment:
        lent = borrowed(environment, lambda: None)
        assert lent
        with pytest.raises(DsdError, match="classes = 12"):
            lent.load(make_regime(classes=12), tmp_path, CPU)
        with pytest.raises(DsdError, match="cifar10"):
            lent.load(make_regime("cifar", dataset="cifar10"), tmp_path, CPU)
        shared = lent.load(make_regime(), tmp_path, CPU)
        assert isinstance(shared.train, Images)
        assert torch.equal(shared.train.pixels, load(make_regime(), tmp_path, CPU).train.pixels)
        colour = {"inputs": 3, "width": 8}
        grey = {"mean": [0.5] * 3, "std": [0.2] * 3}
        jpeg = make_regime("jpeg", dataset="imagenet", classes=2, stem=colour, augment=grey)
        assert not lies_on(lent.load(jpeg, pictures, CPU), CPU), "read by each process by itself"


def test_nobody_holds_where_nobody_is_named_or_left():
    assert borrowed({}, lambda: None) is None
    with pytest.raises(HolderGone, match="Nobody holds"):
        borrowed({"DSD_HOLDER": "/nowhere/socket", "DSD_HOLDER_KEY": "00"}, lambda: None)
