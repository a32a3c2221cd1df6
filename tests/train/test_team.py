"""What becomes of a network when a rank fails: real processes, killed, starved, stopped."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from dsd.store.engine import Store
from dsd.train.data import DatasetMissing
from dsd.train.ddp import Indivisible, RankLost
from dsd.train.images import shuffled
from dsd.train.listing import UnreadableImage
from dsd.train.seeds import derive, run_seed
from dsd.train.share import Share
from dsd.train.source import Source
from dsd.train.team import Team
from tests.train.conftest import fill, make_regime, small_arch
from tests.train.test_worker import COLOUR, epochs, finish_all, runs, wait_for

CPU = torch.device("cpu")
HANGING = """
import os, signal, sys, threading, time; from pathlib import Path; import torch
from dsd.store.engine import open_store
from dsd.train.loop import Session
from dsd.train.team import Team
from dsd.train.worker import work

def hang(session, index):
    threading.Timer(1.0, lambda: os.kill(team.peers[0].process.pid, signal.SIGKILL)).start()
    time.sleep(100)

cpu = torch.device("cpu")
team = Team([cpu, cpu], Path("."), grace_s=1.0)
Session.train_pass = hang
work(open_store(sys.argv[1]), folder=Path("."), device=cpu, team=team, exit_when_empty=True)
"""


def pair(folder: Path = Path("."), **given: Any) -> Team:
    return Team([CPU, CPU], folder, timeout_s=60, **given)


def test_a_batch_that_cannot_be_split_leaves_the_queue_untouched(store):
    fill(store, [small_arch(8)], make_regime("odd", train={"batch": 125}))
    before, team = runs(store), pair()
    with pytest.raises(DatasetMissing, match="over 2 ranks; 1, 5, 25 would work") as refused:
        finish_all(store, team=team)
    assert refused.value.exit_code == 3
    assert runs(store) == before
    assert not team.peers


def test_a_set_smaller_than_a_batch_is_what_is_split(store):
    """5,000 images do not go into three, though the regime's batch would."""
    regime = make_regime("large", train={"batch": 6000})
    assert Source(store, Path("."), None, print, ranks=2).dataset(regime, CPU)
    with pytest.raises(Indivisible, match="a batch of 5000 images"):
        Source(store, Path("."), None, print, ranks=3).dataset(regime, CPU)


@pytest.mark.slow
def test_an_image_that_another_rank_cannot_read_fails_the_run_by_name(store, pictures, said):
    changes = {"dataset": "imagenet", "classes": 2, "stem": {"inputs": 3, "width": 8},
               "train": {"epochs": 1, "batch": 12},
               "augment": {"mean": [0.5] * 3, "std": [0.2] * 3}}  # fmt: skip
    regime, arch = make_regime("jpeg", **changes), small_arch(8, classes=2, stem=COLOUR)
    fill(store, [arch], regime)
    seed = derive("order", run_seed(0, arch.digest, regime.digest), 0)
    hers = int(Share(1, 2).of(shuffled(12, seed, CPU))[0])
    files = sorted((pictures / "imagenet" / "train").rglob("*.JPEG"))
    files[hers].write_bytes(files[hers].read_bytes()[:300])
    assert finish_all(store, folder=pictures, team=pair(pictures), say=said.say) == 0
    (run,) = runs(store)
    assert run.state == "failed"
    assert run.message.startswith(f"RankFailed: rank 1: {UnreadableImage.__name__}: ")
    assert files[hers].name in run.message
    assert "in read_image" in run.trace, "the other rank's trace"


@pytest.mark.slow
def test_memory_that_another_rank_lacks_is_recorded_and_the_next_network_trained(store, said):
    """The other process gets little more than it holds, the second network needs much more."""
    narrow = make_regime("narrow", train={"epochs": 30, "batch": 500})
    fill(store, [small_arch(8)], narrow, "a")
    fill(store, [small_arch(128)], make_regime("wide", train={"epochs": 1, "batch": 5000}), "b")
    fill(store, [small_arch(16)], make_regime("short", train={"epochs": 1, "batch": 1000}), "c")
    team = pair()

    def starve() -> None:
        wait_for(lambda: epochs(store))
        other = psutil.Process(team.peers[0].process.pid)
        other.rlimit(resource.RLIMIT_AS, (other.memory_info().vms + (200 << 20),) * 2)

    threading.Thread(target=starve).start()
    assert finish_all(store, team=team, say=said.say) == 2
    first, second, third = sorted(runs(store), key=lambda run: run.id)
    assert [run.state for run in (first, second, third)] == ["done", "out-of-memory", "done"]
    assert second.message.startswith("MemoryError: rank 1: ")
    assert third.provenance["ranks"] == "2"


@pytest.mark.slow
def test_a_worker_that_hangs_for_a_killed_rank_gives_the_network_back(store: Store):
    """As where a GPU's kernel waits for a rank that is gone, and no signal gets through."""
    fill(store, [small_arch(8)], make_regime())
    done = subprocess.run([sys.executable, "-c", HANGING, str(store.url.database)], check=False,
                          text=True, capture_output=True, timeout=100)  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "Error: Rank 1 was killed by signal 9" in done.stdout
    (run,) = runs(store)
    assert (run.state, run.attempts - run.forgiven) == ("queued", 1)


@pytest.mark.slow
def test_a_rank_that_stops_answering_is_not_waited_for_for_ever(store: Store, said):
    fill(store, [small_arch(8)], make_regime(train={"epochs": 400, "batch": 500}))
    team = Team([CPU, CPU], Path("."), timeout_s=8)

    def stop() -> None:
        wait_for(lambda: epochs(store))
        os.kill(team.peers[0].process.pid, signal.SIGSTOP)

    threading.Thread(target=stop).start()
    with pytest.raises(RankLost, match="does not answer"):
        finish_all(store, team=team, say=said.say)
    assert runs(store)[0].state == "queued"
    assert not team.peers
