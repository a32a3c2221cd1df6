"""`dsd worker` on several ranks, through the real command line: gloo on the CPU."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.cli.conftest import Shell
from tests.cli.test_story import wait_for

LONG = "epochs = 400"


def others(worker: psutil.Popen) -> list[psutil.Process]:
    """The processes of the other ranks."""
    children = psutil.Process(worker.pid).children(recursive=True)
    return [child for child in children if "dsd.train.follow" in child.cmdline()]


def epochs(dsd: Shell) -> int:
    """Epochs recorded so far."""
    return int(table(dsd, "select count(*) from epochs")[0][0])


@pytest.fixture
def long(tiny: Shell) -> Shell:
    """One network queued that trains for minutes, on two ranks or one."""
    file = tiny.folder / "regimes" / "fashion.toml"
    file.write_text(file.read_text().replace("epochs = 1\n", f"{LONG}\n"))
    tiny.environment["DSD_REGIME"] = "fashion"
    tiny("sample", "anynetx_d", "--n", "1")
    return tiny


def table(dsd: Shell, query: str, name: str = "dsd.db") -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(dsd.folder / name, timeout=30)) as connection:
        return connection.execute(query).fetchall()


@pytest.mark.xdist_group("training")
@pytest.mark.slow
def test_two_ranks_train_a_queue_as_one_process_does(tiny):
    """The same network with the same error, but for what rounding does in 39 steps."""
    tiny.environment["DSD_REGIME"] = "fashion"
    found = []
    for name, options in (("one.db", ()), ("dsd.db", ("--ranks", "2", "--keep-weights", "kept"))):
        tiny.environment["DSD_DB"] = name
        tiny("sample", "anynetx_d", "--n", "1")
        out = tiny("worker", "--cpu", "--exit-when-empty", *options)
        assert "1 network trained" in out
        assert not tiny.stderr
        found += table(tiny, "select state, network, error_last, provenance from runs", name)
    alone, ours = found
    assert ours[:2] == alone[:2] == ("done", alone[1])
    assert ours[2] == pytest.approx(alone[2], abs=2)
    known = json.loads(ours[3])
    assert (known["ranks"], known["devices"]) == ("2", "cpu, cpu")
    assert "ranks" not in json.loads(alone[3])
    assert len(list((tiny.folder / "kept").glob("*.pt"))) == 1


@pytest.mark.slow
def test_a_killed_rank_gives_the_network_back_and_one_process_goes_on(long):
    """The attempt counts, as a network may have its ranks killed; the checkpoint is the run's."""
    worker = long.popen("worker", "--cpu", "--ranks", "2")
    wait_for(lambda: list((long.folder / "checkpoints").glob("*.pt")))
    (other,) = others(worker)
    other.kill()
    out, error = worker.communicate(timeout=60)
    assert worker.returncode == 1, (out, error)
    assert error.splitlines() == [
        "Error: Rank 1 was killed by signal 9: its network is given back."
    ]
    (run,) = json.loads(long("runs", "--json"))
    assert (run["state"], run["attempts"]) == ("queued", 1)
    again = long.popen("worker", "--cpu")
    before = epochs(long)
    wait_for(lambda: epochs(long) > before)
    again.send_signal(signal.SIGTERM)
    out, error = again.communicate(timeout=60)
    assert "goes on after epoch" in out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("numbers", "code"),
    [((signal.SIGTERM,), 0), ((signal.SIGINT,), 130), ((signal.SIGINT, signal.SIGINT), 130)],
)
def test_a_signal_ends_all_ranks_and_gives_the_network_back(long, numbers, code):
    worker = long.popen("worker", "--cpu", "--ranks", "2")
    wait_for(lambda: epochs(long) > 0)
    ranks = others(worker)
    for number in numbers:
        worker.send_signal(number)
        for rank in ranks:  # a terminal, or a scheduler, tells them all
            with suppress(psutil.NoSuchProcess):
                rank.send_signal(number)
        time.sleep(0.1)  # two of a kind at once may be heard as one
    out, error = worker.communicate(timeout=60)
    assert worker.returncode == code, (out, error)
    (run,) = json.loads(long("runs", "--json"))
    assert (run["state"], run["attempts"]) == ("queued", 0)
    assert not psutil.wait_procs(ranks, timeout=10)[1]


@pytest.mark.slow
def test_a_cancelled_network_is_left_by_all_ranks_which_train_the_next(long):
    worker = long.popen("worker", "--cpu", "--ranks", "2", "--exit-when-empty")
    wait_for(lambda: epochs(long) > 0)
    (other,) = others(worker)
    long("cancel", "1", "--yes")
    out, error = worker.communicate(timeout=100)
    assert worker.returncode == 0, (out, error)
    assert "left: it was cancelled" in out
    assert not other.is_running()


@pytest.mark.slow
def test_a_killed_worker_takes_its_ranks_with_it(long):
    worker = long.popen("worker", "--cpu", "--ranks", "2")
    wait_for(lambda: epochs(long) > 0)
    ranks = others(worker)
    place = Path(json.loads(ranks[0].cmdline()[-1])["meeting"]).parent
    assert place.is_dir()
    os.kill(worker.pid, signal.SIGKILL)
    worker.wait()
    assert not psutil.wait_procs(ranks, timeout=20)[1]
    assert not place.exists()


def test_devices_that_do_not_go_together_are_refused(dsd):
    assert "excludes" in dsd.fails("worker", "--gpus", "0,1", "--cpu", code=2)
    assert "excludes" in dsd.fails("worker", "--gpus", "0,1", "--gpu", "0", code=2)
    assert "--ranks goes with --cpu" in dsd.fails("worker", "--ranks", "2", code=2)
    assert "--compile is for one" in dsd.fails("worker", "--cpu", "--ranks", "2", "--compile",
                                               code=2)  # fmt: skip
    import torch

    if not torch.cuda.is_available():
        assert "no CUDA device" in dsd.fails("worker", "--gpus", "0,1", code=1)
